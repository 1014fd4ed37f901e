"""How fast a bundle runs here, stage by stage, and what it costs to start."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

import cv2
import numpy as np

from siamedge.runtime.backends.backend import (
    ALL_PRECISIONS,
    BACKENDS,
    LendingSession,
    Session,
    get_backend,
    reason_against,
)
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.bundles.picking import Candidate, load_sessions, params_of
from siamedge.runtime.errors import BackendError
from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.speed.measuring import Contention, ContentionMeter, Spread, busy_reason, spread_of
from siamedge.runtime.tensors import Array, TensorSpec
from siamedge.runtime.tracking.tracker_table import make_tracker
from siamedge.runtime.tracking.trackers import as_text

WARM_UP = 10
"""Updates that are not counted."""


RUN_AND_TELL = """
import atexit, sys
def tell():
    try:
        sys.stderr.write(open("/proc/self/status").read())
        sys.stderr.write("Schedstat: " + open("/proc/self/schedstat").read())
    except OSError:
        pass
atexit.register(tell)
from siamedge.cli.main import main
main()
"""
"""Runs siamedge and writes what Linux tells of the process; getrusage would count the parent's memory too."""


@dataclass(frozen=True, slots=True)
class Stages:
    """Median CPU time of the parts of an update, milliseconds, all threads.

    Attributes:
        crop: Everything before the network: geometry, crop, its encoding.
        network: Inside the session.
        post: Everything after it.
    """

    crop: float
    network: float
    post: float


@dataclass(frozen=True, slots=True)
class Row:
    """One backend and precision.

    Attributes:
        backend: Name.
        precision: Of the model files.
        device: The backend's name of the device.
        threads: Of the backend.
        verdict: Of the export's verification: "pass", or why not.
        load_ms: Loading both models, wall time.
        init_ms: First init, wall time.
        update_ms: Wall time of an update.
        cpu_ms: CPU time of an update, all threads.
        stages: CPU time by part.
        last_ms: Median of the last tenth of the updates, wall time: the steady state.
        contention: What others took meanwhile.
    """

    backend: str
    precision: str
    device: str
    threads: int
    verdict: str
    load_ms: float
    init_ms: float
    update_ms: Spread
    cpu_ms: float
    stages: Stages
    last_ms: float
    contention: Contention


class TimedSession:
    """A session that notes the CPU time at which each run begins and ends, in nanoseconds."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.runs: list[tuple[int, int]] = []

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """Inputs by name."""
        return self._session.inputs

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """Outputs by name."""
        return self._session.outputs

    def run(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        """Compute all outputs."""
        start_ns = time.process_time_ns()
        outputs = self._session.run(feeds)
        self.runs.append((start_ns, time.process_time_ns()))
        return outputs

    def memory(self, name: str) -> Array:
        """The session's own memory of an input, or new memory if it lends none."""
        if isinstance(self._session, LendingSession):
            return self._session.memory(name)
        spec = self.inputs[name]
        return np.empty(spec.shape, spec.dtype)

    def close(self) -> None:
        """Free what the session holds."""
        self._session.close()


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run.

    Attributes:
        frames: A clip that is followed, again and again.
        start: The target in its first frame.
        updates: At least so many are counted.
        minutes: And at least so long.
    """

    frames: Sequence[Image]
    start: Box
    updates: int = 200
    minutes: float = 0.0


def usable(bundle: Bundle, device: str = "CPU") -> list[Candidate]:
    """Every backend and precision that can run on a device here, whatever its accuracy, which is the verdict."""
    found = []
    for name in BACKENDS:
        backend = get_backend(name)
        have = {a.precision for a in bundle.manifest.artifacts if a.format == backend.format}
        verdicts = {v.precision: v.verdict for v in bundle.manifest.verification if v.format == backend.format}
        found += [
            Candidate(name, p, device, verdicts.get(p, "not verified"))
            for p in ALL_PRECISIONS
            if p in have and reason_against(backend, p, device) is None
        ]
    return found


def bench(bundle: Bundle, choice: Candidate, plan: Plan) -> Row:
    """Measure one backend and precision, as fast as it goes.

    Raises:
        BackendError: The library refuses a model.
    """
    begin_s = time.perf_counter()
    template, search = load_sessions(bundle, choice)
    load_ms = 1000 * (time.perf_counter() - begin_s)
    timed, entry = TimedSession(search), bundle.manifest.tracker
    tracker = make_tracker(entry.family, template, timed, params_of(bundle, choice))
    begin_s = time.perf_counter()
    tracker.init(plan.frames[0], plan.start)
    init_ms = 1000 * (time.perf_counter() - begin_s)
    for index in range(WARM_UP):
        tracker.update(plan.frames[index % len(plan.frames)])
    wall_ms: list[float] = []
    parts: list[Stages] = []
    with ContentionMeter(choice.device) as meter:
        until_s = time.perf_counter() + 60 * plan.minutes
        while len(wall_ms) < plan.updates or time.perf_counter() < until_s:
            frame = plan.frames[len(wall_ms) % len(plan.frames)]
            timed.runs.clear()
            wall_ns, cpu_ns = time.perf_counter_ns(), time.process_time_ns()
            tracker.update(frame)
            end_ns = time.process_time_ns()
            wall_ms.append((time.perf_counter_ns() - wall_ns) / 1e6)
            parts.append(stages_of(cpu_ns, timed.runs, end_ns))
    template.close()
    timed.close()
    return Row(
        choice.backend,
        choice.precision,
        choice.device,
        choice.threads,
        choice.verdict,
        load_ms,
        init_ms,
        spread_of(wall_ms),
        median(part.crop + part.network + part.post for part in parts),
        Stages(median(p.crop for p in parts), median(p.network for p in parts), median(p.post for p in parts)),
        median(wall_ms[-max(1, len(wall_ms) // 10) :]),
        meter.result,
    )


def stages_of(start_ns: int, runs: Sequence[tuple[int, int]], end_ns: int) -> Stages:
    """Split an update's time at the runs of its network: what lies before and between them counts as crop."""
    network_ns = sum(end - begin for begin, end in runs)
    post_ns = end_ns - runs[-1][1]
    return Stages((end_ns - start_ns - network_ns - post_ns) / 1e6, network_ns / 1e6, post_ns / 1e6)


