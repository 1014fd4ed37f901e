"""Success AUC and precision of bundles x backends x precisions, and of cv2.TrackerNano, on one data set.

python benchmarks/accuracy.py ../shared/sequences --bundle NAME.siamedge --backends onnxruntime,tflite,openvino \
    --precisions fp32,int8 --opencv-nano backbone.onnx,head.onnx --output docs/results/accuracy
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from itertools import product
from pathlib import Path

from siamedge.export.evaluation.bootstrap import estimates
from siamedge.export.evaluation.conventions import get_convention
from siamedge.export.evaluation.datasets import open_dataset
from siamedge.export.evaluation.evaluation import run_sequence
from siamedge.export.evaluation.sequences import Sequence
from siamedge.export.evaluation.specs import TrackerSpec, open_spec
from siamedge.runtime.errors import SiamedgeError

HEADER = ("tracker", "backend", "precision", "AUC", "+-", "prec@20", "wall ms / frame", "note")


def main() -> None:
    options = parse()
    sequences = open_dataset(options.dataset, options.layout)
    rows = [measure(spec, sequences) for spec in specs(options)]
    report = {"dataset": options.dataset.name, "frames": sum(len(item) for item in sequences), "rows": rows}
    table = "\n".join(markdown(report))
    print(table)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.with_suffix(".json").write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
        options.output.with_suffix(".md").write_text(table + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--layout", default="auto")
    parser.add_argument("--bundle", action="append", default=[], help="may be given several times")
    parser.add_argument("--checkpoint", action="append", default=[], help="run in PyTorch; may be given several times")
    parser.add_argument("--backends", default="onnxruntime,tflite,openvino")
    parser.add_argument("--precisions", default="fp32,int8")
    parser.add_argument("--opencv-nano", default="", metavar="BACKBONE.onnx,HEAD.onnx")
    parser.add_argument("--output", type=Path, help="written with .json and .md")
    return parser.parse_args()


def specs(options: argparse.Namespace) -> Iterator[TrackerSpec]:
    ways = product(options.bundle, options.backends.split(","), options.precisions.split(","))
    yield from (TrackerSpec(checkpoint) for checkpoint in options.checkpoint)
    yield from (TrackerSpec(bundle, backend, precision) for bundle, backend, precision in ways)
    if options.opencv_nano:
        yield TrackerSpec(f"opencv:nano:{options.opencv_nano}")


def measure(spec: TrackerSpec, sequences: tuple[Sequence, ...]) -> dict[str, object]:
    convention = get_convention("otb")
    row: dict[str, object] = {**asdict(spec), "label": TrackerSpec(spec.source).label}
    print(f"{spec.label} ...", file=sys.stderr)
    try:
        runs = [run_sequence(open_spec(spec), item, convention.protocol) for item in sequences]
    except SiamedgeError as error:
        return {**row, "error": str(error)}
    terms = [convention.terms(item, run) for item, run in zip(sequences, runs, strict=True)]
    return {
        **row,
        "scores": {name: asdict(found) for name, found in estimates(terms, convention).items()},
        "auc_by_sequence": {
            item.name: float(term["success"].numerator.mean()) for item, term in zip(sequences, terms, strict=True)
        },
        "wall_ms": 1000 * sum(run[0].seconds[1:].sum() for run in runs) / sum(len(run[0].seconds) - 1 for run in runs),
    }


def markdown(report: dict[str, object]) -> Iterator[str]:
    yield f"Data set {report['dataset']}, {report['frames']} frames, one pass, convention `otb`."
    yield ""
    yield f"| {' | '.join(HEADER)} |"
    yield "|" + "---|" * len(HEADER)
    for row in report["rows"]:  # type: ignore[attr-defined]
        yield f"| {' | '.join(cells(row))} |"


def cells(row: dict[str, object]) -> list[str]:
    first = [str(row["label"]), str(row["backend"]), str(row["precision"])]
    if "error" in row:
        return [*first, "", "", "", "", str(row["error"])]
    scores = row["scores"]
    auc, precision = scores["auc"], scores["precision_20px"]  # type: ignore[index]
    figures = [f"{auc['value']:.3f}", f"{auc['standard_error']:.3f}", f"{precision['value']:.3f}"]
    return [*first, *figures, f"{row['wall_ms']:.2f}", ""]


if __name__ == "__main__":
    main()
