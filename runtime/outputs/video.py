"""Write frames to a video file."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Image
from siamedge.runtime.places import check_file
from siamedge.runtime.sources.source import quiet_opencv

CODECS: Mapping[str, str] = {".mp4": "mp4v", ".avi": "MJPG", ".mkv": "MJPG"}
"""What opencv-python-headless can encode on its own, by suffix: MPEG-4 Part 2 and Motion JPEG; it has no H.264."""


class VideoWriter:
    """A video that appears under its name only when it is complete.

    It is written to NAME.part.SUFFIX; leaving the context by an exception removes that file, except that an
    interrupt (Ctrl-C) keeps what was recorded.
    """

    def __init__(self, path: Path, fps: float) -> None:
        if path.suffix.lower() not in CODECS:
            raise SourceError(
                f"{path}: cannot write {path.suffix or 'a file without suffix'}", hint=f"use {', '.join(CODECS)}"
            )
        check_file(path, "--output")
        self._path, self._fps = path, fps
        self._part = path.with_name(f"{path.stem}.part{path.suffix}")
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def write(self, image: Image) -> None:
        """Add a frame; the first sets the video's size, later ones of another size are fitted into it.

        Raises:
            SourceError: The file cannot be written.
        """
        if self._writer is None:
            height, width = image.shape[:2]
            self._size = (width - width % 2, height - height % 2)
            self._writer = self._open()
        self._writer.write(fit(image, self._size))

    def _open(self) -> cv2.VideoWriter:
        quiet_opencv()
        codec = cv2.VideoWriter.fourcc(*CODECS[self._path.suffix.lower()])
        writer = cv2.VideoWriter(str(self._part), cv2.CAP_FFMPEG, codec, self._fps, self._size)
        if not writer.isOpened():
            raise SourceError(f"{self._path}: cannot be written", hint="is the folder writable, is the disk full?")
        return writer

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is None:
            return
        self._writer.release()
        if kind is None or issubclass(kind, KeyboardInterrupt):
            self._part.replace(self._path)
        else:
            self._part.unlink(missing_ok=True)


def fit(image: Image, size: tuple[int, int]) -> Image:
    """Scale an image into (width, height), keeping its shape, with black bars; an odd line or column is cut off."""
    width, height = size
    found_h, found_w = image.shape[:2]
    if found_w - found_w % 2 == width and found_h - found_h % 2 == height:
        return image[:height, :width]
    scale = min(width / found_w, height / found_h)
    inner = cv2.resize(
        image, (max(1, int(found_w * scale)), max(1, int(found_h * scale))), interpolation=cv2.INTER_AREA
    )
    canvas = np.zeros((height, width, 3), np.uint8)
    top, left = (height - inner.shape[0]) // 2, (width - inner.shape[1]) // 2
    canvas[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return canvas
