"""From a checkpoint to a verified bundle: load, collect crops, convert, compare, recommend, pack."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from siamedge.export.calibration import CalibrationSet
from siamedge.export.checkpoints import default_weights, load_network
from siamedge.export.description import LIBRARIES, Origin, describe_export, is_installed, model_path
from siamedge.export.families.source import SourceNetwork
from siamedge.export.formats import ConvertedPair, make_converter
from siamedge.export.packing import check_replaceable, write_bundle
from siamedge.export.rollout import collect_crops, render_crops
from siamedge.export.torch_session import one_torch_thread
from siamedge.export.verification import Measured, Reference, reference_of, verify_pair
from siamedge.runtime.backends import FORMATS, PRECISIONS, Format, Precision, get_backend
from siamedge.runtime.errors import ExportError
from siamedge.runtime.manifest import Manifest

BACKEND_OF: Mapping[Format, str] = {"onnx": "onnxruntime", "tflite": "tflite", "openvino": "openvino"}
EXTRA_OF: Mapping[Format, str] = {"onnx": "export", "tflite": "export-tflite", "openvino": "export"}
CALIBRATION_CROPS = 150
VERIFICATION_CROPS = 48

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to export.

    Attributes:
        checkpoint: Weights; None: the default ones that come with siamedge.
        arch: Architecture; None: recognised from the tensors.
        formats: None: all whose libraries are installed.
        precisions: Which to make of each.
        calibration: Videos or folders to roll the tracker out on.
        out: NAME.siamedge, or a path that ends in .zip.
    """

    out: Path
    checkpoint: Path | None = None
    arch: str | None = None
    formats: tuple[Format, ...] | None = None
    precisions: tuple[Precision, ...] = PRECISIONS
    calibration: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was made.

    Attributes:
        manifest: Of the bundle.
        measured: One a format and precision, in the order in which they were made.
        skipped: Why formats that were not asked for by name are missing.
    """

    manifest: Manifest
    measured: tuple[Measured, ...]
    skipped: tuple[str, ...]


def export_bundle(request: ExportRequest, progress: Progress = lambda step: None) -> ExportResult:
    """Export, verify and pack.

    Args:
        request: What to export.
        progress: Told what is being done, before each step.

    Raises:
        ExportError: Something that was asked for cannot be made, or fp32 differs from the source network.
    """
    with one_torch_thread():
        return _export(request, progress)


def _export(request: ExportRequest, progress: Progress) -> ExportResult:
    check_replaceable(request.out)
    formats, skipped = usable_formats(request.formats)
    path = request.checkpoint or default_weights()
    progress(f"loading {path.name}")
    network = load_network(path, request.arch)
    check_calibration(request)
    crops = _collect(request, network, progress)
    source = reference_of(network, crops.verification)
    pairs, measured = {}, []
    for format_name, precision, pair in _convert(request, formats, network, crops.calibration, progress):
        pairs[format_name, precision] = pair
        progress(f"verifying {format_name} {precision}")
        measured.append(_verify(pair, network, source, (format_name, precision)))
        if precision == "fp32" and measured[-1].verification.verdict != "pass":
            raise ExportError(
                f"{format_name} fp32 does not compute what the network computes: {measured[-1].verification.reason}",
                hint="nothing was written; please report this with the checkpoint's architecture",
            )
    origin = Origin(path, request.checkpoint is None, crops.calibration, crops.origin)
    manifest, files = describe_export(bundle_name(request.out), network, origin, pairs, measured)
    progress(f"writing {request.out.name}")
    write_bundle(request.out, manifest, files)
    return ExportResult(manifest, tuple(measured), skipped)


def usable_formats(wanted: tuple[Format, ...] | None) -> tuple[tuple[Format, ...], tuple[str, ...]]:
    """Tell which formats can be made here.

    Returns:
        The formats, and a line for each that was left out.

    Raises:
        ExportError: A format that was asked for by name, or every one, lacks its library.
    """
    missing = {name: [library for library in LIBRARIES[name] if not is_installed(library)] for name in FORMATS}
    for name in wanted or ():
        if missing[name]:
            raise ExportError(
                f"format {name} needs {', '.join(missing[name])}", hint=f"pip install 'siamedge[{EXTRA_OF[name]}]'"
            )
    usable = tuple(name for name in wanted or FORMATS if not missing[name])
    if not usable:
        raise ExportError("no export library is installed", hint="pip install 'siamedge[export]'")
    left_out = (name for name in FORMATS if wanted is None and missing[name])
    return usable, tuple(
        f"{name} left out: {', '.join(missing[name])} not installed (pip install 'siamedge[{EXTRA_OF[name]}]')"
        for name in left_out
    )


def check_calibration(request: ExportRequest) -> None:
    """Refuse int8 for a network whose crops we do not have.

    Raises:
        ExportError: It is a checkpoint of the user's and no calibration source is named.
    """
    if "int8" in request.precisions and request.checkpoint is not None and not request.calibration:
        raise ExportError(
            "int8 needs --calibration: crops that this tracker really sees",
            hint="add --calibration VIDEO (or a folder of images), or --precisions fp32,fp16",
        )


@dataclass(frozen=True, slots=True)
class Crops:
    """What int8 is calibrated on, what everything is verified on, and what they were taken from."""

    calibration: CalibrationSet | None
    verification: CalibrationSet
    origin: str | None


def _collect(request: ExportRequest, network: SourceNetwork, progress: Progress) -> Crops:
    """Calibration and verification crops: from the user's videos, else from those that come with the default."""
    if request.calibration:
        progress(f"rolling the tracker out on {len(request.calibration)} calibration source(s)")
        crops = collect_crops(network, request.calibration, CALIBRATION_CROPS + VERIFICATION_CROPS)
        calibration, verification = split(crops, VERIFICATION_CROPS)
        names = ", ".join(Path(address).name for address in request.calibration)
        return Crops(calibration, verification, f"rollout on {names}")
    progress("rendering crops for the comparison")
    rendered = render_crops(network, CALIBRATION_CROPS + VERIFICATION_CROPS)
    calibration, verification = split(rendered, VERIFICATION_CROPS)
    if "int8" not in request.precisions:
        return Crops(None, verification, None)
    return Crops(calibration, verification, "synthetic scenes that come with siamedge")


