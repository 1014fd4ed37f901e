"""Write frames to a video file."""

import shutil
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from siamedge.runtime.errors import PlaceError, SourceError
from siamedge.runtime.geometry import Image
from siamedge.runtime.places import check_file, held
from siamedge.runtime.sources.source import Frame, quiet_opencv

CODECS: Mapping[str, str] = {".mp4": "mp4v", ".avi": "MJPG", ".mkv": "MJPG"}
"""What opencv-python-headless can encode on its own, by suffix: MPEG-4 Part 2 and Motion JPEG; it has no H.264."""
RESERVE_BYTES, INDEX_BYTES = 8 * 2**20, 32
"""Free space below which no frame is added, and more for each that is there: the index that makes a video readable is
written at its end, and OpenCV does not tell that a disk is full."""
SMALLEST_SIDE_PX = 2
LARGEST_NUMERATOR = 65535
"""MPEG-4 has no finer unit of time. Source: FFmpeg, libavcodec/mpeg4videoenc.c."""
LARGEST_LIVE_FPS, USUAL_FPS = 120.0, 30.0
"""What a stream claims beyond the first is its unit of time (1000, 90000), no rate; its video has the second."""
TOLERANCE_FRAMES = 1.1
"""How far a live frame may be from its place in the video before one is repeated or left out. Source: FFmpeg, -vsync
cfr."""
LONGEST_GAP_S = 2.0
"""A longer one in a live source becomes one of this length: each of its frames is encoded, and the tracker waits."""


class VideoWriter:
    """A video that appears under its name when it is finished.

    It is written to NAME.part.SUFFIX. Leaving the context finishes it, also when an exception leaves it: what was
    recorded until then is kept.

    Args:
        path: Its name; the suffix says the format.
        fps: Frames a second.

    Attributes:
        path: As given.
        kept: Frames in the finished video; 0 before, and if there is none.

    Raises:
        SourceError: The suffix is unknown.
        PlaceError: No file can be written there.
    """

    def __init__(self, path: Path, fps: float) -> None:
        if path.suffix.lower() not in CODECS:
            raise SourceError(
                f"{path}: cannot write {path.suffix or 'a file without suffix'}", hint=f"use {', '.join(CODECS)}"
            )
        check_file(path, "--output")
        self.path, self.kept = path, 0
        self._fps, self._part = fps, part_of(path)
        self._writer: cv2.VideoWriter | None = None
        self._hold = ExitStack()
        self._size, self._frames = (0, 0), 0
        self._last: Image | None = None
        self._cut_s = 0.0

    def write(self, image: Image, time_s: float | None = None) -> None:
        """Add a frame; the first sets the video's size, later ones of another size are fitted into it.

        Args:
            image: (H, W, 3) uint8, BGR.
            time_s: When it is to be seen, where frames come at no steady rate: the one before is repeated until then,
                for LONGEST_GAP_S at most, and one that comes too early is left out. None: next.

        Raises:
            PlaceError: The disk is full, or the file cannot be written, or another process writes it.
            SourceError: The frame is too small for a video.
        """
        self._check_room()
        if self._writer is None:
            self._writer = self._open(image, is_timed=time_s is not None)
        missing = 0.0 if time_s is None else self._missing_before(time_s)
        if missing < -TOLERANCE_FRAMES:
            return
        fitted = fit(image, self._size)
        before = fitted if self._last is None else self._last
        repeated = round(missing) if missing > TOLERANCE_FRAMES else 0
        for shown in (*[before] * repeated, fitted):
            self._writer.write(shown)
        self._frames += repeated + 1
        self._last = None if time_s is None else fitted

    def _missing_before(self, time_s: float) -> float:
        """Frames that are missing until a time; negative: so many are there that belong behind it."""
        gap_s = time_s - self._cut_s - self._frames / self._fps
        self._cut_s += max(0.0, gap_s - LONGEST_GAP_S)
        return min(gap_s, LONGEST_GAP_S) * self._fps

    def _check_room(self) -> None:
        needed = RESERVE_BYTES + INDEX_BYTES * self._frames
        with suppress(FileNotFoundError):  # a folder that has gone is told when the file is opened or read back
            found = shutil.disk_usage(self._part.parent)
            if found.total and found.free < needed:
                raise PlaceError(
                    f"{self.path}: the disk is full: {found.free // 1024} kB are free, "
                    f"{needed // 1024} kB are kept to finish the video",
                    hint="make room, or choose a place on another disk",
                )

    def _open(self, image: Image, *, is_timed: bool) -> cv2.VideoWriter:
        quiet_opencv()
        height, width = image.shape[:2]
        if min(width, height) < SMALLEST_SIDE_PX:
            raise SourceError(
                f"{self.path}: a frame has {width} x {height} pixels, a video at least "
                f"{SMALLEST_SIDE_PX} x {SMALLEST_SIDE_PX}"
            )
        self._size = (width - width % 2, height - height % 2)
        self._fps = encodable(USUAL_FPS if is_timed and self._fps > LARGEST_LIVE_FPS else self._fps)
        self._hold.enter_context(held(self._part, "--output"))
        codec = cv2.VideoWriter.fourcc(*CODECS[self.path.suffix.lower()])
        writer = cv2.VideoWriter(str(self._part), cv2.CAP_FFMPEG, codec, self._fps, self._size)
        if not writer.isOpened():
            with suppress(OSError):
                self._part.unlink()
            raise PlaceError(f"{self.path}: cannot be written", hint="is the folder writable, is the disk full?")
        return writer

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the video.

        Raises:
            PlaceError: It has fewer frames than were written; one without any is removed.
        """
        with self._hold:
            if self._writer is None:
                return
            self._writer.release()
            readable = frames_in(self._part, self._frames)
            if readable:
                self._part.replace(self.path)
            else:
                self._part.unlink(missing_ok=True)
            self.kept = readable
            if readable < self._frames:
                raise PlaceError(
                    f"{self.path}: {readable} of {self._frames} frames can be read back",
                    hint="is the disk full, or the size of files limited?",
                ) from error


def part_of(path: Path) -> Path:
    """The file that a video is written to until it is finished."""
    return path.with_name(f"{path.stem}.part{path.suffix}")


def time_in_video(frame: Frame) -> float | None:
    """When a frame is to be seen: one of a live source at its time; None for a recording, whose rate is steady."""
    return None if frame.captured_s is None else frame.time_s


def encodable(fps: float) -> float:
    """The nearest rate of at most three decimals that MPEG-4 has.

    OpenCV makes it a fraction over 1, 10, 100 or 1000, whose numerator MPEG-4 limits to LARGEST_NUMERATOR.
    """
    return next(round(fps, digits) for digits in (3, 2, 1, 0) if fps * 10**digits <= LARGEST_NUMERATOR)


def frames_in(path: Path, written: int) -> int:
    """How many frames of those that were written a file has.

    A file that was finished says so at once; the packets of any other are counted, none is decoded.
    """
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
    if capture.get(cv2.CAP_PROP_FRAME_COUNT) == written:
        return written
    found = 0
    while capture.grab():
        found += 1
    return min(found, written)


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
