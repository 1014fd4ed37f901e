"""What is in a target's box, as the network sees it: like the first template, like a frame ago, or another thing."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import cv2
import numpy as np

from siamedge.runtime.geometry import Box, FloatArray, Image
from siamedge.runtime.tracking.evidence import PresenceFit
from siamedge.runtime.tracking.trackers import Tracker

BREAK_FRAMES = 15
"""So long after a break weak evidence means that the target went with it."""
CUT_BELOW = 0.4
"""Likeness of two frames under which the whole picture changed."""
CUT_LOOK_SHARE = 0.8
"""A cut changes what is in the box, too: its cosine is under so much of what a break needs."""
SCREEN_SIDE = 16
SAMPLES_A_SIDE = 90


class Sighting(NamedTuple):
    """The best place of one search crop.

    Attributes:
        box: In pixels of the frame.
        score: Raw score there, 0..1, before any window or penalty.
    """

    box: Box
    score: float


class Searcher(Tracker, Protocol):
    """A tracker that can also look elsewhere without moving."""

    def look(self, frame: Image, around: Box) -> Sighting:
        """Find the best match in the search crop around a box; the tracker's own place stays."""

    def crop(self, frame: Image, box: Box) -> Image:
        """The template crop of a box, (Z, Z, 3) uint8, BGR, in memory of its own."""

    def signature(self, crop: Image) -> FloatArray:
        """How the network sees a template crop: a vector of length 1; cosines compare them."""

    def place(self, box: Box) -> None:
        """Go on from this box."""

    def blend(self, frame: Image, box: Box, share: float) -> None:
        """Search for the first template with so much of a newer look of the target, 0..1, mixed in."""


class Glimpse(NamedTuple):
    """What is kept of a frame, whose memory belongs to the caller.

    Attributes:
        box: Of the target.
        crop: Template crop of it.
        pixels: Those of the frame that `screen` reads.
    """

    box: Box
    crop: Image
    pixels: Image


@dataclass(slots=True)
class Break:
    """What is in the box became another thing from one frame to the next.

    Attributes:
        box: The one before.
        before: Evidence just before.
        is_cut: The whole picture changed.
        since: Evidence of each frame since, none of them sure.
    """

    box: Box
    before: float
    is_cut: bool
    since: list[float] = field(default_factory=list)


class Look:
    """Compares what is in the box with the first template and with a frame ago.

    Args:
        tracker: Gives signatures.
        fit: Says how alike looks of one target are.

    Attributes:
        broken: The break of the last BREAK_FRAMES, if no frame was sure since.
    """

    def __init__(self, tracker: Searcher, fit: PresenceFit) -> None:
        self._tracker, self._fit = tracker, fit
        self.broken: Break | None = None
        self._first = self._last = self._gone = np.ones(1, np.float32)
        self._usual, self._previous = 0.1, Glimpse(Box(0, 0, 1, 1), *[np.zeros((1, 1, 3), np.uint8)] * 2)
        self._is_stale = False

    def init(self, frame: Image, box: Box) -> None:
        """Take the first template."""
        self._previous = self._glimpse(frame, box)
        self._first = self._last = self._gone = self._tracker.signature(self._previous.crop)
        self._usual, self.broken, self._is_stale = 0.1, None, False

    def start(self, frame: Image, box: Box) -> None:
        """Take one of the first frames, which say how alike the target's looks are to the first template."""
        self._usual = max(self._usual, float(self._seen(frame, box) @ self._first))

    def resume(self, frame: Image, box: Box) -> None:
        """Go on from a sure box: the network looks at it only when doubt follows."""
        self.broken, self._is_stale, self._previous = None, True, self._glimpse(frame, box)

    def follow(self, frame: Image, box: Box, found: float, before: float, *, is_sure: bool) -> None:
        """Compare with one frame ago.

        Args:
            frame: The newest.
            box: The target's in it.
            found: Evidence of it.
            before: Evidence of the frames before it.
            is_sure: It cannot be another thing.
        """
        if is_sure:
            self.resume(frame, box)
            return
        if self._is_stale:
            self._last = self._tracker.signature(self._previous.crop)
        glimpse = self._glimpse(frame, box)
        newest = self._tracker.signature(glimpse.crop)
        if self.broken is not None:
            self.broken.since.append(found)
            if len(self.broken.since) > BREAK_FRAMES:
                self.broken = None
        sameness = float(newest @ self._last)
        if self.broken is None and sameness < self._fit.same_above:
            is_cut = sameness < CUT_LOOK_SHARE * self._fit.same_above and is_cut_between(
                self._previous.pixels, glimpse.pixels
            )
            self._gone = self._last
            self.broken = Break(self._previous.box, before, is_cut, [found])
        self._last, self._is_stale, self._previous = newest, False, glimpse

    def is_first(self, frame: Image, box: Box) -> bool:
        """Whether a box looks like the first template."""
        return float(self._seen(frame, box) @ self._first) >= self._fit.alike_above * self._usual

    def compare(self, frame: Image, box: Box) -> Literal["same", "alike", "other"]:
        """How a box looks: as the target did just before it went, at least like the first template, or otherwise."""
        seen = self._seen(frame, box)
        if float(seen @ self._gone) >= self._fit.same_above:
            return "same"
        return "alike" if float(seen @ self._first) >= self._fit.alike_above * self._usual else "other"

    def _seen(self, frame: Image, box: Box) -> FloatArray:
        return self._tracker.signature(self._tracker.crop(frame, box))

    def _glimpse(self, frame: Image, box: Box) -> Glimpse:
        return Glimpse(box, self._tracker.crop(frame, box), sampled(frame))


def is_cut_between(before: Image, after: Image) -> bool:
    """Whether the whole picture changed, another scene or black; of both what `sampled` gives."""
    return likeness(screen(before), screen(after)) < CUT_BELOW


def sampled(frame: Image) -> Image:
    """A copy of every so many rows and columns of a frame, SAMPLES_A_SIDE or up to twice as many each."""
    height, width = frame.shape[:2]
    return frame[:: max(1, height // SAMPLES_A_SIDE), :: max(1, width // SAMPLES_A_SIDE)].copy()


def screen(pixels: Image) -> FloatArray:
    """Sampled pixels of a frame in SCREEN_SIDE squared cells, less their mean."""
    small = cv2.resize(pixels, (SCREEN_SIDE, SCREEN_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray(small - small.mean(), np.float32)


def likeness(first: FloatArray, second: FloatArray) -> float:
    """Correlation of two screens, -1..1; two flat ones are alike, a flat one is like no other."""
    lengths = float(np.linalg.norm(first)), float(np.linalg.norm(second))
    if min(lengths) < 1.0:
        return float(max(lengths) < 1.0)
    return float(np.vdot(first, second)) / (lengths[0] * lengths[1])
