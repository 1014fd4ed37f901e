"""Sources that are on disk: video files and folders of images."""

import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Image
from siamedge.runtime.native_stderr import quiet_native_stderr
from siamedge.runtime.sources.length import Length, is_clearly_shorter, stated_length
from siamedge.runtime.sources.source import Frame, SourceOptions, orient, path_of, quiet_opencv

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
FALLBACK_FPS = 30.0
JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd8]")
"""Any but the stuffed bytes and those without a length: restart markers, which stand between the pixels' bits, and the
start mark of the next picture, where one is torn."""


class Pacer:
    """Waits until a frame of a recording is due."""

    def __init__(self, is_on: bool) -> None:
        self._is_on = is_on
        self._start_s = time.monotonic()

    def wait_for(self, time_s: float) -> None:
        """Sleep until time_s after the first call with 0; do nothing when off or late."""
        if not self._is_on:
            return
        if time_s <= 0:
            self._start_s = time.monotonic()
        time.sleep(max(0.0, self._start_s + time_s - time.monotonic()))


class VideoFile:
    """Frames of a video file with the file's own time stamps."""

    def __init__(self, address: str, options: SourceOptions) -> None:
        quiet_opencv()
        path = path_of(address)
        if path.suffix.lower() in IMAGE_SUFFIXES:
            raise SourceError(f"{path}: one image is no video", hint="give the folder that holds the images")
        if not path.is_file():
            raise SourceError(f"{path}: a pipe or a device is no video file", hint="write the video into a file first")
        if path.stat().st_size == 0:
            raise SourceError(f"{path}: the file is empty (0 bytes)", hint="copy or record it again")
        self._name, self._options = str(path), options
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        if not self._capture.isOpened():
            raise SourceError(
                f"{path}: not a video that OpenCV can read",
                hint=f"convert it: ffmpeg -i {path.name} -c:v libx264 converted.mp4",
            )
        self._stated, self._remedy = stated_length(self._capture, path), "copy or record it again"

    @classmethod
    def of_capture(cls, capture: cv2.VideoCapture, name: str, options: SourceOptions) -> "VideoFile":
        """The recording that an open capture reads, such as a file on a web server."""
        video = cls.__new__(cls)
        video._capture, video._name, video._options = capture, name, options
        video._stated, video._remedy = stated_length(capture, None), "download it, then give the file"
        return video

    @property
    def fps(self) -> float:
        """Frame rate in the file's header; 30 when it has none that makes sense."""
        found = float(self._capture.get(cv2.CAP_PROP_FPS))
        return found if math.isfinite(found) and 0 < found <= 1000 else FALLBACK_FPS

    def __iter__(self) -> Iterator[Frame]:
        """Frames from the current position to the end.

        Raises:
            SourceError: The file has a header, but not one readable frame; or, after the last frame, it ended clearly
                before the length that its header states.
        """
        pacer = Pacer(self._options.is_paced)
        previous_s, first_s, index = -1.0, 0.0, 0
        while True:
            is_read, image = self._capture.read()
            if not is_read:
                break
            stamp_s = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000
            first_s = stamp_s if index == 0 else first_s
            time_s = stamp_s - first_s
            if time_s <= previous_s:
                time_s = previous_s + 1 / self.fps
            pacer.wait_for(time_s)
            yield Frame(orient(np.asarray(image, np.uint8), self._options), index, time_s)
            previous_s, index = time_s, index + 1
        if index == 0:
            raise SourceError(f"{self._name}: the video has no frames", hint=self._remedy)
        if self._stated and is_clearly_shorter(Length(index, previous_s + 1 / self.fps), self._stated):
            raise SourceError(
                f"{self._name}: stopped after {index} of {self._stated.frames} frames: is it damaged or cut off?",
                hint=self._remedy,
            )

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._capture.release()


class ImageFolder:
    """Images of a folder in natural order; a tracking data set's folder with `img/` inside is accepted too."""

    def __init__(self, address: str, options: SourceOptions) -> None:
        quiet_opencv()
        self._root = path_of(address)
        self._options = options
        self.paths = images_of(self._root)
        if not self.paths:
            raise SourceError(
                f"{self._root}: no images in this folder ({' '.join(IMAGE_SUFFIXES)})",
                hint="give the folder that holds the images themselves",
            )

    @property
    def fps(self) -> float:
        """Frame rate from the options: images carry none."""
        return self._options.fps

    def __iter__(self) -> Iterator[Frame]:
        """The images in order; grey and 16-bit ones are converted, turned ones (EXIF) are set upright.

        Raises:
            SourceError: A file is no readable image.
        """
        pacer = Pacer(self._options.is_paced)
        for index, path in enumerate(self.paths):
            try:
                image, reason = read_image(path), ""
            except OSError as error:
                image, reason = None, f" ({error.strerror})"
            if image is None:
                raise SourceError(
                    f"{path}: unreadable image, number {index + 1} of {len(self.paths)}{reason}",
                    hint="copy it again, or move it out of the folder",
                )
            time_s = index / self.fps
            pacer.wait_for(time_s)
            yield Frame(orient(image, self._options), index, time_s)

    def __enter__(self) -> "ImageFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def list_images(folder: Path) -> list[Path]:
    """Image files of a folder, in natural order: 2.png before 10.png; hidden ones are left out, and folders."""
    if not folder.is_dir():
        return []
    found = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
    return sorted((p for p in found if not p.is_dir()), key=natural_key)


def clips_in(address: str) -> list[str]:
    """The videos and folders of images in a folder that holds no images itself, in natural order; else the address."""
    folder = path_of(address)
    if not folder.is_dir() or images_of(folder):
        return [address]
    found = sorted(folder.iterdir(), key=natural_key)
    return [str(p) for p in found if p.suffix.lower() in VIDEO_SUFFIXES or images_of(p)] or [address]


def images_of(folder: Path) -> list[Path]:
    """The images that a folder is read as: its own, or those of `img/` in it."""
    return list_images(folder) or list_images(folder / "img")


def natural_key(path: Path) -> tuple[list[tuple[bool, int, str]], str]:
    """Sort key under which runs of digits compare as numbers; the name itself breaks ties (01 and 1)."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts if part], path.name


def read_image(path: Path) -> Image | None:
    """Decode an image file to (H, W, 3) uint8 BGR; None if it cannot be decoded or is cut off.

    Raises:
        OSError: The file cannot be read.
    """
    content = path.read_bytes()
    if not content or (content.startswith(JPEG_START) and end_of_jpeg(content) is None):
        return None
    try:
        with quiet_native_stderr():
            image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if image is None else np.asarray(image, np.uint8)


def end_of_jpeg(content: bytes | bytearray, start: int = 0) -> int | None:
    """Where the JPEG that begins at a place ends: behind its own end mark, not a thumbnail's; None: it is cut off.

    Source: ITU-T T.81, annex B: every marker but the end mark begins a segment, whose first two bytes are its length.
    """
    place = start + len(JPEG_START)
    while found := JPEG_MARKER.search(content, place):
        if found[0] == JPEG_END:
            return found.end()
        place = found.end() + int.from_bytes(content[found.end() : found.end() + 2], "big")
    return None
