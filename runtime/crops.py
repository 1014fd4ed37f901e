"""Square crops around the target, as Siamese trackers see the world."""

import math
from typing import NamedTuple, cast

import cv2
import numpy as np

from siamedge.runtime.geometry import Image, Point

WARP_FROM_PX = 640
"""A padded square with a larger side is read through warpAffine instead of being copied with its border."""
WARPS_EXACTLY = int(cv2.__version__.partition(".")[0]) >= 5
"""warpAffine weights neighbours in floating point; OpenCV 4 rounds positions to 1/32 pixel."""


class Square(NamedTuple):
    """Whole pixels of a frame: first column, first row, side >= 1; may lie partly or wholly outside."""

    left: int
    top: int
    side: int

    def is_inside(self, frame: Image) -> bool:
        """Whether all of it lies in the frame."""
        left, top, side = self
        height, width = frame.shape[:2]
        return left >= 0 and top >= 0 and left + side <= width and top + side <= height


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


def square_around(center: Point, side_px: float) -> Square:
    """The whole-pixel square around a point.

    Args:
        center: In pixels, 0-based, continuous (the middle of the first pixel is 0.5).
        side_px: Side of the square, rounded to a whole number, at least 1.

    Source: the subwindow of pysot's trackers, whose squares begin at floor(center - (side + 1) / 2 + 0.5).
    """
    side = max(1, round(side_px))
    half = (side + 1) / 2
    return Square(math.floor(center.x - half + 0.5), math.floor(center.y - half + 0.5), side)


def crop_square(frame: Image, square: Square, out: Image, padding: tuple[float, ...], *, exact: bool = False) -> None:
    """Cut a square and resize it, bilinear; only what lies inside the square is ever touched.

    The pixels are those of resizing a copy of the square with its padding. A padded square larger than WARP_FROM_PX
    and than the result is not copied (a 3648 px one would take 5 ms): the same interpolation is done straight from
    the frame, and single pixels differ by one level. tests/runtime/test_crops.py holds both.

    Args:
        frame: (H, W, 3) uint8, BGR.
        square: What to cut.
        out: (S, S, 3) uint8, BGR, C-contiguous: the crop is written there.
        padding: BGR colour of what lies outside the frame.
        exact: Copy a large padded square all the same.
    """
    left, top, side = square
    size = (out.shape[1], out.shape[0])
    if square.is_inside(frame):
        _keep(cv2.resize(frame[top : top + side, left : left + side], size, out), out)
    elif WARPS_EXACTLY and not exact and side > max(WARP_FROM_PX, *size):
        _warp(frame, square, out, padding)
    else:
        _crop_padded(frame, square, out, padding)


def _crop_padded(frame: Image, square: Square, out: Image, padding: tuple[float, ...]) -> None:
    left, top, side = square
    height, width = frame.shape[:2]
    x0, x1 = max(left, 0), min(left + side, width)
    y0, y1 = max(top, 0), min(top + side, height)
    fill = np.rint(padding)
    if x0 >= x1 or y0 >= y1:
        out[:] = fill
        return
    borders = (y0 - top, top + side - y1, x0 - left, left + side - x1)
    padded = cv2.copyMakeBorder(frame[y0:y1, x0:x1], *borders, cv2.BORDER_CONSTANT, value=fill.tolist())
    _keep(cv2.resize(padded, (out.shape[1], out.shape[0]), out), out)


def _warp(frame: Image, square: Square, out: Image, padding: tuple[float, ...]) -> None:
    """Sample the centre of each of the crop's pixels in the frame; what is outside has the padding's colour."""
    left, top, side = square
    step = side / out.shape[0]
    first = (step - 1) / 2
    to_frame = np.array(((step, 0.0, left + first), (0.0, step, top + first)))
    cv2.warpAffine(
        frame,
        to_frame,
        (out.shape[1], out.shape[0]),
        out,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=np.rint(padding).tolist(),
    )


def _keep(result: object, out: Image) -> None:
    """OpenCV writes to the memory that it is given where it fits, else it returns memory of its own."""
    if result is not out:
        np.copyto(out, cast(Image, result))
