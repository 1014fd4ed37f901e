"""Overlap and distance of boxes, each as its toolkit computes it."""

import numpy as np
from numpy.typing import NDArray

from siamedge.export.annotations import Boxes

Vector = NDArray[np.float64]
EPS = float(np.finfo(np.float64).eps)


def continuous_iou(a: Boxes, b: Boxes) -> Vector:
    """Give the overlap of real-valued boxes; nan where either has a nan.

    Args:
        a: (N, 4) x, y, w, h.
        b: (N, 4).

    Returns:
        (N,) 0..1.

    Source: got-10k/toolkit, rect_iou.
    """
    low = np.maximum(a[:, :2], b[:, :2])
    high = np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:])
    shared = np.maximum(high - low, 0).prod(axis=1)
    union = a[:, 2:].prod(axis=1) + b[:, 2:].prod(axis=1) - shared
    return np.asarray(np.clip(shared / (union + EPS), 0, 1))


def clipped(boxes: Boxes, size: tuple[int, int]) -> Boxes:
    """Move corners into the image as GOT-10k does: the corner is clipped, then the size to what is left of the image.

    A box that starts left of the image is moved, not cut: its width stays.

    Source: got-10k/toolkit, rect_iou with a bound.
    """
    corner = np.clip(boxes[:, :2], 0, size)
    return np.hstack([corner, np.clip(boxes[:, 2:], 0, np.array(size) - corner)])


def centers(boxes: Boxes) -> Boxes:
    """Give (N, 2) centres as all toolkits do, with w - 1 and h - 1."""
    return np.asarray(boxes[:, :2] + (boxes[:, 2:] - 1) / 2)


def center_distance(a: Boxes, b: Boxes, unit: Boxes | float = 1.0) -> Vector:
    """Give the distance of the centres; each is divided by the unit before they are subtracted, as LaSOT does.

    Args:
        a: (N, 4).
        b: (N, 4).
        unit: What a step of x and of y is measured in: (N, 2) or a number.

    Returns:
        (N,) nan where either has a nan.
    """
    return np.asarray(np.sqrt(((centers(a) / unit - centers(b) / unit) ** 2).sum(axis=1)))


def raster_iou(a: Boxes, b: Boxes, size: tuple[int, int]) -> Vector:
    """Give the overlap of boxes on the pixel grid, inside the image, as the VOT toolkit computes it.

    Boxes are rounded to whole pixels (half to even, in float32) and cover the pixels x .. x + w - 1. A nan row is an
    empty region at the origin.

    Args:
        a: (N, 4).
        b: (N, 4).
        size: (width, height) of the image.

    Returns:
        (N,) 0..1; 1 where the bounding box of both is thinner than two pixels, 0 where that is so inside the image.

    Source: votchallenge/toolkit, region/raster.py.
    """
    a_low, a_high, a_empty = _pixels(a)
    b_low, b_high, b_empty = _pixels(b)
    low, high = np.minimum(a_low, b_low), np.maximum(a_high, b_high)
    inner_low, inner_high = np.maximum(low, 0), np.minimum(high, np.array(size) - 1)
    area_a = _count(np.maximum(a_low, inner_low), np.minimum(a_high, inner_high)) * ~a_empty
    area_b = _count(np.maximum(b_low, inner_low), np.minimum(b_high, inner_high)) * ~b_empty
    both_low, both_high = np.maximum(a_low, b_low), np.minimum(a_high, b_high)
    shared = _count(np.maximum(both_low, inner_low), np.minimum(both_high, inner_high)) * ~(a_empty | b_empty)
    union = area_a + area_b - shared
    overlap = np.divide(shared, union, out=np.zeros(len(a)), where=union > 0)
    overlap[(inner_low >= inner_high).any(axis=1)] = 0
    overlap[(low >= high).any(axis=1)] = 1
    return overlap


def _pixels(boxes: Boxes) -> tuple[Boxes, Boxes, NDArray[np.bool_]]:
    empty = np.asarray(~np.isfinite(boxes).all(axis=1))
    rounded = np.round(boxes.astype(np.float32)).astype(np.float64)
    low, high = rounded[:, :2].copy(), rounded[:, :2] + rounded[:, 2:] - 1
    low[empty] = high[empty] = 0
    return low, high, empty


def _count(low: Boxes, high: Boxes) -> Vector:
    return np.asarray(np.maximum(high - low + 1, 0).prod(axis=1))
