"""Boxes and points in image coordinates."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""(H, W, 3) uint8, BGR."""
FloatArray = NDArray[np.float32]


class Point(NamedTuple):
    """A position in an image, in pixels, 0-based."""

    x: float
    y: float


class Box(NamedTuple):
    """An axis-aligned rectangle in pixels, 0-based, given by its left top corner and its size."""

    x: float
    y: float
    w: float
    h: float

    @property
    def center(self) -> Point:
        """The centre, continuous: a box (0, 0, 2, 2) has its centre at (1, 1)."""
        return Point(self.x + self.w / 2, self.y + self.h / 2)

    @classmethod
    def around(cls, center: Point, w: float, h: float) -> "Box":
        """The box of a size around a centre."""
        return cls(center.x - w / 2, center.y - h / 2, w, h)


def intersection_over_union(a: Box, b: Box) -> float:
    """Overlap of two boxes, 0 for disjoint or empty ones, 1 for equal ones."""
    width = min(a.x + a.w, b.x + b.w) - max(a.x, b.x)
    height = min(a.y + a.h, b.y + b.h) - max(a.y, b.y)
    shared = max(0.0, width) * max(0.0, height)
    union = a.w * a.h + b.w * b.h - shared
    return shared / union if union > 0 else 0.0
