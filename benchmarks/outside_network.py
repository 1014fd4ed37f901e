"""Time everything in an update that is not the network, by frame size, and write docs/results/outside_network.*.

    python benchmarks/outside_network.py BUNDLE [--backend tflite] [--precision fp32] [--core 0]

Outside = whole update - session run, CPU milliseconds, medians. The target has 100x90 pixels or keeps its share of the
frame; it lies in the middle, or in a corner so that the crop is padded. Each frame is written just before its update,
as a decoder does.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

import cv2
import numpy as np
from machine import processor

from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.bundles.picking import Candidate, load_sessions
from siamedge.runtime.geometry import Box
from siamedge.runtime.sources.synthetic import SyntheticSource
from siamedge.runtime.speed.benchmark import TimedSession
from siamedge.runtime.tracking.tracker_table import make_tracker

SIZES = ((480, 360), (1280, 720), (1920, 1080), (3840, 2160))
SIDE = (100, 90)
HEADING = """# Outside the network

Made by `python benchmarks/outside_network.py` ({arch}, {backend} {precision}, CPU ms of an update without the session's
run, medians of {updates}, one thread, one core of {machine}).

| frame | target px | where | crop px | outside |
|---|---|---|---|---|
"""
UPDATES = 60


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--backend", default="tflite")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--core", type=int, default=0, help="the processor to run on")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    return parser.parse_args()


def main() -> None:
    options = arguments()
    os.sched_setaffinity(0, {options.core})
    cv2.setNumThreads(1)
    bundle = Bundle.open(options.bundle)
    template, search = load_sessions(bundle, Candidate(options.backend, options.precision, "CPU", ""))
    timed, entry = TimedSession(search), bundle.manifest.tracker
    tracker = make_tracker(entry.family, template, timed, entry.params)
    rows, results = [], []
    for width, height in SIZES:
        scene = SyntheticSource(size=(width, height))
        clip = [np.ascontiguousarray(scene.image_at(index)) for index in range(4)]
        frame = np.empty_like(clip[0])
        scale = min(width / 480, height / 360)
        for w, h in dict.fromkeys((SIDE, (round(SIDE[0] * scale), round(SIDE[1] * scale)))):
            places = {"middle": Box((width - w) / 2, (height - h) / 2, w, h), "corner": Box(0, 0, w, h)}
            for where, box in places.items():
                taken = []
                for index in range(UPDATES):
                    tracker.init(clip[0], box)
                    tracker.update(clip[0])
                    np.copyto(frame, clip[1 + index % 3])
                    timed.runs.clear()
                    start_ns = time.process_time_ns()
                    tracker.update(frame)
                    whole_ns = time.process_time_ns() - start_ns
                    taken.append((whole_ns - sum(end - begin for begin, end in timed.runs)) / 1e6)
                side = round(
                    ((w + (w + h) / 2) * (h + (w + h) / 2)) ** 0.5 * entry.params.search_px / entry.params.template_px
                )
                median = statistics.median(taken)
                results.append(
                    {"frame": f"{width}x{height}", "target": [w, h], "where": where, "crop": side, "ms": median}
                )
                rows.append(f"| {width}x{height} | {w}x{h} | {where} | {side} | {median:.3f} |")
                print(rows[-1], flush=True)
    named = {"arch": entry.arch, "backend": options.backend, "precision": options.precision}
    heading = HEADING.format(**named, updates=UPDATES, machine=processor())
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "outside_network.md").write_text(heading + "\n".join(rows) + "\n")
    (options.out / "outside_network.json").write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
