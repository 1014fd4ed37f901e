"""The seam to the trackers: init on a box, then update frame by frame."""

import math
from typing import NamedTuple, Protocol

from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Box, Image


class TrackResult(NamedTuple):
    """Where the target is in one frame.

    Attributes:
        box: In pixels of the frame, 0-based, floats.
        score: The network's confidence, 0..1 (SiamFC: its raw response, any range).
        lost: The score says that the target is not there.
    """

    box: Box
    score: float
    lost: bool


class Tracker(Protocol):
    """Follows one target through frames of one size."""

    def init(self, frame: Image, box: Box) -> None:
        """Take the target to follow from a frame.

        Raises:
            SourceError: The box is empty or has no part inside the frame.
        """

    def update(self, frame: Image) -> TrackResult:
        """Find the target in the next frame."""


def check_init(frame: Image, box: Box) -> None:
    """Refuse a start box that is empty or has no part inside the frame.

    Raises:
        SourceError: It is so, or a side is not finite.
    """
    height, width = frame.shape[:2]
    if not all(map(math.isfinite, box)):
        raise SourceError(f"the start box {as_text(box)} has a side that is no number", hint="--init x,y,w,h in pixels")
    if not (box.w > 0 and box.h > 0):
        raise SourceError(
            f"the start box is {box.w:g} x {box.h:g} pixels", hint="--init x,y,w,h: width and height above 0"
        )
    if box.x >= width or box.y >= height or box.x + box.w <= 0 or box.y + box.h <= 0:
        raise SourceError(
            f"the start box {as_text(box)} is outside the frame of {width} x {height} pixels",
            hint="--init x,y,w,h: left top corner and size, in pixels from the left top of the frame",
        )


def as_text(box: Box) -> str:
    """The box as on the command line: x,y,w,h."""
    return ",".join(f"{side:g}" for side in box)
