"""Sources that are live: cameras of this machine and network streams."""

import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np

from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Image
from siamedge.runtime.sources.feed import Feed, Packet
from siamedge.runtime.sources.live import LiveSource
from siamedge.runtime.sources.mjpeg import connect_mjpeg, decode_jpeg
from siamedge.runtime.sources.recordings import FALLBACK_FPS, VideoFile
from siamedge.runtime.sources.source import FrameSource, SourceOptions, quiet_opencv, without_password
from siamedge.runtime.tensors import Array

Decoder = Callable[[Array], Image | None]
RAW_DECODERS: Mapping[str, Decoder] = {
    "MJPG": lambda raw: decode_jpeg(raw.tobytes()),
    "JPEG": lambda raw: decode_jpeg(raw.tobytes()),
    "YUYV": lambda raw: as_bgr(raw, cv2.COLOR_YUV2BGR_YUY2),
    "UYVY": lambda raw: as_bgr(raw, cv2.COLOR_YUV2BGR_UYVY),
    "GREY": lambda raw: to_bgr(raw),  # noqa: PLW0108 - to_bgr is defined below
    "Y16 ": lambda raw: to_bgr(raw),  # noqa: PLW0108
}
"""V4L2 formats that are taken as the driver gives them and decoded only when tracked; OpenCV converts the others."""


class CaptureFeed:
    """An open cv2.VideoCapture whose frames arrive decoded (network streams) or raw (V4L2)."""

    def __init__(self, capture: cv2.VideoCapture, name: str, decoder: Decoder | None = None) -> None:
        self.capture, self._name = capture, name
        self._decode = decoder or to_bgr

    @property
    def fps(self) -> float:
        """What the device claims; 30 when that makes no sense."""
        found = float(self.capture.get(cv2.CAP_PROP_FPS))
        return found if math.isfinite(found) and 0 < found <= 1000 else FALLBACK_FPS

    def read(self) -> Packet:
        """Wait for the next frame.

        Raises:
            SourceError: The stream ended or its read time-out passed; OpenCV does not tell which.
        """
        if not self.capture.grab():
            raise SourceError(f"{self._name}: no more frames")
        captured_s = time.monotonic()
        is_there, raw = self.capture.retrieve()
        if not is_there:
            raise SourceError(f"{self._name}: a frame cannot be read")
        picture = np.asarray(raw)
        rows = picture[:: max(1, picture.shape[0] // 16)]
        return Packet(captured_s, rows.tobytes(), picture.tobytes, lambda: self._decode(picture))

    def interrupt(self) -> None:
        """Nothing: OpenCV's read cannot be interrupted, it ends with its time-out."""

    def close(self) -> None:
        """Release the device."""
        self.capture.release()


def open_camera(address: str, options: SourceOptions) -> LiveSource:
    """Open a camera by number (0 is /dev/video0) or by path, such as /dev/v4l/by-id/usb-....

    Raises:
        SourceError: There is no such device, this user may not open it, or it is no camera.
    """
    device = Path(f"/dev/video{int(address)}" if address.isdecimal() else address)
    return LiveSource(f"camera {device}", lambda: connect_camera(device, options), options)


def connect_camera(device: Path, options: SourceOptions) -> CaptureFeed:
    """Open the device once; the errors are those of open_camera."""
    quiet_opencv()
    name = f"camera {device}"
    if not device.exists():
        raise SourceError(f"{name}: no such device", hint="is it plugged in? `ls /dev/video*` lists what is there")
    if not os.access(device, os.R_OK | os.W_OK):
        raise SourceError(f"{name}: permission denied", hint="sudo usermod -aG video $USER, then log in again")
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(max(1, math.ceil(options.read_timeout_s))))
    capture = cv2.VideoCapture(str(device.resolve()), cv2.CAP_V4L2)
    if not capture.isOpened():
        raise SourceError(f"{name}: cannot be opened as a camera", hint="`ls /dev/video*` lists what is there")
    for setting, value in settings_of(options).items():
        capture.set(setting, value)
    decoder = RAW_DECODERS.get(fourcc_name(int(capture.get(cv2.CAP_PROP_FOURCC))))
    if decoder:
        capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)
    return CaptureFeed(capture, name, decoder)


def settings_of(options: SourceOptions) -> dict[int, float]:
    """What to ask a V4L2 camera for, in the order in which drivers want it: format, size, rate."""
    wanted: dict[int, float] = {}
    if options.pixel_format:
        wanted[cv2.CAP_PROP_FOURCC] = cv2.VideoWriter.fourcc(*options.pixel_format)
    if options.size:
        wanted[cv2.CAP_PROP_FRAME_WIDTH], wanted[cv2.CAP_PROP_FRAME_HEIGHT] = options.size
    wanted[cv2.CAP_PROP_FPS] = options.fps
    wanted[cv2.CAP_PROP_BUFFERSIZE] = 2
    return wanted


def fourcc_name(code: int) -> str:
    """The four letters of a pixel format code."""
    return code.to_bytes(4, "little", signed=code < 0).decode("latin-1")


def open_stream(address: str, options: SourceOptions) -> FrameSource:
    """Open a network stream: MJPEG or MPEG-TS over HTTP, RTSP, UDP, TCP, or a recording on a web server.

    Raises:
        SourceError: Nothing answered in time, or the answer is no video.
    """
    name = without_password(address)
    first: list[Feed] = [connect_stream(address, options)]
    if isinstance(first[0], CaptureFeed) and (recording := as_recording(first[0], name, options)):
        return recording
    return LiveSource(name, lambda: first.pop() if first else connect_stream(address, options), options)


def connect_stream(address: str, options: SourceOptions) -> Feed:
    """Connect to a stream once; the errors are those of open_stream."""
    if address.startswith("http") and (mjpeg := connect_mjpeg(address, options)):
        return mjpeg
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
    return CaptureFeed(capture, name)


def as_recording(feed: CaptureFeed, name: str, options: SourceOptions) -> VideoFile | None:
    """The recording behind a stream whose length is known; None: it is live."""
    return VideoFile.of_capture(feed.capture, name, options) if feed.capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0 else None


def as_bgr(raw: Array, code: int) -> Image:
    """Convert a packed YUV picture, (H, W, 2) uint8."""
    return np.asarray(cv2.cvtColor(raw, code), np.uint8)


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
