"""Picks something to follow in a video without annotation: what moves, else what has the strongest texture."""

import cv2
import numpy as np

from siamedge.runtime.geometry import Box, FloatArray, Image, intersection_over_union
from siamedge.runtime.tensors import Array

WORKING_PX = 160
"""Longer side of the picture in which is searched."""
SHARES = (4, 8)
"""Sides of targets: the shorter side of the picture divided by these, in turn."""
MOVED = 6.0
"""Grey levels by which a pixel must change on average over a window to count as moving; noise of cameras is below."""


def find_target(before: Image, now: Image, taken: list[Box]) -> Box:
    """Give the square of `now` that changed most since `before`, apart from those that were taken.

    Where nothing moves it is the square with the strongest edges. Equal pictures give equal squares.

    Args:
        before: (H, W, 3) uint8, BGR.
        now: The same, some time later.
        taken: Squares that are not wanted again; disregarded if they leave none.
    """
    height, width = now.shape[:2]
    scale = min(1.0, WORKING_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    grey, old = (
        cv2.cvtColor(cv2.resize(i, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY) for i in (now, before)
    )
    side = min(max(2, min(size) // SHARES[len(taken) % len(SHARES)]), *size)
    motion = _mean_over(cv2.absdiff(grey, old).astype(np.float32), side)
    energy = motion if motion.max() >= MOVED else _mean_over(_edges(grey.astype(np.float32)), side)
    return _best(energy, side, scale, taken)


def _edges(grey: Array) -> FloatArray:
    values = grey.astype(np.float32)
    dx, dy = cv2.Sobel(values, cv2.CV_32F, 1, 0), cv2.Sobel(values, cv2.CV_32F, 0, 1)
    return np.asarray(cv2.magnitude(dx, dy), np.float32)


def _mean_over(values: FloatArray, side: int) -> FloatArray:
    """Mean over the square of each left-top corner that fits into the picture."""
    sums = cv2.integral(values, sdepth=cv2.CV_64F)
    total = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return np.asarray(total / side**2, np.float32)


def _best(energy: FloatArray, side: int, scale: float, taken: list[Box]) -> Box:
    """Go through the corners by falling energy until one is apart from what was taken."""
    order = np.argsort(-energy, axis=None, kind="stable")
    boxes = (
        Box(float(x) / scale, float(y) / scale, side / scale, side / scale)
        for y, x in zip(*np.unravel_index(order, energy.shape), strict=True)
    )
    first = next(boxes)
    if not _overlaps(first, taken):
        return first
    return next((box for box in boxes if not _overlaps(box, taken)), first)


def _overlaps(box: Box, taken: list[Box]) -> bool:
    return any(intersection_over_union(box, other) > 0 for other in taken)
