"""The seam to the trackers: init on a box, then update frame by frame."""

import math
from typing import NamedTuple, Protocol

from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Box, Image

SMALLEST_SIDE_PX = 1.0
LARGEST_SHARE = 2.0
"""Of the frame's side. A target may reach beyond the frame; a crop around a much larger one takes gigabytes."""


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
            SourceError: check_init refuses the box.
        """

    def update(self, frame: Image) -> TrackResult:
        """Find the target in the next frame."""


def check_init(frame: Image, box: Box) -> None:
    """Refuse a start box that no target has.

    Raises:
        SourceError: It has no part inside the frame, a side is not finite, below SMALLEST_SIDE_PX or above
            LARGEST_SHARE of the frame's.
    """
    height, width = frame.shape[:2]
    if not all(map(math.isfinite, box)):
        raise SourceError(f"the start box {as_text(box)} has a side that is no number", hint="--init x,y,w,h in pixels")
    if min(box.w, box.h) < SMALLEST_SIDE_PX:
        raise SourceError(
            f"the start box is {box.w:g} x {box.h:g} pixels; a side has at least {SMALLEST_SIDE_PX:g}",
            hint="--init x,y,w,h: width and height in pixels, not shares of the frame",
        )
    if box.w > LARGEST_SHARE * width or box.h > LARGEST_SHARE * height:
        raise SourceError(
            f"the start box is {box.w:g} x {box.h:g} pixels, the frame {width} x {height}: "
            f"a side has at most {LARGEST_SHARE:g} times the frame's",
            hint="--init x,y,w,h: left top corner and size, in pixels of the first frame",
        )
    if box.x >= width or box.y >= height or box.x + box.w <= 0 or box.y + box.h <= 0:
        raise SourceError(
            f"the start box {as_text(box)} is outside the frame of {width} x {height} pixels",
            hint="--init x,y,w,h: left top corner and size, in pixels from the left top of the frame",
        )


def as_text(box: Box) -> str:
    """The box as on the command line: x,y,w,h."""
    return ",".join(f"{side:g}" for side in box)
