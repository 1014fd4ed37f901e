"""Time everything in an update that is not the network, by frame size, and write docs/results/outside_network.*.

    python benchmarks/outside_network.py BUNDLE [--backend tflite] [--precision fp32] [--core 0]

Outside = whole update - session run, CPU milliseconds, medians. The target has 100x90 pixels or keeps its share of the
frame; it lies in the middle, or in a corner so that the crop is padded. Each frame is written just before its update,
as a decoder does.
"""

import statistics
import time
from argparse import Namespace
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from script import RESULTS, add_core, at_least, parser, recorded, run, write_results
from this_machine import pin, processor

from siamedge.runtime.backends.backend import ALL_PRECISIONS, BACKENDS
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.bundles.picking import load_sessions, params_of, pick
from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.sources.synthetic import SyntheticSource
from siamedge.runtime.speed.benchmark import TimedSession
from siamedge.runtime.speed.measuring import ContentionMeter
from siamedge.runtime.tracking.crops import context_side
from siamedge.runtime.tracking.params import TrackerParams
from siamedge.runtime.tracking.tracker_table import make_tracker
from siamedge.runtime.tracking.trackers import Tracker

SIZES = ((480, 360), (1280, 720), (1920, 1080), (3840, 2160))
SIDE = (100, 90)
HEADING = """# Outside the network

Made by `python benchmarks/outside_network.py` ({arch}, {backend} {precision}, CPU ms of an update without the session's
run, medians of {updates}, one thread, one core of {machine}). {remark}

| frame | target px | where | crop px | outside |
|---|---|---|---|---|
"""


class Place(NamedTuple):
    """A target in a frame, both in pixels, and where it is."""

    frame: tuple[int, int]
    box: Box
    where: str


def arguments() -> Namespace:
    found = parser(__doc__)
    found.add_argument("bundle", type=Path)
    found.add_argument("--backend", choices=list(BACKENDS), default="tflite")
    found.add_argument("--precision", choices=ALL_PRECISIONS, default="fp32")
    found.add_argument("--updates", type=at_least(1), default=60)
    add_core(found)
    found.add_argument("--out", type=Path, default=RESULTS)
    return found.parse_args()


def places() -> Iterator[Place]:
    for width, height in SIZES:
        scale = min(width / 480, height / 360)
        for w, h in dict.fromkeys((SIDE, (round(SIDE[0] * scale), round(SIDE[1] * scale)))):
            yield Place((width, height), Box((width - w) / 2, (height - h) / 2, w, h), "middle")
            yield Place((width, height), Box(0, 0, w, h), "corner")


@lru_cache(maxsize=1)
def clip_of(size: tuple[int, int]) -> list[Image]:
    """Four frames of a drawn scene."""
    scene = SyntheticSource(size=size)
    return [np.ascontiguousarray(scene.image_at(index)) for index in range(4)]


def outside_ms(tracker: Tracker, timed: TimedSession, place: Place, updates: int) -> float:
    """Median CPU time of an update without the runs of its network."""
    clip = clip_of(place.frame)
    frame, taken = np.empty_like(clip[0]), []
    for index in range(updates):
        tracker.init(clip[0], place.box)
        tracker.update(clip[0])
        np.copyto(frame, clip[1 + index % 3])
        timed.runs.clear()
        start_ns = time.process_time_ns()
        tracker.update(frame)
        whole_ns = time.process_time_ns() - start_ns
        taken.append((whole_ns - sum(end - begin for begin, end in timed.runs)) / 1e6)
    return statistics.median(taken)


def measured(place: Place, params: TrackerParams, ms: float) -> dict[str, object]:
    w, h = place.box.w, place.box.h
    side = round(context_side(w, h, params.context) * params.search_px / params.template_px)
    frame = "x".join(map(str, place.frame))
    return {"frame": frame, "target": [int(w), int(h)], "where": place.where, "crop": side, "ms": ms}


def row(found: dict[str, object]) -> str:
    target = found["target"]
    size = "x".join(map(str, target)) if isinstance(target, list) else ""
    return f"| {found['frame']} | {size} | {found['where']} | {found['crop']} | {found['ms']:.3f} |"


def main() -> None:
    options = arguments()
    pin(options.core)
    bundle = Bundle.open(options.bundle)
    choice = pick(bundle, backend=options.backend, precision=options.precision).choice
    template, search = load_sessions(bundle, choice)
    timed, params = TimedSession(search), params_of(bundle, choice)
    tracker = make_tracker(bundle.manifest.tracker.family, template, timed, params)
    results = []
    with ContentionMeter() as meter:
        for place in places():
            results.append(measured(place, params, outside_ms(tracker, timed, place, options.updates)))
            print(row(results[-1]), flush=True)
    heading = HEADING.format(
        arch=bundle.manifest.tracker.arch,
        backend=options.backend,
        precision=options.precision,
        updates=options.updates,
        machine=processor(),
        remark=f"{reason}." if (reason := meter.result.reason) else "",
    )
    page = heading + "\n".join(map(row, results)) + "\n"
    write_results(options.out, "outside_network", page, recorded(options, [options.bundle], results))


if __name__ == "__main__":
    run(main)
