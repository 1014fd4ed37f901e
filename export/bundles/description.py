"""What is written about an export: artifacts, provenance, recommendation, all of it in the manifest."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from siamedge.export.bundles.packing import entry_of
from siamedge.export.bundles.presence_fits import fit_of
from siamedge.export.calibration.crop_sets import CalibrationSet
from siamedge.export.checkpoints.zoo import license_of
from siamedge.export.families.source import SourceNetwork
from siamedge.export.formats.converters import SUFFIXES, Converted, ConvertedPair, model_path
from siamedge.export.verification.tensors import Measured
from siamedge.runtime.backends.backend import Format, Precision
from siamedge.runtime.bundles.manifest import (
    SCHEMA,
    AnchorFreeTrackerEntry,
    Artifact,
    FileEntry,
    Manifest,
    Provenance,
    Recommendation,
    Role,
    SiamFCTrackerEntry,
)
from siamedge.runtime.tracking.params import AnchorFreeParams

LIBRARIES: Mapping[Format, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxruntime"),
    "tflite": ("litert-torch", "ai-edge-quantizer", "ai-edge-litert"),
    "openvino": ("openvino", "nncf"),
}
"""What must be installed to export a format and to verify it."""
REQUIRES: Mapping[Format, Mapping[str, str]] = {
    "onnx": {"onnxruntime": ">=1.23"},
    "tflite": {"ai-edge-litert": ">=2.1"},
    "openvino": {"openvino": ">=2024.4"},
}
SPEED_MARGIN = 1.1
"""A smaller precision is recommended only if it is so much faster than the larger one."""


def is_installed(distribution: str) -> bool:
    """Whether a distribution is there, without importing it."""
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a bundle's models come from.

    Attributes:
        checkpoint: The weights.
        is_default: They are those that come with siamedge.
        calibration: What int8 was calibrated on, if there is int8.
        calibration_source: In words.
    """

    checkpoint: Path
    is_default: bool
    calibration: CalibrationSet | None
    calibration_source: str | None


def describe_export(
    name: str,
    network: SourceNetwork,
    origin: Origin,
    pairs: Mapping[tuple[Format, Precision], ConvertedPair],
    measured: list[Measured],
) -> tuple[Manifest, dict[str, bytes]]:
    """Write the manifest of what was made; no time, path or latency of this machine enters it.

    Returns:
        The manifest, and the files that it lists by their path in the bundle.
    """
    sha256 = hashlib.sha256(origin.checkpoint.read_bytes()).hexdigest()
    artifacts: list[Artifact] = []
    files: dict[str, bytes] = {}
    roles: tuple[Role, ...] = ("template", "search")
    for kind, pair in pairs.items():
        for role, model in zip(roles, (pair.template, pair.search), strict=True):
            artifact, contents = _artifact(kind, role, model)
            fit = fit_of(sha256, kind[1]) if role == "search" else None
            artifacts.append(artifact._replace(presence=fit))
            files.update(contents)
    manifest = Manifest(
        schema=SCHEMA,
        name=name,
        tracker=_tracker_entry(network),
        artifacts=tuple(artifacts),
        provenance=_provenance(origin, sha256, {format_name for format_name, _ in pairs}),
        verification=tuple(item.verification for item in measured),
        recommended=recommend(measured),
        license="Apache-2.0" if origin.is_default else license_of(sha256) or "that of the checkpoint",
    )
    return manifest, files


def _provenance(origin: Origin, sha256: str, formats: set[Format]) -> Provenance:
    names = {"siamedge", "torch", "numpy", *(library for name in formats for library in LIBRARIES[name])}
    return Provenance(
        checkpoint=origin.checkpoint.name,
        checkpoint_sha256=sha256,
        calibration=origin.calibration_source if origin.calibration else None,
        calibration_sha256=origin.calibration.sha256 if origin.calibration else None,
        tools={name: version(name) for name in sorted(names) if is_installed(name)},
    )


def _artifact(kind: tuple[Format, Precision], role: Role, model: Converted) -> tuple[Artifact, dict[str, bytes]]:
    format_name, precision = kind
    paths = [model_path(format_name, precision, role, i) for i in range(len(SUFFIXES[format_name]))]
    contents = dict(zip(paths, (model.content, model.weights), strict=False))
    entries: tuple[FileEntry, ...] = tuple(entry_of(name, content) for name, content in contents.items())
    requires, notes = REQUIRES[format_name], "; ".join(model.notes)
    artifact = Artifact(
        role, format_name, precision, entries, model.inputs, model.outputs, requires, notes, lost_below=model.lost_below
    )
    return artifact, contents


def _tracker_entry(network: SourceNetwork) -> AnchorFreeTrackerEntry | SiamFCTrackerEntry:
    if isinstance(network.params, AnchorFreeParams):
        return AnchorFreeTrackerEntry("anchor-free", network.arch, network.params)
    return SiamFCTrackerEntry("siamfc", network.arch, network.params)


def recommend(measured: list[Measured]) -> dict[str, Recommendation]:
    """Choose a precision for each format: the fastest here within its budget, the more precise one on a near tie.

    bf16 is left to `siamedge tune`: not every processor has it.
    """
    chosen: dict[str, tuple[Measured, Measured | None]] = {}
    measured = [item for item in measured if item.verification.precision != "bf16"]
    for item in measured:
        if item.verification.verdict != "pass":
            continue
        best, _ = chosen.get(item.verification.format, (None, None))
        if best is None or item.latency_ms * SPEED_MARGIN <= best.latency_ms:
            chosen[item.verification.format] = item, best
    return {
        name: Recommendation(item.verification.precision, _why(item, beaten, measured))
        for name, (item, beaten) in chosen.items()
    }


def _why(item: Measured, beaten: Measured | None, measured: list[Measured]) -> str:
    rows = [m for m in measured if m.verification.format == item.verification.format]
    later = [m.verification.precision for m in rows[rows.index(item) + 1 :] if m.verification.verdict == "pass"]
    missed = [m.verification.precision for m in rows if m.verification.verdict != "pass"]
    speeds = [f"at least {SPEED_MARGIN - 1:.0%} faster than {beaten.verification.precision}"] if beaten else []
    speeds += [f"{' and '.join(later)} not {SPEED_MARGIN - 1:.0%} faster"] if later else []
    parts = ["within budget", *([f"{', '.join(speeds)}, where it was exported"] if speeds else [])]
    return "; ".join((*parts, *([f"{' and '.join(missed)} beyond budget"] if missed else [])))