class Start(NamedTuple):
    """One start of `siamedge track`.

    Attributes:
        seconds: To the first box, wall time.
        rss_mib: Largest memory of the process; None where the system does not tell.
        waiting_share: Share of its time in which the process's first thread was ready and had no processor, 0..1; 0
            where the system does not tell.
    """

    seconds: float
    rss_mib: float | None
    waiting_share: float

    @property
    def reason(self) -> str | None:
        """Why its time is not valid; None if it is."""
        return busy_reason(self.waiting_share)


def cold_start(bundle: Path, choice: Candidate, plan: Plan, repeats: int = 3) -> Start:
    """Start `siamedge track` in a new process on two frames, and take the medians.

    Raises:
        BackendError: It fails; the message is its own.
    """
    with tempfile.TemporaryDirectory() as folder:
        for index, frame in enumerate(plan.frames[:2]):
            cv2.imwrite(f"{folder}/{index:08d}.png", frame)
        command = [sys.executable, "-c", RUN_AND_TELL]
        command += ["track", str(bundle), "--source", folder, "--json"]
        command += ["--init", as_text(plan.start), "--backend", choice.backend, "--precision", choice.precision]
        command += ["--device", choice.device]
        starts = [start_once(command) for _ in range(repeats)]
    told = [start.rss_mib for start in starts if start.rss_mib is not None]
    waiting = median(start.waiting_share for start in starts)
    return Start(median(start.seconds for start in starts), median(told) if told else None, waiting)


def start_once(command: Sequence[str]) -> Start:
    """Run a command that prints a line as soon as it has a result.

    Raises:
        BackendError: It fails.
    """
    begin_s = time.perf_counter()
    with tempfile.TemporaryFile("w+") as messages:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=messages, text=True) as process:
            line = process.stdout.readline() if process.stdout is not None else ""
            seconds = time.perf_counter() - begin_s
            process.communicate()
        whole_s = time.perf_counter() - begin_s
        messages.seek(0)
        told = messages.read()
    if process.returncode != 0 or not line:
        raise BackendError(f"siamedge track ended with {process.returncode}: {told[-300:].strip()}")
    return Start(seconds, peak_mib(told), told_delay_s(told) / whole_s)


def peak_mib(status: str) -> float | None:
    """Largest resident memory in a text of /proc/PID/status; None where the system does not tell."""
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(found[-1]) / 1024 if found else None


def told_delay_s(text: str) -> float:
    """How long a thread was ready and had no processor, in a text of RUN_AND_TELL; 0 where the system does not tell."""
    found = [line.split()[2] for line in text.splitlines() if line.startswith("Schedstat:")]
    return int(found[-1]) / 1e9 if found else 0.0
