"""Square crops around the target, as Siamese trackers see the world."""

import math
from typing import NamedTuple, cast

import cv2
import numpy as np

from siamedge.runtime.geometry import Image, Point


class Square(NamedTuple):
    """Whole pixels of a frame: first column, first row, side >= 1; may lie partly or wholly outside."""

    left: int
    top: int
    side: int


def context_side(w: float, h: float, context: float) -> float:
    """Side of the square that holds a target and its context, in pixels.

    Source: Bertinetto et al. 2016, section 3.4: (w + 2p)(h + 2p) = side^2 with 2p = context * (w + h).
    """
    margin = context * (w + h)
    return math.sqrt((w + margin) * (h + margin))


def mean_color(frame: Image) -> tuple[float, float, float]:
    """Mean of each channel over the whole frame: the padding that trackers were trained with."""
    blue, green, red, _ = cv2.mean(frame)
    return blue, green, red


def crop_square(frame: Image, square: Square, out_px: int, padding: tuple[float, ...]) -> Image:
    """Cut a square and resize it; only what lies inside the square is ever touched.

    Args:
        frame: (H, W, 3) uint8, BGR.
        square: What to cut.
        out_px: Side of the result.
        padding: BGR colour of what lies outside the frame.

    Returns:
        (out_px, out_px, 3) uint8, BGR.
    """
    left, top, side = square
    height, width = frame.shape[:2]
    x0, x1 = max(left, 0), min(left + side, width)
    y0, y1 = max(top, 0), min(top + side, height)
    fill = np.rint(padding)
    if x0 >= x1 or y0 >= y1:
        return np.full((out_px, out_px, 3), fill, np.uint8)
    inside = frame[y0:y1, x0:x1]
    if inside.shape[:2] != (side, side):
        borders = (y0 - top, top + side - y1, x0 - left, left + side - x1)
        inside = cast(Image, cv2.copyMakeBorder(inside, *borders, cv2.BORDER_CONSTANT, value=fill.tolist()))
    return cast(Image, cv2.resize(inside, (out_px, out_px), interpolation=cv2.INTER_LINEAR))


def crop_around(
    frame: Image, center: Point, side_px: float, out_px: int, padding: tuple[float, float, float] | None
) -> Image:
    """Cut a square around a point, to whole pixels.

    Args:
        frame: (H, W, 3) uint8, BGR.
        center: In pixels, 0-based, continuous (the middle of the first pixel is 0.5).
        side_px: Side of the square in the frame, rounded to a whole number, > 0.
        out_px: Side of the result.
        padding: Colour outside the frame; None takes the mean of this frame, computed only if it is needed.

    Returns:
        (out_px, out_px, 3) uint8, BGR.

    Source: the subwindow of pysot's trackers, whose squares begin at floor(center - (side + 1) / 2 + 0.5).
    """
    side = max(1, round(side_px))
    left = math.floor(center.x - (side + 1) / 2 + 0.5)
    top = math.floor(center.y - (side + 1) / 2 + 0.5)
    if padding is None:
        is_inside = left >= 0 and top >= 0 and left + side <= frame.shape[1] and top + side <= frame.shape[0]
        padding = (0.0, 0.0, 0.0) if is_inside else mean_color(frame)
    return crop_square(frame, Square(left, top, side), out_px, padding)
