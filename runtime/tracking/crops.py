"""Square crops around the target, as Siamese trackers see the world."""

import math
from typing import NamedTuple, cast

import cv2
import numpy as np

from siamedge.runtime.geometry import Image, Point
from siamedge.runtime.tensors import Array

SHRUNK_FROM = 2.0
"""A square of so many times the crop's side or more is read by rows: a crop needs no more rows than it has."""
THINNED_FROM = 3.0
"""From so many rows for each of the crop on, rows are left out; below it, bilinear reading leaves out hardly any."""
LINE_PIXELS = 21
"""Whole pixels of 3 bytes in a line of a processor's caches, 64 bytes."""


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

    The pixels are those of resizing a copy of the square with its padding, as long as its side is less than
    SHRUNK_FROM times the crop's. A larger one is not copied (a padded one of 3648 px would take 5 ms): what lies in the
    frame is resized where it lies, from THINNED_FROM on with rows left out, and borders move by less than a quarter of
    a pixel of the crop. tests/runtime/test_crops.py holds both.

    Args:
        frame: (H, W, 3) uint8, BGR.
        square: What to cut.
        out: (S, S, 3) uint8, BGR, C-contiguous: the crop is written there.
        padding: BGR colour of what lies outside the frame.
        exact: Treat a large square as a small one.
    """
    if not exact and square.side >= SHRUNK_FROM * out.shape[0]:
        _crop_shrunk(frame, square, out, padding)
    else:
        keep(cv2.resize(patch_of(frame, square, padding), out.shape[1::-1], out), out)


def patch_of(frame: Image, square: Square, padding: tuple[float, ...]) -> Image:
    """The pixels of a square: a view of the frame, or where it reaches beyond it a copy with its padding.

    Of a square with nothing of the frame in it one pixel of padding, (1, 1, 3): resized it is the same.
    """
    left, top, side = square
    if square.is_inside(frame):
        return fetched(frame[top : top + side, left : left + side])
    height, width = frame.shape[:2]
    x0, x1 = max(left, 0), min(left + side, width)
    y0, y1 = max(top, 0), min(top + side, height)
    fill = np.rint(padding)
    if x0 >= x1 or y0 >= y1:
        return fill.astype(np.uint8).reshape(1, 1, 3)
    borders = (y0 - top, top + side - y1, x0 - left, left + side - x1)
    padded = cv2.copyMakeBorder(frame[y0:y1, x0:x1], *borders, cv2.BORDER_CONSTANT, value=fill.tolist())
    return np.asarray(padded, np.uint8)


class Span(NamedTuple):
    """What of a square lies in the frame, in one direction.

    Attributes:
        before: Pixels of the crop in front of it.
        filled: Pixels of the crop that it fills; 0 if none of the square lies in the frame.
        start: Its first pixel in the frame.
        size: Its pixels in the frame.
    """

    before: int
    filled: int
    start: int
    size: int


def span_in(limit: int, start: int, side: int, out_px: int) -> Span:
    """Find the pixels of a crop that lie in the frame as a whole, in one direction.

    Args:
        limit: Of the frame.
        start: Of the square, may be negative.
        side: Of the square.
        out_px: Of the crop, at most side.
    """
    step = side / out_px
    before = max(0, math.ceil(-start / step))
    after = min(out_px, math.floor((limit - start) / step))
    first, end = (max(0, min(limit, start + round(at * step))) for at in (before, after))
    return Span(before, max(0, after - before), first, max(0, end - first))


def thinned_rows(first: int, count: int, out_px: int) -> slice:
    """Rows to read for a crop of out_px rows: all, or about one for each, evenly around the middle.

    Leaving out moves a row at the border by a quarter of a row of the crop at most, one in the middle not at all.
    """
    step = round(count / out_px) if count >= THINNED_FROM * out_px else 1
    last = (round(count / step) - 1) * step
    start = first + (count - 1 - last) // 2
    return slice(start, start + last + 1, step)


def _crop_shrunk(frame: Image, square: Square, out: Image, padding: tuple[float, ...]) -> None:
    left, top, side = square
    height, width = frame.shape[:2]
    down, across = span_in(height, top, side, out.shape[0]), span_in(width, left, side, out.shape[1])
    fill = np.rint(padding)
    if not (down.filled and across.filled):
        out[:] = fill
        return
    rows = thinned_rows(down.start, down.size, down.filled)
    pixels, size = frame[rows, across.start : across.start + across.size], (across.filled, down.filled)
    if size == out.shape[1::-1]:
        keep(cv2.resize(pixels, size, out), out)
        return
    below, right = out.shape[0] - down.before - down.filled, out.shape[1] - across.before - across.filled
    borders = (down.before, below, across.before, right)
    inner = cv2.resize(pixels, size)
    keep(cv2.copyMakeBorder(inner, *borders, cv2.BORDER_CONSTANT, dst=out, value=fill.tolist()), out)


def fetched(pixels: Image) -> Image:
    """Have the processor bring pixels into its caches.

    It waits for many lines at once, where resizing, which computes meanwhile, waits for one after the other. Rows of
    large squares are long enough to be foreseen.
    """
    pixels[:, ::LINE_PIXELS, 0].copy()
    return pixels


def keep(result: object, out: Array) -> None:
    """Have a result of OpenCV in memory of ours: it writes there where it can, else it returns memory of its own."""
    if result is not out:
        np.copyto(out, cast(Array, result))
