"""The outline of an object in a crop, for pasting it over other pictures."""

import json
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from siamedge.runtime.geometry import Box
from siamedge.training.crops.augmentation import Points
from siamedge.training.crops.store import Crop

_SHRINK = 3
_ANGLES = np.linspace(0, 2 * np.pi, 24, endpoint=False)


def round_outline(box: Box) -> Points:
    """A rounded box (superellipse of order 4), (24, 2) points; its bounds are the box."""
    cosine, sine = np.cos(_ANGLES), np.sin(_ANGLES)
    x = np.sign(cosine) * np.sqrt(np.abs(cosine))
    y = np.sign(sine) * np.sqrt(np.abs(sine))
    center = box.center
    return np.stack([center.x + x * box.w / 2, center.y + y * box.h / 2], axis=1).astype(np.float32)


def object_outline(crop: Crop) -> Points | None:
    """Segment the object within its box.

    Returns:
        (K, 2) points in crop px, whose bounds are those of the segmented pixels, or None where the segmentation does
        not fill the box and so cannot be trusted.

    Source: Rother et al. 2004 (GrabCut), OpenCV's implementation, on a third of the resolution.
    """
    small = cv2.resize(crop.image, None, fx=1 / _SHRINK, fy=1 / _SHRINK, interpolation=cv2.INTER_AREA)
    x, y, w, h = (round(value / _SHRINK) for value in crop.box)
    if min(w, h) < 6:
        return None
    mask = np.zeros(small.shape[:2], np.uint8)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    try:
        cv2.grabCut(small, mask, (x, y, w, h), *models, 2, cv2.GC_INIT_WITH_RECT)
    except cv2.error:  # raised where the box covers the crop, so that no background is left
        return None
    return _largest_outline(np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8), crop.box)


class Outlines:
    """Outlines by picture, found when first asked for and, with a file, remembered between runs.

    Args:
        path: A file of JSON lines that is read now and appended to, or None.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._found: dict[str, Points] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read what other processes have found since; a cut-off line is passed over, its outline found anew."""
        if self._path is not None and self._path.is_file():
            for line in self._path.read_text(encoding="utf-8").splitlines():
                with suppress(json.JSONDecodeError):
                    row = json.loads(line)
                    self._found[row["name"]] = np.array(row["points"], np.float32)

    def of(self, crop: Crop) -> Points:
        """The outline of a crop's object: segmented for stills where that works, else a rounded box."""
        if crop.track:
            return round_outline(crop.box)
        if crop.name not in self._found:
            self._remember(crop)
        return self._found[crop.name]

    def _remember(self, crop: Crop) -> None:
        found = object_outline(crop)
        points = np.round(round_outline(crop.box) if found is None else found, 1)
        self._found[crop.name] = points
        if self._path is not None:
            row = {"name": crop.name, "points": points.astype(float).tolist()}
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def _largest_outline(mask: np.ndarray, box: Box) -> Points | None:
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return None
    largest = max(contours, key=cv2.contourArea)
    x, y, w, h = cv2.boundingRect(largest)
    outline = cv2.approxPolyDP(largest, 0.7, True)[:, 0].astype(np.float32)
    if len(outline) < 3 or min(w / box.w, h / box.h) * _SHRINK <= 0.8:
        return None
    return _between(outline, np.array([x, y]), np.array([x + w, y + h])) * np.float32(_SHRINK)


def _between(points: Points, low: NDArray[np.int64], high: NDArray[np.int64]) -> Points:
    """Stretch points so that their bounds are these; a contour leads through the middles of its pixels."""
    start = points.min(axis=0)
    stretched: Points = (low + (points - start) * ((high - low) / np.ptp(points, axis=0))).astype(np.float32)
    return stretched
