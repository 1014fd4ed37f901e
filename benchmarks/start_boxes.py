"""How much of a result is chance: each sequence again from start boxes that are up to a pixel off.

    python benchmarks/start_boxes.py ../shared/sequences --bundle dart.siamedge --bundle v3.siamedge \
        [--backend tflite] [--precision fp32] [--starts 9]

Writes docs/results/start_boxes.{json,md}. The first start is the annotated box; the others move each of x, y, w, h by
-1 to 1 px, seeded. A sequence whose AUC is the same from all of them was kept or lost for a reason; where it jumps, a
target and something else look alike to the tracker, and a single pass says little.
"""

import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from script import RESULTS, at_least, names_of, parser, recorded, run, write_results

from siamedge.export.evaluation.conventions import get_convention
from siamedge.export.evaluation.datasets import open_dataset
from siamedge.export.evaluation.evaluation import run_sequence
from siamedge.export.evaluation.sequences import Sequence
from siamedge.export.evaluation.specs import TrackerSpec, open_spec
from siamedge.runtime.backends.backend import ALL_PRECISIONS, BACKENDS

OTB = get_convention("otb")
MOST_PX = 1.0
JUMP = 0.1
"""A sequence whose best and worst start are so far apart is marked."""
HEADING = """# From start boxes a pixel off

Made by `python benchmarks/start_boxes.py` ({backend} {precision}): AUC (`otb`) of each sequence from its annotated
box, and lowest, mean and highest of that and {others} more whose x, y, w and h are up to {most:g} px off. **Bold**:
more than {jump:g} apart.

| tracker | sequence | annotated | lowest | mean | highest |
|---|---|---|---|---|---|
"""


def moved(sequence: Sequence, random: np.random.Generator) -> Sequence:
    """The sequence with another box to start from, which the tracker is not scored by."""
    boxes = sequence.boxes.copy()
    boxes[np.flatnonzero(sequence.valid)[0]] += random.uniform(-MOST_PX, MOST_PX, 4)
    return replace(sequence, boxes=boxes)


def auc_of(spec: TrackerSpec, sequence: Sequence) -> float:
    terms = OTB.terms(sequence, run_sequence(open_spec(spec), sequence, OTB.protocol))
    return float(terms["success"].numerator.mean())


def row(tracker: str, sequence: str, found: list[float]) -> str:
    low, mean, high = min(found), float(np.mean(found)), max(found)
    name = f"**{sequence}**" if high - low > JUMP else sequence
    return f"| {tracker} | {name} | {found[0]:.3f} | {low:.3f} | {mean:.3f} | {high:.3f} |"


def arguments() -> Namespace:
    found = parser(__doc__)
    found.add_argument("dataset", type=Path)
    found.add_argument("--bundle", type=Path, action="append", required=True, help="may be given several times")
    found.add_argument("--backend", choices=list(BACKENDS), default="tflite")
    found.add_argument("--precision", choices=ALL_PRECISIONS, default="fp32")
    found.add_argument("--starts", type=at_least(2), default=9)
    found.add_argument("--out", type=Path, default=RESULTS)
    return found.parse_args()


def measure(spec: TrackerSpec, sequence: Sequence, starts: int) -> list[float]:
    """AUC from the annotated box, then from moved ones, the same for every tracker."""
    random = np.random.default_rng(0)
    return [auc_of(spec, start) for start in (sequence, *(moved(sequence, random) for _ in range(starts - 1)))]


def rows(table: Mapping[str, Mapping[str, list[float]]]) -> list[str]:
    """Lines of each tracker: its sequences, and the mean of them from each start."""
    lines = []
    for name, found in table.items():
        lines += [row(name, sequence, values) for sequence, values in found.items()]
        lines.append(row(name, "mean", [float(np.mean(values)) for values in zip(*found.values(), strict=True)]))
    return lines


def main() -> None:
    options = arguments()
    names, sequences = names_of([str(path) for path in options.bundle]), open_dataset(options.dataset)
    table: dict[str, dict[str, list[float]]] = {name: {} for name in names.values()}
    for bundle, name in names.items():
        spec = TrackerSpec(bundle, options.backend, options.precision)
        for sequence in sequences:
            table[name][sequence.name] = measure(spec, sequence, options.starts)
            print(row(name, sequence.name, table[name][sequence.name]), file=sys.stderr, flush=True)
    heading = HEADING.format(
        backend=options.backend, precision=options.precision, others=options.starts - 1, most=MOST_PX, jump=JUMP
    )
    page = heading + "\n".join(rows(table)) + "\n"
    write_results(options.out, "start_boxes", page, recorded(options, names, table))


if __name__ == "__main__":
    run(main)
