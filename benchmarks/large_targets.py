"""Track enlarged sequences with plain crops and with those of large squares, and write docs/results/large_targets.*.

    python benchmarks/large_targets.py BUNDLE SEQUENCES [--times 2.6 --times 3 --times 3.4] [--frames 120]

Frames and boxes are enlarged, so that most search squares are larger than twice the crop. Both trackers see the same
frames: for one every square is copied as a whole and resized in bytes, for the other as `siamedge track` does it.
"""

import argparse
import json
import math
import statistics
from pathlib import Path

import cv2
import numpy as np

from siamedge.export.evaluation.sequences import read_picture
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.bundles.picking import Candidate, open_tracker
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


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("sequences", type=Path, help="folders with img/ and groundtruth.txt")
    parser.add_argument("--times", type=float, action="append", help="default: 2.6, 3 and 3.4")
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    return parser.parse_args()


def overlaps(bundle: Bundle, sequence: Path, times: float, count: int) -> tuple[float, float, float]:
    """Share of large squares, mean overlap with plain crops and as tracked."""
    trackers = [open_tracker(bundle, Candidate("tflite", "fp32", "CPU", "")) for _ in (PLAIN, AS_TRACKED)]
    params = bundle.manifest.tracker.params
    rows: list[list[float]] = []
    lines = (sequence / "groundtruth.txt").read_text(encoding="utf-8").split("\n")
    paths = sorted((sequence / "img").glob("*.jpg"))[:count]
    for index, path in enumerate(paths):
        frame = np.asarray(cv2.resize(read_picture(path), None, fx=times, fy=times), np.uint8)
        box = Box(*(float(side) * times for side in lines[index].replace("\t", ",").split(",")[:4]))
        row: list[float] = [crops.context_side(box.w, box.h, params.context) / params.template_px >= AS_TRACKED]
        for tracker, shrunk_from in zip(trackers, (PLAIN, AS_TRACKED), strict=True):
            crops.SHRUNK_FROM = shrunk_from
            if index == 0:
                tracker.init(frame, box)
            else:
                row.append(intersection_over_union(tracker.update(frame).box, box))
        if index:
            rows.append(row)
    large, plain, ours = (statistics.fmean(column) for column in zip(*rows, strict=True))
    return large, plain, ours


def main() -> None:
    options = arguments()
    cv2.setNumThreads(1)
    bundle, rows, results = Bundle.open(options.bundle), [], {}
    every = options.times or [2.6, 3.0, 3.4]
    for sequence in sorted(path.parent for path in options.sequences.glob("*/groundtruth.txt")):
        runs = [overlaps(bundle, sequence, times, options.frames) for times in every]
        results[sequence.name] = runs
        found = [statistics.fmean(column) for column in zip(*runs, strict=True)]
        rows.append(f"| {sequence.name} | {found[0]:.0%} | {found[1]:.3f} | {found[2]:.3f} |")
        print(rows[-1], flush=True)
    changes = [ours - plain for runs in results.values() for _, plain, ours in runs]
    error = statistics.stdev(changes) / math.sqrt(len(changes))
    rows.append(
        f"\nOf {len(changes)} runs: mean difference {statistics.fmean(changes):+.4f}, its standard error {error:.4f}, "
        f"median {statistics.median(changes):+.4f}. A small change of pixels can move a tracker that is about to lose "
        "its target either way."
    )
    arch = bundle.manifest.tracker.arch
    heading = HEADING.format(arch=arch, times=", ".join(f"{times:g}" for times in every), frames=options.frames)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "large_targets.md").write_text(heading + "\n".join(rows) + "\n")
    (options.out / "large_targets.json").write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
