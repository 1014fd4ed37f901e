"""The seam to the trackers: init on a box, then update frame by frame."""

from typing import NamedTuple, Protocol

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
