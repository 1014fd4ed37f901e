"""What the page shows of one frame."""

import json
import threading
from typing import NamedTuple

import cv2
import numpy as np

from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.sources.source import Frame
from siamedge.runtime.tracking.presence import State

LONGEST_SIDE_PX = 960
JPEG_QUALITY = 75


class TargetView(NamedTuple):
    """One target in one frame.

    Attributes:
        key: Its number, from 1.
        box: Pixels of the frame.
        score: The network's, as in TrackResult.
        state: See presence.
        probability: That it is there, 0..1; equal to the score when nothing watches the target.
    """

    key: int
    box: Box
    score: float
    state: State
    probability: float


class Snapshot:
    """A frame with its targets; the picture for the page is encoded once, by the first client that asks.

    Attributes:
        number: Counts up; a larger one is newer.
        frame: See there.
        targets: In the order of their numbers.
        latency_ms: From capture to the last box.
    """

    def __init__(self, number: int, frame: Frame, targets: tuple[TargetView, ...], latency_ms: float) -> None:
        self.number, self.frame, self.targets, self.latency_ms = number, frame, targets, latency_ms
        self._lock = threading.Lock()
        self._jpeg = b""

    def jpeg(self) -> bytes:
        """The frame, no side longer than 960 pixels, as JPEG."""
        with self._lock:
            if not self._jpeg:
                self._jpeg = encode(shrunk(self.frame.image), JPEG_QUALITY)
            return self._jpeg


def shrunk(image: Image) -> Image:
    """The image with its longer side brought down to LONGEST_SIDE_PX."""
    height, width = image.shape[:2]
    scale = LONGEST_SIDE_PX / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def encode(image: Image, quality: int) -> bytes:
    """A JPEG file of an image."""
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())


def as_line(snapshot: Snapshot) -> str:
    """One line of JSON for the side-car of a recording."""
    targets = [
        {"id": view.key, "box": list(view.box), "score": view.score, "state": view.state} for view in snapshot.targets
    ]
    return json.dumps({"frame": snapshot.frame.index, "time_s": snapshot.frame.time_s, "targets": targets})
