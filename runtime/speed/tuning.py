"""Choosing how to run a bundle by measuring it here: every usable way under a camera's pace, and the record of it."""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from siamedge.runtime.backends.absence import remedy
from siamedge.runtime.backends.backend import ALL_PRECISIONS, BACKENDS, get_backend, reason_against
from siamedge.runtime.backends.cache import CompiledCache
from siamedge.runtime.bundles.answers import Answers, check_answers, read_answers
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.bundles.picking import Candidate, load_sessions, params_of
from siamedge.runtime.errors import BackendError
from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.speed.measuring import spread_of
from siamedge.runtime.speed.tuning_record import (
    SCHEMA,
    Trial,
    Tuning,
    bundle_sha256,
    fingerprint,
    name_of,
    with_verdict,
)
from siamedge.runtime.tracking.tracker_table import make_tracker
from siamedge.runtime.tracking.trackers import Tracker

NEAR = 1.03
"""A way that is no more than this much slower than the fastest, with fewer threads, is preferred."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How to measure.

    Attributes:
        fps: Frames a second that the camera gives; None: as fast as it goes.
        frames: Updates of each candidate in a round.
        rounds: How often each candidate has its turn.
        device: The backends' name of the device.
        threads: Numbers of threads to try.
    """

    fps: float | None = 30.0
    frames: int = 6
    rounds: int = 5
    device: str = "CPU"
    threads: tuple[int, ...] = field(default_factory=lambda: thread_counts(os.cpu_count() or 1))


def thread_counts(processors: int) -> tuple[int, ...]:
    """Numbers of threads worth trying: 1, 2 and 4, no more than there are processors."""
    return tuple(count for count in (1, 2, 4) if count <= processors)


def candidates(bundle: Bundle, pace: Pace) -> list[Trial]:
    """Every way to run a bundle here; those that cannot be measured carry the reason."""
    trials = []
    for name in BACKENDS:
        backend = get_backend(name)
        verdicts = {v.precision: v for v in bundle.manifest.verification if v.format == backend.format}
        have = {a.precision for a in bundle.manifest.artifacts if a.format == backend.format}
        for precision in (precision for precision in ALL_PRECISIONS if precision in have):
            reason = reason_against(backend, precision, pace.device)
            found = verdicts.get(precision)
            beyond = found.reason if found is not None and found.verdict != "pass" else None
            verdict = reason or (f"beyond the accuracy budget: {beyond}" if beyond else "usable")
            threads = pace.threads if pace.device == "CPU" else (1,)
            trials += [Trial(name, precision, pace.device, count, None, None, verdict) for count in threads]
    return trials


def verdicts_of(trials: Sequence[Trial]) -> str:
    """Each verdict of a backend once, with the precisions that it is about."""
    precisions: dict[tuple[str, str], dict[str, None]] = {}
    for trial in trials:
        precisions.setdefault((trial.backend, trial.verdict), {})[trial.precision] = None
    return "; ".join(f"{backend} {', '.join(found)}: {verdict}" for (backend, verdict), found in precisions.items())


