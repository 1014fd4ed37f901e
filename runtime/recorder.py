"""Record frames and boxes while tracking, without holding the tracker up."""

import queue
import threading
import time
from pathlib import Path
from typing import NamedTuple

from siamedge.runtime.geometry import Image
from siamedge.runtime.video import VideoWriter

LONGEST_QUEUE = 8
"""Frames that may wait for the disk; more are left out and counted."""


class Recording(NamedTuple):
    """Where a recording is, and how much of it there is.

    Attributes:
        video: The clean picture, Motion JPEG in Matroska, which stays readable when the program is killed.
        boxes: JSON lines, one a recorded frame, in the same order.
        frames: Recorded so far.
        left_out: Frames that the disk was too slow for.
    """

    video: Path
    boxes: Path
    frames: int
    left_out: int


class Recorder:
    """A thread that writes a video and a side-car of lines.

    The video carries its final name from the second that it is closed; until then, and after a crash, it is
    NAME.part.mkv beside the side-car.
    """

    def __init__(self, folder: Path, fps: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = time.strftime("siamedge-%Y%m%d-%H%M%S")
        taken = {path.name.split(".")[0] for path in folder.iterdir()}
        name = next(n for n in (name, *(f"{name}-{k}" for k in range(2, 1000))) if n not in taken)
        self._video, self._boxes = folder / f"{name}.mkv", folder / f"{name}.jsonl"
        self._fps, self._frames, self._left_out = fps, 0, 0
        self._queue: queue.Queue[tuple[Image, str] | None] = queue.Queue(LONGEST_QUEUE)
        self._thread = threading.Thread(target=self._write_all, name="recorder", daemon=True)
        self._thread.start()

    @property
    def recording(self) -> Recording:
        """What there is so far."""
        return Recording(self._video, self._boxes, self._frames, self._left_out)

    def add(self, image: Image, line: str) -> None:
        """Record a frame and its line, unless the disk is behind."""
        try:
            self._queue.put_nowait((image, line))
        except queue.Full:
            self._left_out += 1

    def close(self) -> Recording:
        """Finish the files."""
        self._queue.put(None)
        self._thread.join(10)
        return self.recording

    def _write_all(self) -> None:
        with VideoWriter(self._video, self._fps) as video, self._boxes.open("w", encoding="utf-8") as boxes:
            while (item := self._queue.get()) is not None:
                image, line = item
                video.write(image)
                boxes.write(line + "\n")
                boxes.flush()
                self._frames += 1
