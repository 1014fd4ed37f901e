"""Where a search crop lies in a frame, and what a pixel of it is there."""

import math
from collections.abc import Callable
from typing import NamedTuple

from siamedge.runtime.geometry import Point
from siamedge.runtime.tracking.crops import Square, square_around


class Place(NamedTuple):
    """A box in a search crop: its centre from the crop's centre, and its size, search-crop px."""

    dx: float
    dy: float
    w: float
    h: float


class View(NamedTuple):
    """A search crop's place in a frame.

    Attributes:
        square: What is cut out.
        center: What counts as its centre, pixels of the frame.
        ratio: Pixels of the frame a pixel of the crop.
    """

    square: Square
    center: Point
    ratio: float

    def point(self, dx: float, dy: float) -> Point:
        """Where in the frame a point of the crop is, given from the crop's centre."""
        return Point(self.center.x + dx * self.ratio, self.center.y + dy * self.ratio)

    def size(self, w: float, h: float) -> tuple[float, float]:
        """A width and a height of the frame in pixels of the crop."""
        return w / self.ratio, h / self.ratio

    def place(self, center: Point, w: float, h: float) -> Place:
        """Where in the crop a box of the frame is."""
        dx, dy = center.x - self.center.x, center.y - self.center.y
        return Place(*self.size(dx, dy), *self.size(w, h))


def published_view(center: Point, side_px: float, crop_px: int) -> View:
    """Cut as the published trackers do, and count as they do.

    Their squares have whole pixels, and begin half a pixel early; positions are counted from where the square was meant
    to be, and sizes from its side before it was rounded. A target's place thus is off by half a pixel of the frame, and
    by a further half at random.

    Args:
        center: Of the square, pixels of the frame.
        side_px: Side of the square, pixels of the frame.
        crop_px: Side of the crop.

    Source: pysot's trackers.
    """
    return View(square_around(center, side_px), center, side_px / crop_px)


def true_view(center: Point, side_px: float, crop_px: int) -> View:
    """Cut the nearest square of whole pixels, and count from where it lies; arguments as in published_view."""
    side = max(1, round(side_px))
    square = Square(math.floor(center.x - side / 2 + 0.5), math.floor(center.y - side / 2 + 0.5), side)
    return View(square, Point(square.left + side / 2, square.top + side / 2), side / crop_px)


Cut = Callable[[Point, float, int], View]
"""published_view or true_view."""