def tune(
    bundle: Bundle,
    frames: Sequence[Image],
    start: Box,
    pace: Pace | None = None,
    *,
    cache: CompiledCache | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> Tuning:
    """Measure every usable way to run a bundle and choose.

    Args:
        bundle: Opened.
        frames: A clip that is followed, again and again.
        start: The target in its first frame.
        pace: How to measure.
        cache: Where backends keep what they compile.
        progress: Told what is being done.

    Raises:
        BackendError: No way is usable; the message gives every verdict.
        BundleError: The bundle's answers are damaged.
    """
    pace = pace or Pace()
    trials, runners, answers = candidates(bundle, pace), {}, read_answers(bundle)
    for index, trial in enumerate(trials):
        if trial.verdict == "usable":
            progress(f"loading {name_of(trial)}")
            try:
                runners[index] = Runner(load(bundle, trial, answers, cache), frames, start)
            except BackendError as error:
                trials[index] = with_verdict(trial, str(error))
    if not runners:
        raise BackendError(
            f"nothing in {bundle.path.name} can be tuned here: {verdicts_of(trials) or 'it has no models'}",
            hint=remedy(trial.verdict for trial in trials),
        )
    for number in range(pace.rounds):
        for index, runner in runners.items():
            progress(f"round {number + 1} of {pace.rounds}: {name_of(trials[index])}")
            runner.run(pace)
    measured = {index: runner.measured(trials[index]) for index, runner in runners.items()}
    chosen, reason = choose(measured)
    for index, trial in measured.items():
        trials[index] = with_verdict(trial, "chosen") if index == chosen else trial
    reason += busy_remark(os.getloadavg()[0], os.cpu_count() or 1)
    return Tuning(SCHEMA, fingerprint(), bundle_sha256(bundle), pace.fps or 0.0, tuple(trials), reason)


def busy_remark(load: float, processors: int) -> str:
    """What to add to a reason: nothing, or that others computed too while it was measured."""
    if load <= processors:
        return ""
    return f" (measured on a busy machine: load {load:.1f} on {processors} processors; tune again when it is idle)"


def load(bundle: Bundle, trial: Trial, answers: Answers | None, cache: CompiledCache | None) -> Tracker:
    """Load a candidate.

    Raises:
        BackendError: The library refuses a model, or the models compute something else than where they were exported.
    """
    precision = next(precision for precision in ALL_PRECISIONS if precision == trial.precision)
    choice = Candidate(trial.backend, precision, trial.device, "", trial.threads)
    sessions, params = load_sessions(bundle, choice, cache), params_of(bundle, choice)
    if answers is not None:
        check_answers(answers, (get_backend(trial.backend).format, precision), sessions, params)
    return make_tracker(bundle.manifest.tracker.family, *sessions, params)


class Runner:
    """One loaded candidate that follows the clip and takes the times.

    Args:
        tracker: The candidate.
        frames: A clip.
        start: The target in its first frame.
    """

    def __init__(self, tracker: Tracker, frames: Sequence[Image], start: Box) -> None:
        self._tracker, self._frames, self._start = tracker, frames, start
        self._wall_ms: list[float] = []
        self._cpu_ms: list[float] = []

    def run(self, pace: Pace) -> None:
        """Follow the clip for one round; the first update after a pause of other work is not counted."""
        self._tracker.init(self._frames[0], self._start)
        due_s = time.perf_counter()
        for number in range(pace.frames + 1):
            if pace.fps is not None:
                due_s += 1 / pace.fps
                time.sleep(max(0.0, due_s - time.perf_counter()))
            wall_ns, cpu_ns = time.perf_counter_ns(), time.process_time_ns()
            self._tracker.update(self._frames[(number + 1) % len(self._frames)])
            if number > 0:
                self._wall_ms.append((time.perf_counter_ns() - wall_ns) / 1e6)
                self._cpu_ms.append((time.process_time_ns() - cpu_ns) / 1e6)

    def measured(self, trial: Trial) -> Trial:
        """The candidate with what was measured."""
        latency, cpu_ms = spread_of(self._wall_ms), statistics.median(self._cpu_ms)
        return Trial(trial.backend, trial.precision, trial.device, trial.threads, latency, cpu_ms, "measured")


def choose(measured: Mapping[int, Trial]) -> tuple[int, str]:
    """Choose among measured candidates: the lowest median latency; on a near tie fewer threads, then less CPU.

    Returns:
        Index of the choice, and why.
    """

    def latency(index: int) -> float:
        found = measured[index].latency_ms
        return found.p50 if found is not None else float("inf")

    fastest = min(measured, key=latency)
    near = [index for index in measured if latency(index) <= NEAR * latency(fastest)]
    chosen = min(near, key=lambda index: (measured[index].threads, latency(index)))
    reason = f"{latency(chosen):.2f} ms, the fastest of {len(measured)} within the accuracy budget"
    if chosen != fastest:
        other = measured[fastest]
        reason = f"{latency(chosen):.2f} ms with fewer threads; {name_of(other)} takes {latency(fastest):.2f} ms"
    return chosen, reason
