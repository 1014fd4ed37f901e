"""Reads box files: a row a frame, in any of the delimiters and shapes that data sets are published in."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from siamedge.runtime.errors import SourceError

Boxes = NDArray[np.float64]
"""(N, 4) float64, rows x, y, w, h in pixels; nan where the target is absent or unknown."""
ABSENT = (np.nan, np.nan, np.nan, np.nan)


def read_boxes(path: Path) -> Boxes:
    """Read an annotation file; commas, tabs and blanks all separate.

    Rows of four numbers are x, y, w, h; rows of eight are corners of a quadrilateral; a row of one number or with a
    nan means that the target is absent.

    Returns:
        (N, 4) float64 in the file's own coordinates.

    Raises:
        SourceError: The file cannot be read, is empty, or a row has another form.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: cannot be read: {error}", hint="check the path of the annotation") from error
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise SourceError(f"{path}: no boxes in it", hint="write one row x,y,w,h a frame")
    return np.array([_row(line, f"{path}:{number}") for number, line in enumerate(lines, start=1)], dtype=np.float64)


def _row(line: str, where: str) -> tuple[float, ...]:
    if line.strip().startswith("m"):
        raise SourceError(f"{where}: a mask, not a box", hint="use the bounding-box version of the data set")
    try:
        values = [float(word) for word in re.split(r"[,\s]+", line.strip()) if word]
    except ValueError as error:
        raise SourceError(f"{where}: {error}", hint="each row is x,y,w,h or eight corner coordinates") from error
    if len(values) in (1, 4, 8) and (len(values) == 1 or not np.isfinite(values).all()):
        return ABSENT
    if len(values) == 4:
        return tuple(values)
    if len(values) == 8:
        return rectangle_of_corners(np.array(values))
    raise SourceError(f"{where}: {len(values)} numbers, expected 4 or 8", hint="each row is x,y,w,h or eight corners")


def rectangle_of_corners(corners: NDArray[np.float64]) -> tuple[float, ...]:
    """Give the upright rectangle with a quadrilateral's centre and about its area.

    Args:
        corners: (8,) x1, y1 ... x4, y4 in order around the quadrilateral.

    Returns:
        x, y, w, h.

    Source: the VOT "rect" reading of got-10k/toolkit (mean of the corners, bounding box shrunk to the area, plus 1).
    """
    points = corners.reshape(4, 2)
    extent = np.ptp(points, axis=0)
    area = float(np.linalg.norm(points[0] - points[1]) * np.linalg.norm(points[1] - points[2]))
    bounding = float(extent.prod())
    if bounding <= 0:
        return ABSENT
    w, h = np.sqrt(area / bounding) * extent + 1
    x, y = points.mean(axis=0) - np.array([w, h]) / 2
    return float(x), float(y), float(w), float(h)


def read_flags(path: Path, length: int) -> NDArray[np.float64]:
    """Read a file with one number a frame, on any number of lines; missing ones are 0.

    Raises:
        SourceError: The file cannot be read, holds something else than numbers, or more than length of them.
    """
    try:
        words = [word for word in re.split(r"[,\s]+", path.read_text(encoding="utf-8-sig")) if word]
        values = np.array([float(word) for word in words], dtype=np.float64)
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: cannot be read: {error}", hint="one number a frame is expected") from error
    if len(values) > length:
        raise SourceError(f"{path}: {len(values)} values for {length} frames", hint="check that it is the right file")
    return np.pad(values, (0, length - len(values)))
