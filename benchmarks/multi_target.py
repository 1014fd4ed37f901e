"""Time one and eight targets on a 1280x720 stream with one loaded network, and write docs/results/multi_target.*.

    python benchmarks/multi_target.py BUNDLE [--precision fp32] [--rounds 7] [--core 0]

CPU milliseconds; one and eight targets in turn in every round. The cost of an extra target is a seventh of the
difference; the network's time is that of the session's runs in the same round.
"""

import statistics
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from script import RESULTS, add_core, at_least, parser, recorded, run, write_results
from this_machine import not_installed, pin, processor

from siamedge.runtime.backends.backend import ALL_PRECISIONS
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.bundles.picking import Candidate, load_sessions, params_of, pick
from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.sources.synthetic import SyntheticSource
from siamedge.runtime.speed.benchmark import TimedSession, usable
from siamedge.runtime.speed.measuring import ContentionMeter
from siamedge.runtime.tracking.multi_target import MultiTracker

TARGETS = 8
FRAMES = 12
HEADING = """# Eight targets on one 1280x720 stream

Made by `python benchmarks/multi_target.py` ({rounds} rounds in turn, {arch} {precision}, CPU ms, one thread, one
core of {machine}). {remark}

| backend | one target | eight | an extra one | network | extra / network |
|---|---|---|---|---|---|
"""
Rounds = Sequence[tuple[float, float, float, float]]
"""One target, eight, an extra one, network: CPU ms of each round."""


def arguments() -> Namespace:
    found = parser(__doc__)
    found.add_argument("bundle", type=Path)
    found.add_argument("--precision", choices=ALL_PRECISIONS, default="fp32")
    found.add_argument("--rounds", type=at_least(1), default=7)
    add_core(found)
    found.add_argument("--out", type=Path, default=RESULTS)
    return found.parse_args()


def update_ms(tracker: MultiTracker, clip: list[Image], boxes: list[Box]) -> float:
    tracker.init(clip[0], boxes)
    times = []
    for frame in clip[1:]:
        start_ns = time.process_time_ns()
        tracker.update(frame)
        times.append((time.process_time_ns() - start_ns) / 1e6)
    return statistics.median(times)


def measure(bundle: Bundle, choice: Candidate, count: int) -> Rounds:
    """Time one and eight targets in turn; one more round is run first and not counted."""
    scene = SyntheticSource(size=(1280, 720))
    clip = [scene.image_at(index) for index in range(FRAMES)]
    boxes = [scene.box_at(0)] + [Box(120.0 + 140 * i, 150.0 + 60 * (i % 3), 90, 70) for i in range(1, TARGETS)]
    template, search = load_sessions(bundle, choice)
    timed = TimedSession(search)
    tracker = MultiTracker(template, timed, bundle.manifest.tracker.family, params_of(bundle, choice))
    rounds = []
    for number in range(count + 1):
        timed.runs.clear()
        one = update_ms(tracker, clip, boxes[:1])
        network = statistics.median((end - begin) / 1e6 for begin, end in timed.runs)
        many = update_ms(tracker, clip, boxes)
        if number > 0:
            rounds.append((one, many, (many - one) / (TARGETS - 1), network))
    return rounds


def row(backend: str, rounds: Rounds) -> str:
    one, many, extra, network = (statistics.median(values) for values in zip(*rounds, strict=True))
    ratio = statistics.median(item[2] / item[3] for item in rounds)
    return f"| {backend} | {one:.2f} | {many:.2f} | {extra:.2f} | {network:.2f} | {ratio:.2f} |"


def main() -> None:
    options = arguments()
    pin(options.core)
    bundle = Bundle.open(options.bundle)
    pick(bundle, precision=options.precision)
    results: dict[str, Mapping[str, object]] = {}
    lines, remarks = [], [not_installed()]
    for choice in (choice for choice in usable(bundle) if choice.precision == options.precision):
        with ContentionMeter() as meter:
            rounds = measure(bundle, choice, options.rounds)
        results[choice.backend] = {"rounds": rounds, "waiting_share": meter.result.waiting_share}
        remarks += [f"{choice.backend}: {reason}."] if (reason := meter.result.reason) else []
        lines.append(row(choice.backend, rounds))
        print(lines[-1], flush=True)
    heading = HEADING.format(
        rounds=options.rounds,
        arch=bundle.manifest.tracker.arch,
        precision=options.precision,
        machine=processor(),
        remark=" ".join(remarks).strip(),
    )
    write_results(
        options.out, "multi_target", heading + "\n".join(lines) + "\n", recorded(options, [options.bundle], results)
    )


if __name__ == "__main__":
    run(main)
