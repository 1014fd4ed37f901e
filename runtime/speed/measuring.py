"""Timing updates so that numbers can be believed: CPU time, interleaved rounds, and what the machine did meanwhile."""

import os
import resource
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2

from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.tracking.trackers import Tracker

BUSY_SHARE = 0.1
"""A measurement during which more than this share of the time went to others is not valid."""
UPDATES = 5
"""Timed in a row: a tracker that learns online does so in one of five."""


class Scene(NamedTuple):
    """Teacher-forced updates: the tracker is set on a box in one frame and has to find it in the next."""

    before: Image
    after: Image
    box: Box


@dataclass(frozen=True, slots=True)
class Spread:
    """Times of many updates, milliseconds.

    Attributes:
        p50: Median.
        p95: 95 % took no longer.
        p99: 99 % took no longer.
        count: Updates.
    """

    p50: float
    p95: float
    p99: float
    count: int


@dataclass(frozen=True, slots=True)
class Contention:
    """What others took from this process while it measured.

    Attributes:
        waiting_share: Share of the time in which the process wanted to compute and could not, 0..1.
        switches_per_s: How often it was put aside for another.
        load: Processes that wanted to run, mean of the last minute; None where the system does not tell.
        processors: Processors of the machine.
    """

    waiting_share: float
    switches_per_s: float
    load: float | None
    processors: int

    @property
    def reason(self) -> str | None:
        """Why times taken meanwhile are not valid; None if they are."""
        return busy_reason(self.waiting_share)


def busy_reason(waiting_share: float) -> str | None:
    """Why times are not valid during which so much of the time went to others; None if they are."""
    if waiting_share <= BUSY_SHARE:
        return None
    return f"the machine was busy: {waiting_share:.0%} of the time went to others (limit {BUSY_SHARE:.0%})"


class ContentionMeter:
    """Watches a stretch of computing; nothing inside may wait for a camera.

    Example: with ContentionMeter() as meter: ...; meter.result

    Args:
        device: On which it computes. On "CPU" all time without computing went to others. While another one computes
            this process has nothing to do, so that only the time counts in which it was ready and had no processor.
    """

    def __init__(self, device: str = "CPU") -> None:
        self._is_computing = device == "CPU"

    def __enter__(self) -> "ContentionMeter":
        """Begin."""
        self._wall_s, self._cpu_s, self._switches = time.perf_counter(), time.process_time(), involuntary_switches()
        self._delayed_s = delayed_s()
        return self

    def __exit__(self, *_: object) -> None:
        """End; the result is there."""
        wall_s = max(time.perf_counter() - self._wall_s, 1e-9)
        others_s = wall_s - (time.process_time() - self._cpu_s) if self._is_computing else delayed_s() - self._delayed_s
        waiting = max(0.0, others_s / wall_s)
        switches = (involuntary_switches() - self._switches) / wall_s
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        self.result = Contention(waiting, switches, load, os.cpu_count() or 1)


def involuntary_switches() -> int:
    """How often this process was put aside for another since it began."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def delayed_s(process: Path = Path("/proc/self")) -> float:
    """How long the threads of a process were ready and had no processor, seconds; 0 where the system does not tell.

    Source: Documentation/scheduler/sched-stats.rst of Linux: the second number is time spent waiting on a runqueue, ns.
    """
    total_ns = 0
    for path in process.glob("task/*/schedstat"):
        try:
            total_ns += int(path.read_text(encoding="ascii").split()[1])
        except OSError:  # the thread has ended
            continue
    return total_ns / 1e9


def spread_of(times_ms: Sequence[float]) -> Spread:
    """Give the percentiles of at least one time; the nearest from above, never one that was not measured."""
    ordered = sorted(times_ms)
    p50, p95, p99 = (ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.95, 0.99))
    return Spread(p50, p95, p99, len(ordered))


def race(trackers: Mapping[str, Tracker], scenes: Sequence[Scene], rounds: int) -> dict[str, list[float]]:
    """Time updates of several trackers on the same boxes, one tracker after the other in every round.

    OpenCV computes on one thread meanwhile, as the backends do unless they are told otherwise.

    Args:
        trackers: By name. init is called before each update and not timed.
        scenes: What they see, in each round; at least one.
        rounds: How often; one more round is run first and not counted.

    Returns:
        By name the median CPU time of an update of each round, milliseconds.
    """
    medians: dict[str, list[float]] = {name: [] for name in trackers}
    with one_opencv_thread():
        for number in range(rounds + 1):
            for name, tracker in trackers.items():
                median = statistics.median(update_times(tracker, scenes))
                if number > 0:
                    medians[name].append(median)
    return medians


@contextmanager
def one_opencv_thread() -> Iterator[None]:
    """Have OpenCV compute on one thread inside."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def update_times(tracker: Tracker, scenes: Sequence[Scene]) -> list[float]:
    """CPU time of an update in each scene, milliseconds: the mean of UPDATES of them on its second frame.

    One update on the frame of init goes before and is not timed: a running tracker finds its own weights in the
    processor's cache, not those of another network.
    """
    times = []
    for scene in scenes:
        tracker.init(scene.before, scene.box)
        tracker.update(scene.before)
        start_ns = time.process_time_ns()
        for _ in range(UPDATES):
            tracker.update(scene.after)
        times.append((time.process_time_ns() - start_ns) / 1e6 / UPDATES)
    return times


def ratio_to(rival: Sequence[float], ours: Sequence[float]) -> float:
    """How many times faster: the median over the rounds of the quotient within one round."""
    return statistics.median(theirs / mine for theirs, mine in zip(rival, ours, strict=True))
