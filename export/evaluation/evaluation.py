"""Runs a tracker over data sets, keeps the runs, takes them up again."""

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Rows
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from siamedge.export.evaluation.bootstrap import Estimate, estimates
from siamedge.export.evaluation.conventions import get_convention
from siamedge.export.evaluation.realtime import Clock, track_in_time
from siamedge.export.evaluation.records import RunFolder, Settings, hash_files
from siamedge.export.evaluation.runner import STARTS, Protocol, Run, track
from siamedge.export.evaluation.sequences import Sequence
from siamedge.export.evaluation.specs import TrackerSpec, open_spec
from siamedge.export.evaluation.work import run_all
from siamedge.runtime.errors import SourceError
from siamedge.runtime.tracking.trackers import Tracker

BACKEND_DISTRIBUTIONS: Mapping[str, str] = {
    "onnxruntime": "onnxruntime",
    "tflite": "ai-edge-litert",
    "openvino": "openvino",
    "torch": "torch",
}
"""Backend to the distribution that it is installed with."""


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


def settings_of(spec: TrackerSpec, protocol: Protocol, clock: Clock | None) -> Settings:
    """Give what decides the answers of a tracker.

    Raises:
        SourceError: A file of the tracker does not exist.
    """
    return Settings(
        tracker=spec.source,
        tracker_sha256=hash_files(spec.files()),
        backend=spec.backend,
        precision=spec.precision,
        device=spec.device,
        protocol=protocol,
        realtime="" if clock is None else clock.words(),
        versions=", ".join(f"{name} {found}" for name, found in versions(spec).items()),
    )


def versions(spec: TrackerSpec) -> dict[str, str]:
    """Give the installed distributions whose version may change what a tracker answers."""
    found = {}
    for name in ("siamedge", "numpy", "opencv-python-headless", BACKEND_DISTRIBUTIONS.get(spec.backend)):
        with suppress(PackageNotFoundError):
            found.update({name: version(name)} if name else {})
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """What to evaluate and how.

    Attributes:
        spec: The tracker.
        sequences: Of all data sets together; their names must differ.
        protocol: one-pass or multi-start.
        folder: Where runs are kept; those that are already there are taken over.
        jobs: Processes on this machine.
        dask: Address of a Dask scheduler, instead of processes.
        clock: For a latency-aware run, else None.
    """

    spec: TrackerSpec
    sequences: tuple[Sequence, ...]
    protocol: Protocol
    folder: Path
    jobs: int = 1
    dask: str | None = None
    clock: Clock | None = None


def evaluate(order: Order, progress: Callable[[int, int], None] = lambda done, total: None) -> list[tuple[Run, ...]]:
    """Run a tracker over all sequences that the folder does not yet hold, and give the runs of all, in order.

    Args:
        order: What to do.
        progress: Called with the frames done and the frames to do.

    Raises:
        SourceError: The order contradicts itself, or the folder holds the runs of another tracker.
        BackendError: The tracker cannot run here.
    """
    check(order)
    folder = RunFolder(order.folder, order.protocol)
    folder.claim(settings_of(order.spec, order.protocol, order.clock))
    kept = [folder.load(item) for item in order.sequences]
    missing = [position for position, runs in enumerate(kept) if runs is None]
    tasks = [Task(order.spec, order.sequences[position], order.protocol, order.clock) for position in missing]
    total = sum(len(item) for item in order.sequences)
    done = total - sum(len(task.sequence) for task in tasks)
    progress(done, total)
    for index, runs in run_all(run_task, tasks, jobs=order.jobs, dask=order.dask):
        kept[missing[index]] = runs
        folder.save(tasks[index].sequence, runs)
        done += len(tasks[index].sequence)
        progress(done, total)
    return [runs for runs in kept if runs is not None]


def check(order: Order) -> None:
    """Refuse an order whose results would mean nothing.

    Raises:
        SourceError: Two sequences share a name, or latencies would be measured while sequences compete for the CPU.
    """
    names = [item.name for item in order.sequences]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SourceError(f"two sequences are called {twice[0]!r}", hint="evaluate the data sets one at a time")
    measured = order.clock is not None and not order.clock.trace
    if measured and (order.jobs != 1 or order.dask is not None):
        raise SourceError(
            "latencies cannot be measured while several sequences run at once",
            hint="use --jobs 1, or --latency-trace FILE with latencies measured before",
        )
