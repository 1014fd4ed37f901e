"""What a person sees while `siamedge track` or a long work runs, all of it on standard error."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from siamedge.runtime.errors import SiamedgeError
from siamedge.runtime.latency import LatencyMeter

if TYPE_CHECKING:
    from siamedge.runtime.bundles.picking import Pick
    from siamedge.runtime.loop import Step
    from siamedge.runtime.outputs.video import VideoWriter
    from siamedge.runtime.sources.source import FrameSource


def say(text: str) -> None:
    """Write to standard error, at once."""
    sys.stderr.write(text)
    sys.stderr.flush()


class Pulse:
    """Says now and then how far something is that takes long, where there is no terminal for a bar.

    Args:
        every_s: Seconds from one line to the next, and to the first.
        clock: Seconds.
    """

    def __init__(self, every_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s, self._clock, self._last = every_s, clock, clock()

    def add(self, text: str) -> None:
        """Say a line if it is time for one."""
        if self._clock() - self._last >= self._every_s:
            self._last = self._clock()
            say(f"{text}\n")


class Status:
    """The one-line status on a terminal, and the last lines on standard error, also after Ctrl-C or an error.

    Args:
        picked: What runs.
        frames: Where the frames come from.
        video: What is written, finished before this is left.
        is_explained: Tell why this was picked.
    """

    def __init__(
        self, picked: "Pick", frames: "FrameSource", video: "VideoWriter | None", *, is_explained: bool
    ) -> None:
        self._choice, self._lost, self._targets = picked.choice, 0, 0
        self._frames, self._video = frames, video
        self._updates, self._from_capture = LatencyMeter(), LatencyMeter()
        self._is_terminal = sys.stderr.isatty()
        if is_explained:
            for candidate in picked.candidates:
                say(f"{candidate.backend} {candidate.precision} on {candidate.device}: {candidate.verdict}\n")

    def add(self, *steps: "Step") -> None:
        """Take one frame into account: its steps, one a target, the last of which ended its tracking."""
        timing, lost = steps[-1].timing, sum(step.result.lost for step in steps)
        if self._from_capture.total:  # the first frame is the start box, nothing was searched
            self._updates.add(timing.tracker_ms)
        self._from_capture.add(timing.latency_ms)
        self._lost += lost > 0
        self._targets = len(steps)
        if self._is_terminal:
            found = place_of(steps[0]) if len(steps) == 1 else f"{len(steps)} targets, {lost} lost"
            say(f"\rframe {steps[0].frame.index}  {found}\x1b[K")

    def __enter__(self) -> "Status":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_terminal and self._from_capture.total:
            say("\n")
        if self._from_capture.total and (kind is None or issubclass(kind, KeyboardInterrupt | SiamedgeError)):
            self._sum_up()
        if self._video and self._video.kept:
            say(f"wrote {self._video.path}\n")

    def _sum_up(self) -> None:
        """Say what ran and how fast."""
        choice = self._choice
        speed = f", {self._updates.percentile(0.5):.2f} ms a frame" if self._updates.total else ""
        lost = f", {'lost' if self._targets == 1 else 'a target lost'} in {self._lost}" if self._lost else ""
        ran = f"{choice.backend} {choice.precision} on {choice.device}"
        say(f"{self._from_capture.total} frames{lost}; {ran}{speed} (median in the tracker)\n")
        if counters := getattr(self._frames, "counters", None):
            p50, p95, p99 = self._from_capture.percentiles()
            say(
                f"capture to box: {p50:.1f} ms (p50), {p95:.1f} (p95), {p99:.1f} (p99); "
                f"{counters.dropped} frames dropped for newer ones, {counters.reconnects} reconnects\n"
            )


def place_of(step: "Step") -> str:
    """Where the target is and how sure that is."""
    x, y, w, h = step.result.box
    return f"box {x:.0f},{y:.0f},{w:.0f},{h:.0f}  score {step.result.score:.2f}  {step.state}"
