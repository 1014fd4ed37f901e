"""Trackers to compare with: one that never moves, and OpenCV's own NanoTrack."""

from pathlib import Path

import cv2
import numpy as np

from siamedge.runtime.errors import BackendError, SourceError
from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.tracking.trackers import TrackResult


class IdentityTracker:
    """Answers every frame with the first box: the score that a data set gives away for nothing."""

    def __init__(self) -> None:
        self._box = Box(0, 0, 0, 0)

    def init(self, frame: Image, box: Box) -> None:
        """Keep the box."""
        self._box = box

    def update(self, frame: Image) -> TrackResult:
        """Give the box that was kept."""
        return TrackResult(self._box, 1.0, lost=False)


class OpenCVNano:
    """cv2.TrackerNano: OpenCV's version of NanoTrack, which takes and gives whole pixels.

    Args:
        backbone: ONNX file of the backbone.
        head: ONNX file of the head.

    Raises:
        BackendError: This OpenCV has no TrackerNano, or refuses the files.
    """

    def __init__(self, backbone: Path, head: Path) -> None:
        if not hasattr(cv2, "TrackerNano_Params"):
            raise BackendError(f"OpenCV {cv2.__version__} has no TrackerNano", hint="install OpenCV 4.7 or newer")
        for path in (backbone, head):
            if not path.is_file():
                raise BackendError(f"{path}: no such file", hint="give opencv:nano:BACKBONE.onnx,HEAD.onnx")
        self._params = cv2.TrackerNano_Params()
        self._params.backbone, self._params.neckhead = str(backbone), str(head)
        self._tracker = self._created()

    def init(self, frame: Image, box: Box) -> None:
        """Start on a box, rounded to whole pixels.

        Raises:
            SourceError: OpenCV refuses the box.
        """
        self._tracker = self._created()
        try:
            self._tracker.init(frame, [int(number) for number in np.round(box)])
        except cv2.error as error:
            raise SourceError(f"cv2.TrackerNano refuses {box}: {error}", hint="check the first box") from error

    def update(self, frame: Image) -> TrackResult:
        """Find the target.

        Raises:
            BackendError: OpenCV fails on these files, as it does on NanoTrack v3.
        """
        try:
            found, box = self._tracker.update(frame)
        except cv2.error as error:
            raise BackendError(f"cv2.TrackerNano: {error}", hint="it runs NanoTrack v1 and v2 only") from error
        return TrackResult(Box(*(float(number) for number in box)), self._tracker.getTrackingScore(), lost=not found)

    def _created(self) -> cv2.TrackerNano:
        try:
            return cv2.TrackerNano.create(self._params)
        except cv2.error as error:
            raise BackendError(f"cv2.TrackerNano: {error}", hint="check the two ONNX files") from error
