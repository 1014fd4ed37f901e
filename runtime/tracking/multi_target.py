"""Several targets on one stream: a tracker each, all on the same loaded network."""

from collections.abc import Sequence

from siamedge.runtime.backends.backend import Session
from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.tracking.params import TrackerParams
from siamedge.runtime.tracking.tracker_table import make_tracker
from siamedge.runtime.tracking.trackers import Tracker, TrackResult


class MultiTracker:
    """Follows several targets; a target's cost is its crop, one run of the shared search graph, and its own state.

    The graphs take one crop at a time (static shapes, batch 1), so that a target costs the same on every processor.

    Args:
        template: Session of the template graph.
        search: Session of the search graph.
        family: Tracker family, as in the bundle's manifest.
        params: From the bundle's manifest.
    """

    def __init__(self, template: Session, search: Session, family: str, params: TrackerParams) -> None:
        self._sessions, self._family, self._params = (template, search), family, params
        self._trackers: list[Tracker] = []

    def init(self, frame: Image, boxes: Sequence[Box]) -> None:
        """Take the targets to follow from a frame; those followed before are forgotten.

        Raises:
            SourceError: There is no box, or check_init refuses one.
        """
        if not boxes:
            raise SourceError("no target was given", hint="give at least one box in the first frame")
        trackers = [make_tracker(self._family, *self._sessions, self._params) for _ in boxes]
        for tracker, box in zip(trackers, boxes, strict=True):
            tracker.init(frame, box)
        self._trackers = trackers

    def update(self, frame: Image) -> list[TrackResult]:
        """Find all targets in the next frame, in the order of their boxes."""
        return [tracker.update(frame) for tracker in self._trackers]
