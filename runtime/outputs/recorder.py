"""Record frames and boxes while tracking, without holding the tracker up."""

import queue
import threading
import time
from contextlib import suppress
from io import FileIO
from itertools import count
from pathlib import Path
from typing import NamedTuple

import cv2

from siamedge.runtime.errors import PlaceError, SiamedgeError, SourceError
from siamedge.runtime.geometry import Image
from siamedge.runtime.outputs.video import VideoWriter

LONGEST_QUEUE = 8
"""Frames that may wait for the disk; more are left out and counted."""


class Recording(NamedTuple):
    """Where a recording is, and how much of it there is.

    Attributes:
        video: The clean picture, Motion JPEG in Matroska, which stays readable when the program is killed.
        boxes: JSON lines, one a recorded frame, in the same order.
        frames: Recorded so far.
        left_out: Frames that the disk was too slow for.
        problem: Why it ended before it was closed; "" if it did not.
    """

    video: Path
    boxes: Path
    frames: int
    left_out: int
    problem: str


class Recorder:
    """A thread that writes a video and a side-car of lines.

    Raises:
        SourceError: The folder cannot be written.

    The video carries its final name from the second that it is closed; until then, and after a crash, it is
    NAME.part.mkv beside the side-car. Where a frame or its line cannot be written, as on a full disk, the recording
    ends with the one before, and what there is of it is kept.
    """

    def __init__(self, folder: Path, fps: float) -> None:
        self._boxes, self._lines = open_new(folder, time.strftime("siamedge-%Y%m%d-%H%M%S"))
        self._video, self._problem = self._boxes.with_suffix(".mkv"), ""
        self._fps, self._frames, self._left_out = fps, 0, 0
        self._queue: queue.Queue[tuple[Image, str] | None] = queue.Queue(LONGEST_QUEUE)
        self._thread = threading.Thread(target=self._write_all, name="recorder", daemon=True)
        self._thread.start()

    @property
    def recording(self) -> Recording:
        """What there is so far."""
        return Recording(self._video, self._boxes, self._frames, self._left_out, self._problem)

    def add(self, image: Image, line: str) -> None:
        """Record a frame and its line, unless the disk is behind."""
        try:
            self._queue.put_nowait((image, line))
        except queue.Full:
            self._left_out += 1

    def close(self) -> Recording:
        """Finish the files."""
        with suppress(queue.Full):
            self._queue.put(None, timeout=10 if self._thread.is_alive() else 0.01)
        self._thread.join(10)
        return self.recording

    def _write_all(self) -> None:
        try:
            with self._lines, VideoWriter(self._video, self._fps) as video:
                self._problem = self._write_queue(video)
        except (SiamedgeError, OSError) as error:
            self._problem = "; ".join(filter(None, (self._problem, str(error))))

    def _write_queue(self, video: VideoWriter) -> str:
        """Write frames and their lines until the recording is closed; give what ended it before that, or ""."""
        while (item := self._queue.get()) is not None:
            end = self._lines.tell()
            try:
                self._write_line(item[1])
                video.write(item[0])
            except (SiamedgeError, OSError, cv2.error) as error:
                self._lines.truncate(end)
                return str(error)
            self._frames += 1
        return ""

    def _write_line(self, line: str) -> None:
        left = f"{line}\n".encode()
        try:
            while left:
                left = left[self._lines.write(left) :]
        except OSError as error:
            raise PlaceError(f"{self._boxes}: cannot be written: {error.strerror}") from error


def open_new(folder: Path, name: str) -> tuple[Path, FileIO]:
    """Make the side-car NAME.jsonl, or NAME-2.jsonl and so on if that is there, and open it, unbuffered.

    Raises:
        SourceError: The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = (f"{name}.jsonl" if number == 1 else f"{name}-{number}.jsonl" for number in count(1))
        path = next(folder / free for free in names if not (folder / free).exists())
        return path, path.open("xb", buffering=0)
    except OSError as error:
        raise SourceError(f"{folder}: cannot record here: {error.strerror}", hint="is the folder writable?") from error
