"""Time whole updates against cv2.TrackerNano on the same boxes, and write docs/results/against_opencv.{json,md}.

    python benchmarks/against_opencv.py --bundle v2.siamedge --bundle dart.siamedge
        --sequence ../shared/sequences/VOT15_bag --backbone backbone.onnx --head head.onnx

One interleaved run: in every round each tracker in turn is set on the annotated box of one frame, updated once on that
frame, and timed on the next frame, five updates in a row, for all scenes. CPU time of all threads of the process, one
thread each, pinned to one core, medians of rounds.
"""

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
from machine import processor

from siamedge.runtime.backends.backend import ALL_PRECISIONS, get_backend
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.bundles.picking import Candidate, open_tracker
from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.speed.measuring import Contention, ContentionMeter, Scene, race, ratio_to
from siamedge.runtime.speed.rivals import opencv_nano
from siamedge.runtime.tracking.trackers import Tracker

SIZES = {"480x360": 1.0, "1920x1080": 4.0, "3840x2880": 8.0}
"""Frame size to the scale of the target; the sequence has 480x360."""
RIVAL = "cv2.TrackerNano"
HEADING = """# Against cv2.TrackerNano {opencv}

Made by `python benchmarks/against_opencv.py` ({rounds} rounds of {scenes} updates, CPU ms of a whole update, one
thread, one core of {machine}; all set on the same box of VOT15 bag before each update). Rival and candidates were
measured in one interleaved run; a ratio is the median of the ratios within a round. {remark}

| frame | tracker | ms | times faster | verification |
|---|---|---|---|---|
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, action="append", required=True)
    parser.add_argument("--sequence", type=Path, required=True, help="folder with img/ and groundtruth.txt")
    parser.add_argument("--backbone", type=Path, required=True)
    parser.add_argument("--head", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scenes", type=int, default=12)
    parser.add_argument("--core", type=int, default=0, help="the processor to run on")
    parser.add_argument("--size", action="append", choices=list(SIZES), help="default: all")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    return parser.parse_args()


def scaled(frame: Image, size: str) -> Image:
    width, height = map(int, size.split("x"))
    return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def scenes_of(sequence: Path, size: str, count: int) -> list[Scene]:
    paths = sorted((sequence / "img").glob("*.jpg"))
    lines = (sequence / "groundtruth.txt").read_text(encoding="utf-8").splitlines()
    step = (len(paths) - 1) // count
    scenes = []
    for i in range(0, step * count, step):
        before, after = (np.asarray(cv2.imread(str(path)), np.uint8) for path in paths[i : i + 2])
        across, down = (a / b for a, b in zip(map(int, size.split("x")), before.shape[1::-1], strict=True))
        x, y, w, h = (float(side) for side in lines[i].replace("\t", ",").split(","))
        box = Box(*(float(int(side)) for side in (x * across, y * down, w * across, h * down)))
        scenes.append(Scene(scaled(before, size), scaled(after, size), box))
    return scenes


def candidates(bundles: list[Path]) -> dict[str, tuple[Tracker, str]]:
    found: dict[str, tuple[Tracker, str]] = {}
    for path in bundles:
        bundle = Bundle.open(path)
        have = {(a.format, a.precision) for a in bundle.manifest.artifacts}
        verdicts = {(v.format, v.precision): v.verdict for v in bundle.manifest.verification}
        for backend in ("tflite", "openvino", "onnxruntime"):
            form = get_backend(backend).format
            for precision in ALL_PRECISIONS:
                if (form, precision) in have and precision != "fp16":
                    choice = Candidate(backend, precision, "CPU", "")
                    tracker = open_tracker(bundle, choice)
                    found[f"{bundle.manifest.tracker.arch} {backend} {precision}"] = (
                        tracker,
                        verdicts[form, precision],
                    )
    return found


def measure(options: argparse.Namespace, size: str) -> tuple[dict[str, list[float]], Contention, dict[str, str]]:
    entries = candidates(options.bundle)
    trackers: dict[str, Tracker] = {RIVAL: opencv_nano(options.backbone, options.head)}
    trackers.update({name: tracker for name, (tracker, _) in entries.items()})
    with ContentionMeter() as meter:
        medians = race(trackers, scenes_of(options.sequence, size, options.scenes), options.rounds)
    return medians, meter.result, {name: verdict for name, (_, verdict) in entries.items()}


def main() -> None:
    options = arguments()
    os.sched_setaffinity(0, {options.core})
    cv2.setNumThreads(1)
    rows, results, remarks = [], {}, []
    for size in options.size or SIZES:
        medians, contention, verdicts = measure(options, size)
        results[size] = {"medians_ms": medians, "contention": asdict(contention)}
        if contention.reason:
            remarks.append(f"{size}: {contention.reason}.")
        for name, taken in medians.items():
            ratio = ratio_to(medians[RIVAL], taken)
            rows.append(f"| {size} | {name} | {np.median(taken):.2f} | {ratio:.2f} | {verdicts.get(name, '')} |")
            print(rows[-1], flush=True)
    heading = HEADING.format(
        opencv=cv2.__version__,
        rounds=options.rounds,
        scenes=options.scenes,
        machine=processor(),
        remark=" ".join(remarks),
    )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "against_opencv.md").write_text(heading + "\n".join(rows) + "\n", encoding="utf-8")
    (options.out / "against_opencv.json").write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
