"""Crops of harvested tracks, written as `CropStore` reads them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.tracking.crops import context_side, mean_color
from siamedge.training.crops.augmentation import in_pixels
from siamedge.training.crops.store import CONTEXT_PX, CROP_PX


class Sighting(NamedTuple):
    """The target in one frame of a clip; `frame` is its number in the clip."""

    frame: int
    box: Box


class CroppedTarget(NamedTuple):
    """A crop as `CropStore` reads it: the picture, the box and the part that is picture, both in crop pixels."""

    image: Image
    box: Box
    valid: tuple[float, float, float, float]


def crop_target(frame: Image, box: Box) -> CroppedTarget:
    """Cut the target out so that it is in the middle and its context square has the stores' size."""
    scale = CONTEXT_PX / context_side(box.w, box.h, 0.5)
    center, middle = box.center, CROP_PX / 2
    matrix = in_pixels(np.array([[scale, 0, middle - scale * center.x], [0, scale, middle - scale * center.y]]))
    source = cv2.GaussianBlur(frame, (0, 0), 0.4 / scale) if scale < 0.6 else frame
    image = cv2.warpAffine(source, matrix, (CROP_PX, CROP_PX), borderValue=mean_color(frame))
    height, width = frame.shape[:2]
    left, top = max(0.0, middle - scale * center.x), max(0.0, middle - scale * center.y)
    right = min(float(CROP_PX), middle + scale * (width - center.x))
    bottom = min(float(CROP_PX), middle + scale * (height - center.y))
    inner = Box(middle - scale * box.w / 2, middle - scale * box.h / 2, scale * box.w, scale * box.h)
    return CroppedTarget(np.asarray(image, np.uint8), inner, (left, top, right, bottom))


class CropWriter:
    """Adds crops to a folder; whoever reads it meanwhile sees only whole rows whose pictures are there.

    Args:
        out: Folder with annotations.jsonl and crops/; made if it is not there.
        source: Value of the rows' `source`.
    """

    def __init__(self, out: Path, source: str) -> None:
        self._out, self._source = out, source
        (out / "crops").mkdir(parents=True, exist_ok=True)
        numbers = [int(path.stem) for path in (out / "crops").glob("*.webp") if path.stem.isdecimal()]
        self._next = max(numbers, default=-1) + 1

    def add(self, track: str, frames: Sequence[Image], sightings: Sequence[Sighting], most: int) -> int:
        """Write crops of a track, spread evenly over it; returns how many."""
        chosen = sorted(set(np.linspace(0, len(sightings) - 1, most).round().astype(int).tolist()))
        for k in chosen:
            self._append(track, sightings[k].frame, crop_target(frames[sightings[k].frame], sightings[k].box))
        return len(chosen)

    def _append(self, track: str, frame: int, crop: CroppedTarget) -> None:
        name = f"crops/{self._next:06d}.webp"
        if not cv2.imwrite(str(self._out / name), crop.image, [cv2.IMWRITE_WEBP_QUALITY, 88]):
            raise SourceError(f"cannot write {self._out / name}", hint="check the disk's space and rights")
        row = {"image": name, "source": self._source, "cls": "moving", "track": track, "frame": frame}
        row |= {"box": [round(side, 2) for side in crop.box], "valid": [round(side, 1) for side in crop.valid]}
        with (self._out / "annotations.jsonl").open("a", encoding="utf-8") as rows:
            rows.write(json.dumps(row) + "\n")
        self._next += 1
