"""Time whole updates against cv2.TrackerNano on the same boxes, and write docs/results/against_opencv.{json,md}.

    python benchmarks/against_opencv.py --bundle v2.siamedge --bundle dart.siamedge
        --sequence ../shared/sequences/VOT15_bag --backbone backbone.onnx --head head.onnx

One interleaved run: in every round each tracker in turn is set on the annotated box of one frame, updated once on that
frame, and timed on the next frame, five updates in a row, for all scenes. CPU time of all threads of the process, one
thread each, pinned to one core, medians of rounds. fp16, which computes as fp32 on a processor, is left out.
"""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from script import RESULTS, add_core, at_least, parser, recorded, run, write_results
from this_machine import not_installed, pin, processor

from siamedge.export.evaluation.datasets import open_dataset
from siamedge.export.evaluation.sequences import read_frames
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.bundles.picking import open_tracker
from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.speed.benchmark import usable
from siamedge.runtime.speed.measuring import UPDATES, ContentionMeter, Scene, race, ratio_to
from siamedge.runtime.speed.rivals import opencv_nano
from siamedge.runtime.tracking.trackers import Tracker

SIZES = ("480x360", "1920x1080", "3840x2880")
"""To which frames and boxes are stretched."""
RIVAL = "cv2.TrackerNano"
HEADING = """# Against cv2.TrackerNano {opencv}

Made by `python benchmarks/against_opencv.py` ({rounds} rounds of {scenes} scenes, in each the mean of {updates}
updates; CPU ms of a whole update, one thread, one core of {machine}; all set on the same box of {sequence} first).
Rival and candidates were measured in one interleaved run; a ratio is the median of the ratios within a round. {remark}

| frame | tracker | ms | times faster | verification |
|---|---|---|---|---|
"""


def arguments() -> Namespace:
    found = parser(__doc__)
    found.add_argument("--bundle", type=Path, action="append", required=True, help="may be given several times")
    found.add_argument("--sequence", type=Path, required=True, help="folder with img/ and groundtruth.txt")
    found.add_argument("--backbone", type=Path, required=True, help="of cv2.TrackerNano")
    found.add_argument("--head", type=Path, required=True, help="of cv2.TrackerNano")
    found.add_argument("--rounds", type=at_least(1), default=5)
    found.add_argument("--scenes", type=at_least(1), default=12)
    add_core(found)
    found.add_argument("--size", action="append", choices=SIZES, help="default: all")
    found.add_argument("--out", type=Path, default=RESULTS)
    return found.parse_args()


def scaled(frame: Image, size: str) -> Image:
    width, height = map(int, size.split("x"))
    return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def scenes_of(path: Path, size: str, count: int) -> list[Scene]:
    """Pairs of neighbouring frames, evenly through a sequence, stretched to a size; boxes of whole pixels, as OpenCV's.

    Raises:
        SourceError: There are fewer pairs whose first frame has a box.
    """
    sequence = open_dataset(path)[0]
    starts = [index for index in range(len(sequence) - 1) if sequence.valid[index]]
    if len(starts) < count:
        raise SourceError(
            f"{path}: {len(starts)} frames have a box and a frame after them, --scenes is {count}",
            hint="take fewer scenes or a longer sequence",
        )
    scenes = []
    for index in starts[:: len(starts) // count][:count]:
        before, after = read_frames(sequence, (index, index + 1))
        across, down = (a / b for a, b in zip(map(int, size.split("x")), before.shape[1::-1], strict=True))
        x, y, w, h = sequence.box(index)
        box = Box(*(float(int(side)) for side in (x * across, y * down, w * across, h * down)))
        scenes.append(Scene(scaled(before, size), scaled(after, size), box))
    return scenes


def candidates(paths: list[Path]) -> dict[str, tuple[Tracker, str]]:
    """Trackers and their verification, named by network; by the bundle's path too where two are of one network."""
    bundles = {path: Bundle.open(path) for path in paths}
    archs = [bundle.manifest.tracker.arch for bundle in bundles.values()]
    found: dict[str, tuple[Tracker, str]] = {}
    for path, bundle in bundles.items():
        arch = bundle.manifest.tracker.arch
        name = arch if archs.count(arch) == 1 else f"{arch} of {path}"
        for choice in usable(bundle):
            if choice.precision != "fp16":
                found[f"{name} {choice.backend} {choice.precision}"] = open_tracker(bundle, choice), choice.verdict
    return found


def measure(options: Namespace, size: str) -> dict[str, Any]:
    """Medians of each round, what others took, and verdicts, by tracker."""
    scenes = scenes_of(options.sequence, size, options.scenes)
    trackers: dict[str, Tracker] = {RIVAL: opencv_nano(options.backbone, options.head)}
    entries = candidates(options.bundle)
    trackers.update({name: tracker for name, (tracker, _) in entries.items()})
    with ContentionMeter() as meter:
        medians = race(trackers, scenes, options.rounds)
    verdicts = {name: verdict for name, (_, verdict) in entries.items()}
    reason = meter.result.reason
    return {"medians_ms": medians, "contention": {**asdict(meter.result), "reason": reason}, "verdicts": verdicts}


def rows(size: str, found: Mapping[str, Any]) -> list[str]:
    """Lines of the table, of one frame size."""
    medians, verdicts = found["medians_ms"], found["verdicts"]
    faster = {name: ratio_to(medians[RIVAL], taken) for name, taken in medians.items()}
    return [
        f"| {size} | {name} | {np.median(taken):.2f} | {faster[name]:.2f} | {verdicts.get(name, '')} |"
        for name, taken in medians.items()
    ]


def main() -> None:
    options = arguments()
    pin(options.core)
    results: dict[str, dict[str, Any]] = {}
    for size in options.size or SIZES:
        results[size] = measure(options, size)
        print("\n".join(rows(size, results[size])), flush=True)
    busy = [f"{size}: {reason}." for size, found in results.items() if (reason := found["contention"]["reason"])]
    heading = HEADING.format(
        opencv=cv2.__version__,
        rounds=options.rounds,
        scenes=options.scenes,
        updates=UPDATES,
        machine=processor(),
        sequence=options.sequence.name,
        remark=" ".join([*busy, not_installed()]).strip(),
    )
    lines = [line for size, found in results.items() for line in rows(size, found)]
    write_results(
        options.out, "against_opencv", heading + "\n".join(lines) + "\n", recorded(options, options.bundle, results)
    )


if __name__ == "__main__":
    run(main)
