"""Where to look for targets in unlabelled video: shots, and what moves in them against the background."""

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np

from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.tensors import Array

_THUMB = (64, 48)
_FLOW_WIDTH_PX = 320


def split_shots(frames: Sequence[Image]) -> list[range]:
    """Cut a clip where colours and pixels change at once."""
    thumbs = [np.asarray(cv2.resize(frame, _THUMB, interpolation=cv2.INTER_AREA)) for frame in frames]
    colors = [_color_histogram(thumb) for thumb in thumbs]
    cuts = [0]
    for k in range(1, len(frames)):
        moved = float(np.abs(thumbs[k].astype(np.float32) - thumbs[k - 1]).mean())
        recolored = 0.5 * float(np.abs(colors[k] - colors[k - 1]).sum())
        if (recolored > 0.35 and moved > 18) or moved > 55:
            cuts.append(k)
    return [range(a, b) for a, b in pairwise([*cuts, len(frames)])]


def _color_histogram(image: Array) -> Array:
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    counts = cv2.calcHist([hsv], [0, 1, 2], None, [8, 4, 4], [0, 180, 0, 256, 0, 256]).ravel()
    return np.asarray(counts / counts.sum())


def moving_boxes(frames: Sequence[Image], index: int, *, reach: int = 3, most: int = 3) -> list[Box]:
    """What moves against the background, whose own motion is taken out by a homography; largest first.

    Args:
        frames: One shot.
        index: The frame in question.
        reach: It is compared with the frames this far before and after it.
        most: Boxes at most.
    """
    neighbours = (max(0, index - reach), min(len(frames) - 1, index + reach))
    if index - neighbours[0] < 2 or neighbours[1] - index < 2:
        return []
    scale = _FLOW_WIDTH_PX / max(frames[index].shape[:2])
    middle = _grey(frames[index], scale)
    differences = [_unexplained(middle, _grey(frames[k], scale)) for k in neighbours]
    if any(difference is None for difference in differences):
        return []
    change = np.minimum.reduce([d for d in differences if d is not None])
    mask = (change > max(14.0, 3 * float(np.median(change)) + 8)).astype(np.uint8)
    closed = cv2.erode(cv2.dilate(mask, np.ones((9, 9), np.uint8)), np.ones((7, 7), np.uint8))
    if closed.mean() > 0.35:
        return []
    return [Box(*(side / scale for side in box)) for box in _blobs(np.asarray(closed))][:most]


def _grey(frame: Image, scale: float) -> Array:
    small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), (5, 5), 0))


def _unexplained(image: Array, other: Array) -> Array | None:
    """What differs after the other picture is laid over this one; None where they do not fit together."""
    here = cv2.goodFeaturesToTrack(image, 200, 0.01, 8)
    if here is None or len(here) < 12:
        return None
    there, status, _ = cv2.calcOpticalFlowPyrLK(image, other, here, np.empty_like(here))
    kept = status.ravel() > 0
    if kept.sum() < 12:
        return None
    warp, inliers = cv2.findHomography(there[kept], here[kept], cv2.RANSAC, 2.0)
    if warp is None or inliers.mean() < 0.35:
        return None
    size = (image.shape[1], image.shape[0])
    difference = cv2.absdiff(image, cv2.warpPerspective(other, warp, size))
    difference[cv2.warpPerspective(np.full_like(other, 255), warp, size) < 255] = 0
    return np.asarray(difference)


def _blobs(mask: Array) -> list[tuple[int, int, int, int]]:
    height, width = mask.shape
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
    kept = [
        (area, (x, y, w, h))
        for x, y, w, h, area in stats[1:].tolist()
        if min(w, h) >= 9 and 0.0015 < w * h / mask.size < 0.35 and area > 0.35 * w * h and max(w / h, h / w) < 4
        and x >= 2 and y >= 2 and x + w <= width - 2 and y + h <= height - 2
    ]  # fmt: skip
    return [box for _, box in sorted(kept, reverse=True)]
