"""Success AUC and precision of bundles x backends x precisions, checkpoints and cv2.TrackerNano, on one data set.

python benchmarks/accuracy.py ../shared/sequences --bundle NAME.siamedge --checkpoint NAME.pth \
    --backends onnxruntime,tflite,openvino --precisions fp32,int8 \
    --opencv-nano backbone.onnx,head.onnx --output docs/results/accuracy

Rows that stand in --output already, of the same sequences and of other trackers, backends or precisions, are kept, and
so are those of what cannot run this time. A difference to fp32 needs both in one run.
"""

import sys
from argparse import Namespace
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
from accuracy_table import Row, markdown, merged, rows_before
from script import names_of, parser, run, some_of, write_results

from siamedge.export.evaluation.bootstrap import difference, estimates
from siamedge.export.evaluation.conventions import get_convention
from siamedge.export.evaluation.datasets import open_dataset
from siamedge.export.evaluation.evaluation import run_sequence, versions
from siamedge.export.evaluation.sequences import Sequence
from siamedge.export.evaluation.specs import TrackerSpec, open_spec
from siamedge.export.evaluation.terms import Terms
from siamedge.runtime.backends.backend import ALL_PRECISIONS, BACKENDS
from siamedge.runtime.errors import BackendError

OTB = get_convention("otb")


@dataclass(frozen=True)
class Measured:
    """A tracker's terms, or why it could not run."""

    spec: TrackerSpec
    terms: tuple[Terms, ...]
    error: str


def main() -> None:
    options = arguments()
    sequences = open_dataset(options.dataset, options.layout)
    before = rows_before(options.output, options.dataset.name, sequences) if options.output else []
    chosen, names = specs(options), names_of([*options.checkpoint, *options.bundle, *rivals(options)])
    measured = [measure(spec, sequences) for spec in chosen]
    rows = merged(before, [row(names[item.spec.source], item, measured, sequences) for item in measured])
    frames = sum(len(item) for item in sequences)
    heading = (
        "Made by `python benchmarks/accuracy.py`. "
        f"Data set `{options.dataset.name}`: {len(sequences)} sequences, {frames} frames, "
        "one pass, convention `otb` (docs/evaluation.md): frames without a target are failures of every tracker; "
        "'target present' leaves them out. Intervals: bootstrap over sequences; differences are paired."
    )
    table = "\n".join([heading, "", *markdown(rows)])
    print(table)
    if options.output:
        page, content = f"# Tracking accuracy\n\n{table}\n", {"dataset": options.dataset.name, "rows": rows}
        write_results(options.output.parent, options.output.name, page, content)


def arguments() -> Namespace:
    found = parser(__doc__)
    found.add_argument("dataset", type=Path)
    found.add_argument("--layout", default="auto")
    found.add_argument("--bundle", action="append", default=[], help="may be given several times")
    found.add_argument("--checkpoint", action="append", default=[], help="run in PyTorch; may be given several times")
    found.add_argument("--opencv-nano", action="append", default=[], metavar="BACKBONE.onnx,HEAD.onnx")
    found.add_argument("--backends", type=some_of(BACKENDS), default=",".join(BACKENDS))
    found.add_argument("--precisions", type=some_of(ALL_PRECISIONS), default="fp32,int8")
    found.add_argument("--output", type=Path, help="written with .json and .md")
    options = found.parse_args()
    if not (options.bundle or options.checkpoint or options.opencv_nano):
        found.error("no tracker: give --bundle, --checkpoint or --opencv-nano")
    return options


def rivals(options: Namespace) -> list[str]:
    return [f"opencv:nano:{files}" for files in options.opencv_nano]


def specs(options: Namespace) -> list[TrackerSpec]:
    bundles = product(options.bundle, options.backends, options.precisions)
    return [
        *(TrackerSpec(checkpoint, "torch", "fp32") for checkpoint in options.checkpoint),
        *(TrackerSpec(*item) for item in bundles),
        *(TrackerSpec(source, "opencv", "fp32") for source in rivals(options)),
    ]


def measure(spec: TrackerSpec, sequences: tuple[Sequence, ...]) -> Measured:
    """Run a tracker over all sequences; what this machine or the bundle has not is told in its row."""
    print(f"{spec.label} ...", file=sys.stderr)
    try:
        tracker = open_spec(spec)
        terms = tuple(OTB.terms(item, run_sequence(tracker, item, OTB.protocol)) for item in sequences)
    except BackendError as error:
        return Measured(spec, (), str(error))
    return Measured(spec, terms, "")


def row(name: str, item: Measured, measured: list[Measured], sequences: tuple[Sequence, ...]) -> Row:
    found: Row = {"tracker": name, "backend": item.spec.backend, "precision": item.spec.precision}
    if item.error:
        return {**found, "error": item.error}
    scores = {key: asdict(value) for key, value in estimates(item.terms, OTB).items()}
    by_sequence = {
        sequence.name: float(terms["success"].numerator.mean())
        for sequence, terms in zip(sequences, item.terms, strict=True)
    }
    present = [by_sequence[sequence.name] / present_share(sequence) for sequence in sequences]
    return {
        **found,
        "versions": versions(item.spec),
        "scores": scores,
        "auc_by_sequence": by_sequence,
        "auc_present": sum(present) / len(present),
        "minus_fp32": against_fp32(item, measured),
    }


def present_share(sequence: Sequence) -> float:
    """Share of the frames with a target: `otb` counts the others as failures of every tracker."""
    return float(np.isfinite(sequence.boxes).all(axis=1).mean())


def against_fp32(item: Measured, measured: list[Measured]) -> dict[str, float] | None:
    for other in measured:
        is_reference = (other.spec.source, other.spec.backend) == (item.spec.source, item.spec.backend)
        if is_reference and other.spec.precision == "fp32" and item.spec.precision != "fp32" and other.terms:
            return asdict(difference(item.terms, other.terms, OTB.metrics["auc"]))
    return None


if __name__ == "__main__":
    run(main)
