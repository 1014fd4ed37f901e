"""From a checkpoint to a verified bundle: load, collect crops, convert, compare, recommend, pack."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from siamedge.export.bundles.description import LIBRARIES, Origin, describe_export, is_installed
from siamedge.export.bundles.packing import check_replaceable, entry_of, write_bundle
from siamedge.export.calibration.choosing import Crops, choose_crops, set_beside
from siamedge.export.calibration.crop_sets import CalibrationSet
from siamedge.export.calibration.rollout import render_crops
from siamedge.export.checkpoints.reading import default_weights, load_network
from siamedge.export.families.source import SourceNetwork
from siamedge.export.families.torch_session import one_torch_thread
from siamedge.export.formats.converters import ConvertedPair, Converter, make_converter
from siamedge.export.formats.opened import opened
from siamedge.export.int8.gate import Effort
from siamedge.export.int8.search import Bench, records, search_int8
from siamedge.export.int8.tracking_check import TrackingCheck, make_check
from siamedge.export.quantization.preparation import Preparation
from siamedge.export.verification.score_threshold import moved_threshold, threshold_crops
from siamedge.export.verification.tensors import Measured, Reference, compute, reference_of, verify_pair
from siamedge.runtime.backends.backend import ALL_PRECISIONS, FORMATS, PRECISIONS, Format, Precision, reason_against
from siamedge.runtime.bundles.answers import ANSWERS, Answers, as_given
from siamedge.runtime.bundles.manifest import Manifest, QuantizationTrial
from siamedge.runtime.errors import ExportError

ANSWERED_CROPS = 8
ANSWERED_SEEDS = (1, 2)
"""Of the drawn scenes whose crops a device is asked about: no picture of the user's travels in a bundle."""
EXTRA_OF: Mapping[Format, str] = {"onnx": "export", "tflite": "export-tflite", "openvino": "export"}

