"""An annotated sequence, and reading its frames."""

from collections.abc import Iterator
from collections.abc import Sequence as Indices
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from siamedge.export.annotations import Boxes
from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.sources.recordings import VIDEO_SUFFIXES, read_image
from siamedge.runtime.sources.source import quiet_opencv

Origin = Literal[0, 1]
"""Coordinates of the left top pixel of the image in the annotation."""


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    """Frames and the box of one target in each.

    Attributes:
        name: Unique in its data set.
        frames: Picture files, one a frame; or one video file.
        boxes: (N, 4) as published, in coordinates of the given origin; nan where absent. N >= 1.
        origin: 0 or 1, what the annotation calls the first pixel.
        absent: (N,) True where the data set says that the target cannot be seen.
        anchors: Frame to direction (1 forward, -1 backward) of VOT's multi-start, empty where none are given.
        size: (width, height) of the frames if the data set states it.
    """

    name: str
    frames: tuple[Path, ...]
    boxes: Boxes
    origin: Origin
    absent: NDArray[np.bool_]
    anchors: dict[int, int] = field(default_factory=dict)
    size: tuple[int, int] | None = None

    def __len__(self) -> int:
        """Count the annotated frames."""
        return len(self.boxes)

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(N,) True where there is a box with an area."""
        return np.asarray((self.boxes[:, 2:] > 0).all(axis=1) & np.isfinite(self.boxes).all(axis=1))

    def box(self, frame: int) -> Box:
        """Give an annotation in 0-based coordinates."""
        x, y, w, h = (float(value) for value in self.boxes[frame])
        return Box(x - self.origin, y - self.origin, w, h)


def read_frames(sequence: Sequence, indices: Indices[int]) -> Iterator[Image]:
    """Decode frames in the order that is asked for.

    A video is decoded from its start; asked for anything but rising indices it is held in memory as a whole.

    Raises:
        SourceError: A picture or the video cannot be decoded, or the video is too short.
    """
    if not is_video(sequence):
        yield from (read_picture(sequence.frames[index]) for index in indices)
    elif all(a < b for a, b in pairwise(indices)):
        yield from _read_video(sequence.frames[0], indices)
    else:
        pictures = list(_read_video(sequence.frames[0], range(max(indices) + 1)))
        yield from (pictures[index] for index in indices)


def is_video(sequence: Sequence) -> bool:
    """Tell whether the frames are in one video file rather than in pictures."""
    return len(sequence.frames) == 1 and sequence.frames[0].suffix.lower() in VIDEO_SUFFIXES


def read_picture(path: Path) -> Image:
    """Decode a picture to (H, W, 3) uint8 BGR.

    Raises:
        SourceError: It cannot be read or decoded, or is cut off.
    """
    try:
        picture = read_image(path)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror})", hint="complete the data set") from error
    if picture is None:
        raise SourceError(
            f"{path}: no picture that OpenCV can decode, or cut off", hint="copy it again, or remove its frame and box"
        )
    return picture


def frames_told(path: Path) -> int:
    """Give how many frames a video has by its own header; 0 or less where it does not tell."""
    quiet_opencv()
    capture = cv2.VideoCapture(str(path))
    try:
        return int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        capture.release()


def _read_video(path: Path, indices: Indices[int]) -> Iterator[Image]:
    wanted = set(indices)
    capture = cv2.VideoCapture(str(path))
    try:
        for index in range(max(wanted, default=-1) + 1):
            if not capture.grab():
                raise SourceError(f"{path}: {index} frames, {max(wanted) + 1} are annotated", hint="check the box file")
            if index in wanted:
                yield np.asarray(capture.retrieve()[1], dtype=np.uint8)
    finally:
        capture.release()
