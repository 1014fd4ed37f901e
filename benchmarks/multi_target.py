"""Time one and eight targets on a 1280x720 stream with one loaded network, and write docs/results/multi_target.*.

    python benchmarks/multi_target.py BUNDLE [--precision fp32] [--rounds 7] [--core 0]

CPU milliseconds; one and eight targets in turn in every round. The cost of an extra target is a seventh of the
difference; the network's time is that of the session's runs in the same round.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

import cv2
from machine import processor

from siamedge.runtime.backends.backend import BACKENDS, get_backend
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.bundles.picking import Candidate, load_sessions
from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.sources.synthetic import SyntheticSource
from siamedge.runtime.speed.benchmark import TimedSession
from siamedge.runtime.tracking.multi_target import MultiTracker

TARGETS = 8
FRAMES = 12
HEADING = """# Eight targets on one 1280x720 stream

Made by `python benchmarks/multi_target.py` ({rounds} rounds in turn, {arch} {precision}, CPU ms, one thread, one
core of {machine}).

| backend | one target | eight | an extra one | network | extra / network |
|---|---|---|---|---|---|
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--core", type=int, default=0, help="the processor to run on")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    return parser.parse_args()


def update_ms(tracker: MultiTracker, clip: list[Image], boxes: list[Box]) -> float:
    tracker.init(clip[0], boxes)
    times = []
    for frame in clip[1:]:
        start_ns = time.process_time_ns()
        tracker.update(frame)
        times.append((time.process_time_ns() - start_ns) / 1e6)
    return statistics.median(times)


def main() -> None:
    options = arguments()
    os.sched_setaffinity(0, {options.core})
    cv2.setNumThreads(1)
    bundle, scene = Bundle.open(options.bundle), SyntheticSource(size=(1280, 720))
    clip = [scene.image_at(index) for index in range(FRAMES)]
    boxes = [scene.box_at(0)] + [Box(120.0 + 140 * i, 150.0 + 60 * (i % 3), 90, 70) for i in range(1, TARGETS)]
    entry, rows, results = bundle.manifest.tracker, [], {}
    for name in BACKENDS:
        if get_backend(name).unavailable("CPU") is not None:
            continue
        template, search = load_sessions(bundle, Candidate(name, options.precision, "CPU", ""))
        timed = TimedSession(search)
        tracker = MultiTracker(template, timed, entry.family, entry.params)
        rounds = []
        for number in range(options.rounds + 1):
            timed.runs.clear()
            one = update_ms(tracker, clip, boxes[:1])
            network = statistics.median((end - begin) / 1e6 for begin, end in timed.runs)
            many = update_ms(tracker, clip, boxes)
            if number > 0:
                rounds.append((one, many, (many - one) / (TARGETS - 1), network))
        one, many, extra, network = (statistics.median(values) for values in zip(*rounds, strict=True))
        ratio = statistics.median(row[2] / row[3] for row in rounds)
        results[name] = {"rounds": rounds, "extra_to_network": ratio}
        rows.append(f"| {name} | {one:.2f} | {many:.2f} | {extra:.2f} | {network:.2f} | {ratio:.2f} |")
        print(rows[-1], flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    heading = HEADING.format(rounds=options.rounds, arch=entry.arch, precision=options.precision, machine=processor())
    (options.out / "multi_target.md").write_text(heading + "\n".join(rows) + "\n")
    (options.out / "multi_target.json").write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
