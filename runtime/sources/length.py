"""How long a recording says that it is, so that one which ends before its time is noticed."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import cv2

MOST_FRAMES = 10_000_000
"""Four days at 30 frames a second; a header that states more was never filled in."""
LEAST_MISSING, SHARE_MISSING, MOST_MISSING = 5, 0.1, 300
"""A recording that lacks this share of its frames, at least and at most so many, may still be whole: headers are off by
a few frames, and where only the duration is stated, it is that of the sound too."""


class Length(NamedTuple):
    """What the header of a recording states, or what came of it: frames, and the seconds that they take."""

    frames: int
    duration_s: float


def stated_length(capture: cv2.VideoCapture, path: Path | None) -> Length | None:
    """The length in a recording's header; None: it states none, or an absurd one.

    For some containers OpenCV computes the number of frames from the duration and a rate, which is far off where the
    rate varies; for MP4 the number includes frames that were trimmed away. The duration is right in both.

    Args:
        capture: An open recording.
        path: Its file; None for one on a web server.
    """
    frames, fps = float(capture.get(cv2.CAP_PROP_FRAME_COUNT)), float(capture.get(cv2.CAP_PROP_FPS))
    if not (0 < frames <= MOST_FRAMES and math.isfinite(fps) and fps > 0):
        return None
    return Length(round(frames), (path and movie_duration_s(path)) or frames / fps)


def is_clearly_shorter(came: Length, stated: Length) -> bool:
    """Tell whether both frames and seconds are missing, and more of each than headers are off by."""
    allowed = min(max(LEAST_MISSING, SHARE_MISSING * stated.frames), MOST_MISSING)
    allowed_s = stated.duration_s * allowed / stated.frames
    return stated.frames - came.frames > allowed and stated.duration_s - came.duration_s > allowed_s


def movie_duration_s(path: Path) -> float | None:
    """The duration of an MP4 or QuickTime film as it is played, trimmed parts left out; None: the file is none.

    Source: ISO/IEC 14496-12, movie header box.
    """
    with path.open("rb") as file:
        for start, stop in boxes_of(file, b"moov", 0, path.stat().st_size):
            for header, _ in boxes_of(file, b"mvhd", start, stop):
                file.seek(header)
                content = file.read(32)
                is_long = content[:1] == b"\x01"
                rate = int.from_bytes(content[20:24] if is_long else content[12:16], "big")
                ticks = int.from_bytes(content[24:32] if is_long else content[16:20], "big")
                return ticks / rate if rate else None
    return None


def boxes_of(file: BinaryIO, kind: bytes, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Begin and end of the content of each box of a kind that lies between two places of a file.

    Source: ISO/IEC 14496-12, definition of the box.
    """
    while start + 8 <= stop:
        file.seek(start)
        head = file.read(16)
        length, content = int.from_bytes(head[:4], "big"), start + 8
        if length == 1:
            length, content = int.from_bytes(head[8:16], "big"), start + 16
        elif length == 0:
            length = stop - start
        if start + length < content:
            return
        if head[4:8] == kind:
            yield content, start + length
        start += length
