"""Track enlarged sequences with plain crops and with those of large squares, and write docs/results/large_targets.*.

    python benchmarks/large_targets.py BUNDLE SEQUENCES [--times 2.6 --times 3 --times 3.4] [--frames 120]

Frames and boxes are enlarged, so that most search squares are larger than twice the crop. Both trackers see the same
frames: for one every square is copied as a whole and resized in bytes, for the other as `siamedge track` does it. Only
frames with a box count.
"""

import math
import statistics
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from script import RESULTS, at_least, parser, recorded, run, write_results

from siamedge.export.evaluation import sequences
from siamedge.export.evaluation.datasets import open_dataset
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.bundles.picking import open_tracker, pick
from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Box, intersection_over_union
from siamedge.runtime.tracking import crops

AS_TRACKED = crops.SHRUNK_FROM
PLAIN = math.inf
HEADING = """# Boxes of large targets

Made by `python benchmarks/large_targets.py` ({arch}, tflite fp32; frames and boxes enlarged {times} times, the
first {frames} frames of each sequence, mean overlap with the annotation over all enlargements). Large: share of the
frames whose search square is more than twice as wide as the crop.

| sequence | large | plain crops | as tracked |
|---|---|---|---|
"""
Runs = Sequence[tuple[float, float, float]]
"""Of each enlargement: share of large squares, mean overlap with plain crops and as tracked."""


def arguments() -> Namespace:
    found = parser(__doc__)
    found.add_argument("bundle", type=Path)
    found.add_argument("sequences", type=Path, help="a data set that `siamedge eval` reads, or one sequence")
    found.add_argument("--times", type=float, action="append", help="default: 2.6, 3 and 3.4")
    found.add_argument("--frames", type=at_least(2), default=120)
    found.add_argument("--out", type=Path, default=RESULTS)
    return found.parse_args()


def overlaps(bundle: Bundle, sequence: sequences.Sequence, times: float, count: int) -> tuple[float, float, float]:
    """Share of large squares, mean overlap with plain crops and as tracked, from the first frame with a box on.

    Raises:
        SourceError: No other frame among the first ones has a box.
    """
    choice = pick(bundle, backend="tflite", precision="fp32").choice
    trackers = [open_tracker(bundle, choice) for _ in (PLAIN, AS_TRACKED)]
    params = bundle.manifest.tracker.params
    first, *others = np.flatnonzero(sequence.valid[:count]).tolist() or [count]
    if not others:
        raise SourceError(f"{sequence.name}: fewer than two of {count} frames have a box", hint="give more --frames")
    found: list[list[float]] = []
    indices = range(first, min(count, len(sequence)))
    for index, picture in zip(indices, sequences.read_frames(sequence, indices), strict=True):
        frame = np.asarray(cv2.resize(picture, None, fx=times, fy=times), np.uint8)
        box = Box(*(side * times for side in sequence.box(index)))
        row: list[float] = [crops.context_side(box.w, box.h, params.context) / params.template_px >= AS_TRACKED]
        for tracker, shrunk_from in zip(trackers, (PLAIN, AS_TRACKED), strict=True):
            crops.SHRUNK_FROM = shrunk_from
            if index == first:
                tracker.init(frame, box)
            else:
                row.append(intersection_over_union(tracker.update(frame).box, box))
        if index in others:
            found.append(row)
    large, plain, ours = (statistics.fmean(column) for column in zip(*found, strict=True))
    return large, plain, ours


def row(name: str, runs: Runs) -> str:
    large, plain, ours = (statistics.fmean(column) for column in zip(*runs, strict=True))
    return f"| {name} | {large:.0%} | {plain:.3f} | {ours:.3f} |"


def summary(results: Mapping[str, Runs]) -> str:
    """The differences of all runs, in a sentence."""
    changes = [ours - plain for runs in results.values() for _, plain, ours in runs]
    error = f"{statistics.stdev(changes) / math.sqrt(len(changes)):.4f}" if len(changes) > 1 else "unknown"
    return (
        f"\nOf {len(changes)} runs: mean difference {statistics.fmean(changes):+.4f}, its standard error {error}, "
        f"median {statistics.median(changes):+.4f}. A small change of pixels can move a tracker that is about to lose "
        "its target either way."
    )


def main() -> None:
    options = arguments()
    cv2.setNumThreads(1)
    bundle = Bundle.open(options.bundle)
    results: dict[str, Runs] = {}
    every = options.times or [2.6, 3.0, 3.4]
    for sequence in open_dataset(options.sequences):
        results[sequence.name] = [overlaps(bundle, sequence, times, options.frames) for times in every]
        print(row(sequence.name, results[sequence.name]), flush=True)
    arch = bundle.manifest.tracker.arch
    heading = HEADING.format(arch=arch, times=", ".join(f"{times:g}" for times in every), frames=options.frames)
    lines = [*(row(name, runs) for name, runs in results.items()), summary(results)]
    page = heading + "\n".join(lines) + "\n"
    write_results(options.out, "large_targets", page, recorded(options, [options.bundle], results))


if __name__ == "__main__":
    run(main)