def split(crops: CalibrationSet, count: int) -> tuple[CalibrationSet, CalibrationSet]:
    """Set an even choice of search crops apart; with fewer than 2 * count crops every other one."""
    step = max(2, len(crops.searches) // count)
    apart = set(range(0, len(crops.searches), step)) if len(crops.searches) > 1 else set()
    kept = [i for i in range(len(crops.searches)) if i not in apart]
    return _subset(crops, kept), _subset(crops, sorted(apart) or kept)


def _subset(crops: CalibrationSet, indices: list[int]) -> CalibrationSet:
    return CalibrationSet(crops.templates, crops.searches[indices], crops.pairs[indices])


def _convert(
    request: ExportRequest,
    formats: tuple[Format, ...],
    network: SourceNetwork,
    calibration: CalibrationSet | None,
    progress: Progress,
) -> Iterator[tuple[Format, Precision, ConvertedPair]]:
    for format_name in formats:
        converter = make_converter(format_name, network)
        for precision in PRECISIONS:
            if precision in request.precisions:
                progress(f"converting to {format_name} {precision}")
                yield format_name, precision, converter.convert(precision, calibration)


def _verify(pair: ConvertedPair, network: SourceNetwork, source: Reference, kind: tuple[Format, Precision]) -> Measured:
    backend = get_backend(BACKEND_OF[kind[0]])
    names = {role: "/".join(model_path(*kind, role, 0).split("/")[1:]) for role in ("template", "search")}
    template = backend.load(pair.template.as_model(names["template"], kind[1]), device="CPU", threads=1)
    search = backend.load(pair.search.as_model(names["search"], kind[1]), device="CPU", threads=1)
    try:
        return verify_pair(template, search, network, source, kind)
    finally:
        template.close()
        search.close()


def bundle_name(out: Path) -> str:
    """Give the name of a bundle from its path."""
    return out.name.removesuffix(".zip").removesuffix(".siamedge")
