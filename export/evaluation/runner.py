"""Runs a tracker over a sequence; which frames it passes over, one pass or VOT's multi-start."""

import time
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Indices
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from siamedge.export.evaluation.sequences import Sequence, read_frames
from siamedge.runtime.errors import SourceError
from siamedge.runtime.tracking.trackers import Tracker

Protocol = Literal["one-pass", "multi-start"]
ANCHOR_STEP = 50
"""Frames between VOT's anchors where the data set gives none."""


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What a tracker said from one start to the end of the sequence, n frames.

    Attributes:
        start: Frame on which the tracker was initialised.
        step: 1 forward, -1 backward in time.
        boxes: (n, 4) float64 in the annotation's coordinates; the first is the box it was given.
        scores: (n,) the tracker's confidence; nan in the first frame.
        lost: (n,) the tracker said that the target is not there.
        seconds: (n,) wall time of init or update, without decoding; nan in frames that were not processed.
        size: (width, height) of the frames.
    """

    start: int
    step: int
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    lost: NDArray[np.bool_]
    seconds: NDArray[np.float64]
    size: tuple[int, int]

    @property
    def frames(self) -> NDArray[np.intp]:
        """(n,) frame of the sequence of each row."""
        return self.start + self.step * np.arange(len(self.boxes))


class Log:
    """Collects the rows of a run; unset frames stay nan."""

    def __init__(self, length: int) -> None:
        self.boxes = np.full((length, 4), np.nan)
        self.scores = np.full(length, np.nan)
        self.lost = np.zeros(length, dtype=np.bool_)
        self.seconds = np.full(length, np.nan)

    def run(self, sequence: Sequence, frames: Indices[int], size: tuple[int, int]) -> Run:
        """Give the collected rows as a run, boxes shifted to the annotation's coordinates."""
        boxes = self.boxes + np.array([sequence.origin, sequence.origin, 0, 0])
        step = 1 if len(frames) < 2 else frames[1] - frames[0]
        return Run(frames[0], step, boxes, self.scores, self.lost, self.seconds, size)


def track(tracker: Tracker, sequence: Sequence, frames: Indices[int]) -> Run:
    """Initialise on the first of the frames and update on each of the others.

    Args:
        tracker: Its state from before is lost.
        sequence: The first frame must have a valid box.
        frames: Consecutive frames, rising or falling.

    Raises:
        SourceError: A frame cannot be read, or the tracker refuses the first box.
    """
    log, size = Log(len(frames)), (0, 0)
    for row, picture in enumerate(read_frames(sequence, frames)):
        began = time.perf_counter()
        if row == 0:
            box = sequence.box(frames[0])
            tracker.init(picture, box)
            size = (picture.shape[1], picture.shape[0])
        else:
            box, log.scores[row], log.lost[row] = tracker.update(picture)
        log.seconds[row] = time.perf_counter() - began
        log.boxes[row] = box
    return log.run(sequence, frames, size)


def first_to_last(sequence: Sequence) -> list[range]:
    """Give the frames of the one pass: from the first valid box to the last annotated frame."""
    return [range(int(np.flatnonzero(sequence.valid)[0]), len(sequence))]


def multi_starts(sequence: Sequence) -> list[range]:
    """Give the frames of each start of VOT's multi-start: the forward ones first, by frame.

    The data set's anchors are used where it has some. Otherwise every 50th frame and the last one: forward in the
    first half, backward in the second, moved on to the next valid box in the direction of tracking.

    Raises:
        SourceError: An anchor has no box.

    Source: votchallenge/toolkit, multi-start experiment; Kristan et al. 2020 for the placement.
    """
    anchors = sequence.anchors or _placed_anchors(sequence)
    for frame in anchors:
        if not sequence.valid[frame]:
            raise SourceError(f"{sequence.name}: anchor at frame {frame} has no box", hint="correct its anchor.value")
    length = len(sequence)
    forward = [range(frame, length) for frame in sorted(anchors) if anchors[frame] > 0]
    return forward + [range(frame, -1, -1) for frame in sorted(anchors) if anchors[frame] < 0]


def _placed_anchors(sequence: Sequence) -> dict[int, int]:
    length, valid = len(sequence), np.flatnonzero(sequence.valid)
    placed: dict[int, int] = {}
    for frame in sorted({*range(0, length, ANCHOR_STEP), length - 1}):
        forward = frame <= (length - 1) / 2
        later = valid[valid >= frame] if forward else valid[valid <= frame][::-1]
        if len(later):
            placed.setdefault(int(later[0]), 1 if forward else -1)
    return placed


STARTS: Mapping[Protocol, Callable[[Sequence], list[range]]] = {"one-pass": first_to_last, "multi-start": multi_starts}
"""Protocol to the passes that it makes over a sequence."""
