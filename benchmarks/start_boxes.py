"""How much of a result is chance: each sequence again from start boxes that are up to a pixel off.

    python benchmarks/start_boxes.py ../shared/sequences --bundle dart.siamedge --bundle v3.siamedge \
        [--backend tflite] [--precision fp32] [--starts 9]

Writes docs/results/start_boxes.{json,md}. The first start is the annotated box; the others move each of x, y, w, h by
-1 to 1 px, seeded. A sequence whose AUC is the same from all of them was kept or lost for a reason; where it jumps, a
target and something else look alike to the tracker, and a single pass says little.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from siamedge.export.evaluation.conventions import get_convention
from siamedge.export.evaluation.datasets import open_dataset
from siamedge.export.evaluation.evaluation import run_sequence
from siamedge.export.evaluation.sequences import Sequence
from siamedge.export.evaluation.specs import TrackerSpec, open_spec

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
    """The sequence with another first box, which no convention scores."""
    boxes = sequence.boxes.copy()
    boxes[0] += random.uniform(-MOST_PX, MOST_PX, 4)
    return replace(sequence, boxes=boxes)


def auc_of(spec: TrackerSpec, sequence: Sequence) -> float:
    terms = OTB.terms(sequence, run_sequence(open_spec(spec), sequence, OTB.protocol))
    return float(terms["success"].numerator.mean())


def row(tracker: str, sequence: str, found: list[float]) -> str:
    low, mean, high = min(found), float(np.mean(found)), max(found)
    name = f"**{sequence}**" if high - low > JUMP else sequence
    return f"| {tracker} | {name} | {found[0]:.3f} | {low:.3f} | {mean:.3f} | {high:.3f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--bundle", action="append", required=True)
    parser.add_argument("--backend", default="tflite")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--starts", type=int, default=9)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    table: dict[str, dict[str, list[float]]] = {}
    for bundle in options.bundle:
        spec, name = TrackerSpec(bundle, options.backend, options.precision), TrackerSpec(bundle).label
        for sequence in open_dataset(options.dataset):
            random = np.random.default_rng(0)
            starts = [sequence, *(moved(sequence, random) for _ in range(options.starts - 1))]
            table.setdefault(name, {})[sequence.name] = [auc_of(spec, start) for start in starts]
            print(row(name, sequence.name, table[name][sequence.name]), file=sys.stderr, flush=True)
    lines = []
    for name, found in table.items():
        lines += [row(name, sequence, values) for sequence, values in found.items()]
        lines.append(row(name, "mean", [float(np.mean(values)) for values in zip(*found.values(), strict=True)]))
    heading = HEADING.format(
        backend=options.backend, precision=options.precision, others=options.starts - 1, most=MOST_PX, jump=JUMP
    )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "start_boxes.md").write_text(heading + "\n".join(lines) + "\n")
    (options.out / "start_boxes.json").write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
