"""Sources that are live: cameras of this machine and network streams, read by OpenCV with time-outs."""

import math
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Image
from siamedge.runtime.sources import Frame, SourceOptions, quiet_opencv
from siamedge.runtime.tensors import Array

FALLBACK_FPS = 30.0


class LiveCapture:
    """Every frame that an open cv2.VideoCapture delivers, stamped when it was grabbed."""

    def __init__(self, capture: cv2.VideoCapture, name: str) -> None:
        self._capture = capture
        self._name = name

    @property
    def fps(self) -> float:
        """What the device claims; 30 when that makes no sense."""
        found = float(self._capture.get(cv2.CAP_PROP_FPS))
        return found if math.isfinite(found) and 0 < found <= 1000 else FALLBACK_FPS

    def __iter__(self) -> Iterator[Frame]:
        """Frames until the stream ends or its read time-out passes.

        Raises:
            SourceError: Not one frame came.
        """
        index, first_s = 0, 0.0
        while self._capture.grab():
            now_s = time.monotonic()
            is_decoded, image = self._capture.retrieve()
            if not is_decoded:
                break
            first_s = now_s if index == 0 else first_s
            yield Frame(to_bgr(image), index, now_s - first_s, now_s)
            index += 1
        if index == 0:
            raise SourceError(f"{self._name}: opened, but no frame came", hint="does another program use the camera?")

    def __enter__(self) -> "LiveCapture":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._capture.release()


def open_camera(address: str, options: SourceOptions) -> LiveCapture:
    """Open a camera by number (0 is /dev/video0) or by path, such as /dev/v4l/by-id/usb-....

    Raises:
        SourceError: There is no such device, this user may not open it, or it is no camera.
    """
    quiet_opencv()
    device = Path(f"/dev/video{int(address)}" if address.isdecimal() else address)
    name = f"camera {device}"
    if not device.exists():
        raise SourceError(f"{name}: no such device", hint="is it plugged in? `siamedge cameras` lists what is there")
    if not os.access(device, os.R_OK | os.W_OK):
        raise SourceError(f"{name}: permission denied", hint="sudo usermod -aG video $USER, then log in again")
    capture = cv2.VideoCapture(str(device.resolve()), cv2.CAP_V4L2)
    if not capture.isOpened():
        raise SourceError(f"{name}: cannot be opened as a camera", hint="`siamedge cameras` lists what is there")
    if options.size:
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, options.size[0])
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, options.size[1])
    capture.set(cv2.CAP_PROP_FPS, options.fps)
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return LiveCapture(capture, name)


def open_stream(address: str, options: SourceOptions) -> LiveCapture:
    """Open a network stream: MJPEG or MPEG-TS over HTTP, RTSP, UDP, TCP.

    Raises:
        SourceError: Nothing answered in time, or the answer is no video.
    """
    quiet_opencv()
    settings = {
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: round(options.open_timeout_s * 1000),
        cv2.CAP_PROP_READ_TIMEOUT_MSEC: round(options.read_timeout_s * 1000),
        cv2.CAP_PROP_N_THREADS: 1,
    }
    capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, [value for pair in settings.items() for value in pair])
    name = without_password(address)
    if not capture.isOpened():
        raise SourceError(
            f"{name}: no video within {options.open_timeout_s:g} s", hint="does the address play in VLC or ffplay?"
        )
    return LiveCapture(capture, name)


def without_password(address: str) -> str:
    """The address as it may be shown: user and password replaced by ***."""
    return re.sub(r"//[^/@]*@", "//***@", address)


def to_bgr(image: Array) -> Image:
    """Convert what a camera delivers to (H, W, 3) uint8 BGR.

    Args:
        image: uint8, or uint16 of which the upper 8 bits are kept; (H, W) or (H, W, 1) grey, (H, W, 3) BGR or
            (H, W, 4) BGRA.
    """
    narrow = np.asarray(image >> 8 if image.dtype == np.uint16 else image, np.uint8)
    if narrow.ndim == 2 or narrow.shape[2] == 1:
        return np.asarray(cv2.cvtColor(narrow, cv2.COLOR_GRAY2BGR), np.uint8)
    return np.ascontiguousarray(narrow[:, :, :3])
