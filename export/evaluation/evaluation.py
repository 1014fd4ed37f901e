"""Runs a tracker over data sets and scores it: the whole of `siamedge eval` but its words."""

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Rows
from dataclasses import dataclass

from siamedge.export.evaluation.bootstrap import Estimate, estimates
from siamedge.export.evaluation.conventions import get_convention
from siamedge.export.evaluation.realtime import Clock, track_in_time
from siamedge.export.evaluation.records import Settings, hash_files
from siamedge.export.evaluation.runner import STARTS, Protocol, Run, track
from siamedge.export.evaluation.sequences import Sequence
from siamedge.export.evaluation.specs import TrackerSpec, open_spec
from siamedge.runtime.trackers import Tracker

OpenTracker = Callable[[], Tracker]


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One sequence to run in some process.

    Attributes:
        spec: The tracker.
        sequence: What to track.
        protocol: Which passes over it.
        clock: For a latency-aware run, else None.
    """

    spec: TrackerSpec
    sequence: Sequence
    protocol: Protocol
    clock: Clock | None = None


def run_sequence(
    tracker: Tracker, sequence: Sequence, protocol: Protocol, clock: Clock | None = None
) -> tuple[Run, ...]:
    """Run a tracker over one sequence."""
    passes = STARTS[protocol](sequence)
    if clock is None:
        return tuple(track(tracker, sequence, frames) for frames in passes)
    return tuple(track_in_time(tracker, sequence, frames, clock) for frames in passes)


def run_task(task: Task) -> tuple[Run, ...]:
    """Open the tracker, or take the one that this process has open, and run it over the task's sequence."""
    return run_sequence(open_spec(task.spec), task.sequence, task.protocol, task.clock)


def quick_scores(tracker: Tracker, sequences: Rows[Sequence], convention: str = "otb") -> Mapping[str, Estimate]:
    """Run a tracker over sequences in this process, keep nothing, and give its scores."""
    chosen = get_convention(convention)
    terms = [chosen.terms(item, run_sequence(tracker, item, chosen.protocol)) for item in sequences]
    return estimates(terms, chosen)


def settings_of(task: Task) -> Settings:
    """Give what decides the answers of a task's tracker.

    Raises:
        SourceError: A file of the tracker does not exist.
    """
    spec = task.spec
    return Settings(
        tracker=spec.source,
        tracker_sha256=hash_files(spec.files()),
        backend=spec.backend,
        precision=spec.precision,
        device=spec.device,
        protocol=task.protocol,
        realtime="" if task.clock is None else task.clock.words(),
    )
