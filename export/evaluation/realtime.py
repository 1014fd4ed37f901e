"""Tracking against a clock: a result that comes late does not count, the last box is repeated."""

import json
import math
import re
import time
from collections.abc import Mapping
from collections.abc import Sequence as Indices
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from siamedge.export.evaluation.runner import Log, Run
from siamedge.export.evaluation.sequences import Sequence, read_frames
from siamedge.runtime.errors import SourceError
from siamedge.runtime.tracking.trackers import Tracker, TrackResult

Rule = Literal["stream", "vot-toolkit"]
RULES: tuple[Rule, ...] = ("stream", "vot-toolkit")
VOT_GRACE = 3
SLACK = 1e-9
"""Of a frame interval: so that 1 / 30 s at 30 fps is one interval and not a rounding error more."""


@dataclass(frozen=True, slots=True)
class Clock:
    """How fast frames come and how long a result takes.

    Attributes:
        fps: Frames a second, > 0.
        trace: Seconds of each update, repeated from its start when it is used up; empty: measured as it runs.
        rule: "stream": a free tracker takes the newest frame, a result counts from the frame in whose interval it is
            ready. "vot-toolkit": the rule of votchallenge/toolkit, which counts a late result at its own frame,
            forgives three late ones, and skips a frame only for each whole further interval.
    """

    fps: float
    trace: tuple[float, ...] = ()
    rule: Rule = "stream"

    def words(self) -> str:
        """Give the clock as a line that two equal clocks share."""
        return json.dumps([self.fps, self.rule, self.trace])

    def seconds(self, update: int, measured: float) -> float:
        """Give how long an update takes: from the trace, or as measured."""
        return self.trace[update % len(self.trace)] if self.trace else measured


def read_trace(path: Path) -> tuple[float, ...]:
    """Read latencies in milliseconds, one a line or separated by blanks or commas; lines that start with # are skipped.

    Returns:
        Seconds.

    Raises:
        SourceError: The file cannot be read, or holds anything but positive numbers.
    """
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
        values = [float(word) for word in re.split(r"[,\s]+", "\n".join(lines)) if word]
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: cannot be read: {error}", hint="one latency in milliseconds a line") from error
    if not values or not all(0 < value < float("inf") for value in values):
        raise SourceError(f"{path}: {len(values)} latencies, all must be > 0 ms", hint="one in milliseconds a line")
    return tuple(value / 1000 for value in values)


class StreamRule:
    """A free tracker takes the newest frame; a result counts from the frame in whose interval it is ready."""

    def __init__(self) -> None:
        self._free_at = 1.0

    def finish(self, row: int, latency: float) -> tuple[int, int]:
        """Account for an update.

        Args:
            row: The frame that was processed; frame k comes at time k.
            latency: In frame intervals.

        Returns:
            The first frame for which this result is shown, and the next frame to process.
        """
        self._free_at = max(self._free_at, row) + latency
        return max(row, math.ceil(self._free_at - SLACK) - 1), max(row + 1, math.floor(self._free_at + SLACK))


class ToolkitRule:
    """Late results count at their own frame; three are forgiven; each whole further interval skips a frame.

    Source: votchallenge/toolkit, RealtimeTrackerRuntime with VOT's grace of 3.
    """

    def __init__(self) -> None:
        self._grace = VOT_GRACE

    def finish(self, row: int, latency: float) -> tuple[int, int]:
        """Account for an update, as StreamRule does."""
        if latency <= 1:
            return row, row + 1
        if self._grace > 0:
            self._grace -= 1
            return row, row + 1
        return row, row + 1 + max(0, math.ceil(latency - 1 - SLACK) - 1)


RULE_CLASSES: Mapping[Rule, type[StreamRule] | type[ToolkitRule]] = {"stream": StreamRule, "vot-toolkit": ToolkitRule}


def track_in_time(tracker: Tracker, sequence: Sequence, frames: Indices[int], clock: Clock) -> Run:
    """Track against a clock; initialising costs nothing.

    Returns:
        A run in which frames that were not processed have no latency (nan) and repeat the last box that was ready.

    Raises:
        SourceError: A frame cannot be read, or the tracker refuses the first box.
    """
    log, size, rule = Log(len(frames)), (0, 0), RULE_CLASSES[clock.rule]()
    shown: dict[int, TrackResult] = {0: TrackResult(sequence.box(frames[0]), math.nan, lost=False)}
    wanted, updates = 1, 0
    for row, picture in enumerate(read_frames(sequence, frames)):
        began = time.perf_counter()
        if row == 0:
            tracker.init(picture, shown[0].box)
            size = (picture.shape[1], picture.shape[0])
            log.seconds[0] = time.perf_counter() - began
        elif row == wanted:
            result = tracker.update(picture)
            log.seconds[row] = clock.seconds(updates, time.perf_counter() - began)
            updates += 1
            first_shown, wanted = rule.finish(row, log.seconds[row] * clock.fps)
            shown[first_shown] = result
    _hold(log, shown)
    return log.run(sequence, frames, size)


def _hold(log: Log, shown: Mapping[int, TrackResult]) -> None:
    last = shown[0]
    for row in range(len(log.boxes)):
        last = shown.get(row, last)
        log.boxes[row], log.scores[row], log.lost[row] = last
