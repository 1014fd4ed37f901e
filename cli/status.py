"""What a person sees while `siamedge track` runs, all of it on standard error."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from siamedge.runtime.latency import LatencyMeter

if TYPE_CHECKING:
    from siamedge.runtime.loop import Step
    from siamedge.runtime.picking import Pick
    from siamedge.runtime.sources import FrameSource


def say(text: str) -> None:
    """Write to standard error, at once."""
    sys.stderr.write(text)
    sys.stderr.flush()


class Status:
    """The one-line status on a terminal, and the last lines on standard error."""

    def __init__(self, picked: "Pick", *, is_explained: bool) -> None:
        self._choice, self._lost = picked.choice, 0
        self._latencies: list[float] = []
        self._from_capture = LatencyMeter()
        self._is_terminal = sys.stderr.isatty()
        if is_explained:
            for candidate in picked.candidates:
                say(f"{candidate.backend} {candidate.precision} on {candidate.device}: {candidate.verdict}\n")

    def add(self, step: "Step") -> None:
        """Take one frame into account."""
        self._latencies.append(step.timing.tracker_ms)
        self._from_capture.add(step.timing.latency_ms)
        self._lost += step.result.lost
        if self._is_terminal:
            x, y, w, h = step.result.box
            where = f"{x:.0f},{y:.0f},{w:.0f},{h:.0f}"
            say(f"\rframe {step.frame.index}  box {where}  score {step.result.score:.2f}  {step.state}\x1b[K")

    def finish(self, output: Path | None, frames: "FrameSource") -> None:
        """Say what ran, how fast, and where the video is."""
        choice, updates = self._choice, sorted(self._latencies[1:])
        end = "\n" if self._is_terminal else ""
        speed = f", {updates[len(updates) // 2]:.2f} ms a frame" if updates else ""
        lost = f", lost in {self._lost}" if self._lost else ""
        ran = f"{choice.backend} {choice.precision} on {choice.device}"
        say(f"{end}{len(self._latencies)} frames{lost}; {ran}{speed} (median in the tracker)\n")
        if counters := getattr(frames, "counters", None):
            p50, p95, p99 = self._from_capture.percentiles()
            say(
                f"capture to box: {p50:.1f} ms (p50), {p95:.1f} (p95), {p99:.1f} (p99); "
                f"{counters.dropped} frames dropped for newer ones, {counters.reconnects} reconnects\n"
            )
        if output:
            say(f"wrote {output}\n")
