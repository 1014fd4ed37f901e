"""Other trackers of OpenCV behind our Tracker seam, for comparison only."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2

from siamedge.runtime.errors import BackendError
from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.tracking.trackers import Tracker, TrackResult, check_init

CONTRIB = ("CSRT", "MOSSE")
"""Trackers that only opencv-contrib has."""
SUITABLE = "cv2.TrackerNano runs the two ONNX files of NanoTrack v1 and v2 only"


class OpenCVTracker:
    """Any tracker of cv2.

    Args:
        make: Gives a fresh tracker; most of OpenCV's cannot be initialised twice.
        keeps: The tracker can be initialised again.
    """

    def __init__(self, make: Callable[[], Any], *, keeps: bool = False) -> None:
        self._make, self._keeps = make, keeps
        self._tracker: Any = make() if keeps else None

    def init(self, frame: Image, box: Box) -> None:
        """Take the target to follow from a frame; the box is cut to whole pixels.

        Raises:
            SourceError: check_init refuses the box.
            BackendError: OpenCV fails on the network.
        """
        check_init(frame, box)
        if not self._keeps:
            self._tracker = self._make()
        try:
            self._tracker.init(frame, tuple(int(side) for side in box))
        except cv2.error as error:
            raise refused(error) from error

    def update(self, frame: Image) -> TrackResult:
        """Find the target in the next frame.

        Raises:
            BackendError: OpenCV fails on the network, as it does on NanoTrack v3.
        """
        try:
            is_found, box = self._tracker.update(frame)
        except cv2.error as error:
            raise refused(error) from error
        return TrackResult(Box(*map(float, box)), 1.0 if is_found else 0.0, lost=not is_found)


def opencv_nano(backbone: Path, head: Path) -> Tracker:
    """cv2.TrackerNano over its two ONNX files.

    Raises:
        BackendError: A file is not there, this OpenCV has no such tracker, or it cannot read the files.
    """
    for path in (backbone, head):
        if not path.is_file():
            raise BackendError(
                f"{path}: no such file", hint="name the two ONNX files of cv2.TrackerNano, the backbone first"
            )
    if not hasattr(cv2, "TrackerNano"):
        raise BackendError(f"OpenCV {cv2.__version__} has no TrackerNano", hint="pip install opencv-python-headless")
    params = cv2.TrackerNano.Params()
    params.backbone, params.neckhead = str(backbone), str(head)
    try:
        return OpenCVTracker(lambda: cv2.TrackerNano.create(params), keeps=True)
    except cv2.error as error:
        raise BackendError(
            f"cv2.TrackerNano cannot read {backbone.name} and {head.name}: {in_one_line(error)}", hint=SUITABLE
        ) from error


def refused(error: cv2.error) -> BackendError:
    """What OpenCV says of a network that it has read and cannot run."""
    return BackendError(f"OpenCV's tracker fails: {in_one_line(error)}", hint=SUITABLE)


def in_one_line(error: cv2.error) -> str:
    """OpenCV's text about an error, which has several lines."""
    return " ".join(str(error).split())


def contrib_trackers() -> dict[str, Tracker]:
    """Those of opencv-contrib that this OpenCV has."""
    legacy = getattr(cv2, "legacy", None)
    found: dict[str, Tracker] = {}
    for name in CONTRIB:
        make = getattr(cv2, f"Tracker{name}_create", None) or getattr(legacy, f"Tracker{name}_create", None)
        if make is not None:
            found[f"cv2 {name}"] = OpenCVTracker(make)
    return found
