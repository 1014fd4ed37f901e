"""The followed objects of the page."""

import numpy as np
import pytest

from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.tracking.trackers import TrackResult
from siamedge.runtime.web.targets import MOST_TARGETS, Targets

LARGE, SMALL = np.zeros((480, 640, 3), np.uint8), np.zeros((240, 320, 3), np.uint8)


class OneSizeTracker:
    """Answers with the box it was given, for frames of the first one's size alone."""

    def init(self, frame: Image, box: Box) -> None:
        self._shape, self._box = frame.shape, box

    def update(self, frame: Image) -> TrackResult:
        assert frame.shape == self._shape
        return TrackResult(self._box, 0.8, lost=False)


def box_in(targets: Targets, frame: Image) -> Box:
    targets.update(frame)
    return targets.views()[0].box


def test_frames_of_another_size_are_followed_in_the_pixels_of_the_first() -> None:
    targets = Targets({"one": OneSizeTracker, "two": OneSizeTracker})
    targets.put(LARGE, Box(100, 80, 40, 30))
    assert box_in(targets, LARGE) == Box(100, 80, 40, 30)
    assert box_in(targets, SMALL) == Box(50, 40, 20, 15)
    targets.use_model("two", SMALL)
    assert box_in(targets, SMALL) == Box(50, 40, 20, 15)
    assert box_in(targets, LARGE) == Box(100, 80, 40, 30)


def test_there_are_eight_targets_whatever_numbers_are_asked_for() -> None:
    targets = Targets({"one": OneSizeTracker})
    assert targets.put(LARGE, Box(1, 1, 9, 9), 3) == 3
    assert [targets.put(LARGE, Box(1, 1, 9, 9)) for _ in range(MOST_TARGETS - 1)] == [1, 2, 4, 5, 6, 7, 8]
    for key in (-3, 0, 9, 20):
        with pytest.raises(SourceError, match="is no number of a target: they go from 1 to 8"):
            targets.put(LARGE, Box(1, 1, 9, 9), key)
    with pytest.raises(SourceError, match="8 targets are the most"):
        targets.put(LARGE, Box(1, 1, 9, 9))
    assert targets.put(LARGE, Box(2, 2, 9, 9), 8) == 8
    assert [view.key for view in targets.views()] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_box_that_cannot_be_gets_no_advice_for_the_command_line() -> None:
    with pytest.raises(SourceError, match="is outside the frame") as raised:
        Targets({"one": OneSizeTracker}).put(LARGE, Box(900, 0, 9, 9))
    assert raised.value.hint == "draw it around the target, in the picture"