Progress = Callable[[str], None]
Kind = tuple[Format, Precision]


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to export.

    Attributes:
        checkpoint: Weights; None: the default ones that come with siamedge.
        arch: Architecture; None: recognised from the tensors.
        formats: None: all whose libraries are installed.
        precisions: Which to make of each.
        calibration: Videos or folders to roll the tracker out on, or one set that was saved; none: the set beside the
            checkpoint, if there is one.
        out: NAME.siamedge, or a path that ends in .zip.
        verification: The same, of other clips, to verify on; none: other targets of the calibration's.
        effort: How long to look for an int8 recipe within budget.
        max_drop: How much tracking accuracy int8 may cost; None: it is measured if there is a validation data set.
        metric: Of which accuracy.
        validation: Data set to track on.
    """

    out: Path
    checkpoint: Path | None = None
    arch: str | None = None
    formats: tuple[Format, ...] | None = None
    precisions: tuple[Precision, ...] = PRECISIONS
    calibration: tuple[str, ...] = ()
    verification: tuple[str, ...] = ()
    effort: Effort = field(default_factory=Effort)
    max_drop: float | None = None
    metric: str = "auc"
    validation: str | None = None


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was made.

    Attributes:
        manifest: Of the bundle.
        measured: One a format and precision, in the order in which they were made.
        skipped: Why formats and precisions that were not asked for by name are missing.
    """

    manifest: Manifest
    measured: tuple[Measured, ...]
    skipped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Made:
    """One format and precision.

    Attributes:
        kind: Which.
        pair: Both graphs.
        measured: Against the source network.
        given: What it gave for the crops of the bundle's answers.
        trials: How int8 was found.
    """

    kind: Kind
    pair: ConvertedPair
    measured: Measured
    given: Mapping[str, NDArray[np.float32]]
    trials: tuple[QuantizationTrial, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """What the conversions of one export share."""

    request: ExportRequest
    network: SourceNetwork
    formats: tuple[Format, ...]
    crops: Crops
    source: Reference
    threshold: Reference | None
    check: TrackingCheck | None
    asked: CalibrationSet
    progress: Progress

    def verify(self, pair: ConvertedPair, kind: Kind) -> Measured:
        """Load a pair and compare it with the source network."""
        with opened(pair, kind) as (template, search):
            return verify_pair(template, search, self.network, self.source, kind)

    def answers(self, pair: ConvertedPair, kind: Kind) -> Mapping[str, NDArray[np.float32]]:
        """Load a pair and ask it what a device will be asked."""
        with opened(pair, kind) as sessions:
            return as_given(kind, compute(*sessions, self.asked).outputs)

    def with_threshold(self, pair: ConvertedPair, kind: Kind) -> ConvertedPair:
        """Move the score threshold by what quantization did to the scores; a tracker without one stays as it is."""
        below = self.network.params.lost_below
        if below is None or self.threshold is None:
            return pair
        with opened(pair, kind) as (template, search):
            ours = compute(template, search, self.threshold.crops)
        return replace(pair, search=replace(pair.search, lost_below=moved_threshold(below, self.threshold, ours)))


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
    request = replace(request, calibration=request.calibration or set_beside(request.checkpoint))
    formats, skipped = usable_formats(request.formats)
    path = request.checkpoint or default_weights()
    progress(f"loading {path.name}")
    network = load_network(path, request.arch)
    check_request(request)
    has_int8 = "int8" in request.precisions
    check = make_check(request.validation, request.metric) if request.validation and has_int8 else None
    crops = choose_crops(network, request.calibration, request.verification, progress, int8=has_int8)
    source = reference_of(network, crops.verification)
    threshold = reference_of(network, threshold_crops(crops.verification)) if has_int8 else None
    asked = render_crops(network, ANSWERED_CROPS, ANSWERED_SEEDS)
    job = Job(request, network, formats, crops, source, threshold, check, asked, progress)
    made = []
    for item in _convert(job):
        made.append(item)
        found = item.measured.verification
        if found.precision == "fp32" and found.verdict != "pass":
            raise ExportError(
                f"{found.format} fp32 does not compute what the network computes: {found.reason}",
                hint="nothing was written; please report this with the checkpoint's architecture",
            )
    manifest, files = _describe(job, path, made)
    progress(f"writing {request.out.name}")
    write_bundle(request.out, manifest, files)
    return ExportResult(manifest, tuple(item.measured for item in made), skipped)


def _describe(job: Job, checkpoint: Path, made: list[Made]) -> tuple[Manifest, dict[str, bytes]]:
    """Give the manifest, and the files that it lists: models and answers."""
    request, asked = job.request, job.asked
    origin = Origin(checkpoint, request.checkpoint is None, job.crops.calibration, job.crops.origin)
    pairs, measured = {item.kind: item.pair for item in made}, [item.measured for item in made]
    manifest, files = describe_export(bundle_name(request.out), job.network, origin, pairs, measured)
    given = {name: maps for item in made for name, maps in item.given.items()}
    answers = Answers(asked.templates, asked.searches, asked.pairs, given).content
    trials = tuple(trial for item in made for trial in item.trials)
    documents = (entry_of(ANSWERS, answers),)
    return manifest._replace(quantization=trials, documents=documents), {**files, ANSWERS: answers}


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


def check_bf16() -> None:
    """Refuse bf16 where it cannot be verified.

    Raises:
        ExportError: OpenVINO's CPU has no bf16.
    """
    from siamedge.runtime.backends.openvino_backend import OpenVINOBackend

    if reason := reason_against(OpenVINOBackend(), "bf16", "CPU"):
        raise ExportError(f"bf16 cannot be verified here: {reason}", hint="export on a processor that has it")


def check_request(request: ExportRequest) -> None:
    """Refuse int8 for a network whose crops we do not have, and a drop of what is not measured.

    Raises:
        ExportError: It is a checkpoint of the user's and no calibration source is named, --max-drop lacks its data,
            --validation lacks int8, or nothing is left to make.
    """
    if request.max_drop is not None and request.validation is None:
        raise ExportError(
            "--max-drop needs --validation: annotated sequences to track on", hint="add --validation DATASET"
        )
    if request.validation is not None and "int8" not in request.precisions:
        raise ExportError(
            f"--validation {request.validation} tracks with int8, which is not made",
            hint="add --calibration VIDEO, and int8 to --precisions where they are named",
        )
    if set(request.precisions) == {"bf16"} and request.formats is not None and "openvino" not in request.formats:
        raise ExportError(
            f"bf16 is OpenVINO's alone, the formats are {', '.join(request.formats)}", hint="add openvino to --formats"
        )
    if "bf16" in request.precisions:
        check_bf16()
    if "int8" in request.precisions and request.checkpoint is not None and not request.calibration:
        raise ExportError(
            "int8 needs --calibration: crops that this tracker really sees",
            hint="add --calibration VIDEO (or a folder of images), or --precisions fp32,fp16",
        )


def _convert(job: Job) -> Iterator[Made]:
    """Make every format and precision, each compared with the source network."""
    preparation = Preparation(job.network)
    for format_name in job.formats:
        converter = make_converter(format_name, job.network, preparation)
        for precision in ALL_PRECISIONS:
            if precision in job.request.precisions and (precision != "bf16" or format_name == "openvino"):
                job.progress(f"converting to {format_name} {precision}")
                make = _search_int8 if precision == "int8" else _make_float
                yield make(job, converter, (format_name, precision))


def _make_float(job: Job, converter: Converter, kind: Kind) -> Made:
    pair = converter.convert(kind[1])
    job.progress(f"verifying {kind[0]} {kind[1]}")
    return Made(kind, pair, job.verify(pair, kind), job.answers(pair, kind))


def _search_int8(job: Job, converter: Converter, kind: Kind) -> Made:
    check = job.check
    track = None if check is None else check.against(job.network, converter.convert("fp32"), kind[0])
    bench = Bench(
        format=kind[0],
        network=job.network,
        converter=converter,
        calibration=job.crops.calibration,
        verify=lambda pair: job.verify(pair, kind),
        track=track,
        max_drop=math.inf if job.request.max_drop is None else job.request.max_drop,
        progress=job.progress,
    )
    found = search_int8(bench, job.request.effort)
    pair = job.with_threshold(found.chosen.pair, kind)
    return Made(kind, pair, found.chosen.measured, job.answers(pair, kind), records(found, kind[0]))


def bundle_name(out: Path) -> str:
    """Give the name of a bundle from its path."""
    return out.name.removesuffix(".zip").removesuffix(".siamedge")
