"""Success AUC and precision of bundles x backends x precisions, checkpoints and cv2.TrackerNano, on one data set.

python benchmarks/accuracy.py ../shared/sequences --bundle NAME.siamedge --checkpoint NAME.pth \
    --backends onnxruntime,tflite,openvino --precisions fp32,int8 \
    --opencv-nano backbone.onnx,head.onnx --output docs/results/accuracy

Rows that stand in --output already, of the same data set and of other trackers, backends or precisions, are kept.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np

from siamedge.export.evaluation.bootstrap import Estimate, difference, estimates
from siamedge.export.evaluation.conventions import Convention, get_convention
from siamedge.export.evaluation.datasets import open_dataset
from siamedge.export.evaluation.evaluation import run_sequence
from siamedge.export.evaluation.sequences import Sequence
from siamedge.export.evaluation.specs import TrackerSpec, open_spec
from siamedge.export.evaluation.terms import Terms
from siamedge.runtime.errors import SiamedgeError

HEADER = (
    "tracker",
    "backend",
    "precision",
    "AUC [95 %]",
    "target present",
    "precision at 20 px",
    "AUC minus fp32 [95 %]",
    "note",
)
OTB = get_convention("otb")


@dataclass(frozen=True)
class Measured:
    """A tracker's terms, or why it could not run."""

    spec: TrackerSpec
    terms: tuple[Terms, ...]
    error: str


def main() -> None:
    options = parse()
    sequences = open_dataset(options.dataset, options.layout)
    measured = [measure(spec, sequences) for spec in specs(options)]
    rows = merged([row(item, measured, sequences, OTB) for item in measured], options)
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
        options.output.parent.mkdir(parents=True, exist_ok=True)
        content = json.dumps({"dataset": options.dataset.name, "rows": rows}, indent=2, sort_keys=True)
        options.output.with_suffix(".json").write_text(content + "\n")
        options.output.with_suffix(".md").write_text(f"# Tracking accuracy\n\n{table}\n")


def merged(rows: list[dict[str, object]], options: argparse.Namespace) -> list[dict[str, object]]:
    """Put new rows where the same tracker, backend and precision stood, else at the end."""
    kept = options.output.with_suffix(".json") if options.output else None
    if kept is None or not kept.exists():
        return rows
    before = json.loads(kept.read_text())
    if before["dataset"] != options.dataset.name:
        return rows
    table = {tuple(item[key] for key in HEADER[:3]): item for item in (*before["rows"], *rows)}
    return list(table.values())


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--layout", default="auto")
    parser.add_argument("--bundle", action="append", default=[], help="may be given several times")
    parser.add_argument("--checkpoint", action="append", default=[], help="run in PyTorch; may be given several times")
    parser.add_argument("--opencv-nano", action="append", default=[], metavar="BACKBONE.onnx,HEAD.onnx")
    parser.add_argument("--backends", default="onnxruntime,tflite,openvino")
    parser.add_argument("--precisions", default="fp32,int8")
    parser.add_argument("--output", type=Path, help="written with .json and .md")
    return parser.parse_args()


def specs(options: argparse.Namespace) -> Iterator[TrackerSpec]:
    for checkpoint in options.checkpoint:
        yield TrackerSpec(checkpoint, "torch", "fp32")
    for bundle, backend, precision in product(
        options.bundle, options.backends.split(","), options.precisions.split(",")
    ):
        yield TrackerSpec(bundle, backend, precision)
    for files in options.opencv_nano:
        yield TrackerSpec(f"opencv:nano:{files}", "opencv", "fp32")


def measure(spec: TrackerSpec, sequences: tuple[Sequence, ...]) -> Measured:
    print(f"{spec.label} ...", file=sys.stderr)
    try:
        tracker = open_spec(spec)
        terms = tuple(OTB.terms(item, run_sequence(tracker, item, OTB.protocol)) for item in sequences)
    except SiamedgeError as error:
        return Measured(spec, (), str(error))
    return Measured(spec, terms, "")


def row(
    item: Measured, measured: list[Measured], sequences: tuple[Sequence, ...], convention: Convention
) -> dict[str, object]:
    name = TrackerSpec(item.spec.source).label
    found: dict[str, object] = {"tracker": name, "backend": item.spec.backend, "precision": item.spec.precision}
    if item.error:
        return {**found, "error": item.error}
    scores = {key: asdict(value) for key, value in estimates(item.terms, convention).items()}
    by_sequence = {
        sequence.name: float(terms["success"].numerator.mean())
        for sequence, terms in zip(sequences, item.terms, strict=True)
    }
    present = [by_sequence[sequence.name] / present_share(sequence) for sequence in sequences]
    return {
        **found,
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


def markdown(rows: list[dict[str, object]]) -> Iterator[str]:
    yield f"| {' | '.join(HEADER)} |"
    yield "|" + "---|" * len(HEADER)
    for found in rows:
        yield f"| {' | '.join(cells(found))} |"


def cells(found: dict[str, object]) -> list[str]:
    first = [str(found[key]) for key in ("tracker", "backend", "precision")]
    scores, gap = found.get("scores"), found.get("minus_fp32")
    if not isinstance(scores, dict):
        return [*first, "", "", "", "", str(found["error"])]
    auc, precision = Estimate(**scores["auc"]), Estimate(**scores["precision_20px"])
    present = f"{found['auc_present']:.3f}"
    change = interval(Estimate(**gap), "+") if isinstance(gap, dict) else ""
    return [*first, interval(auc, ""), present, f"{precision.value:.3f}", change, ""]


def interval(found: Estimate, sign: str) -> str:
    return f"{found.value:{sign}.3f} [{found.low:{sign}.3f}, {found.high:{sign}.3f}]"


if __name__ == "__main__":
    main()
