"""Crops of annotated objects, decoded once and kept in memory.

A root is a folder with `annotations.jsonl` and the pictures that it names. A row is one crop: `image`, `source`, `cls`,
`track` (null for a still), `frame`, `box` = [x, y, w, h] and `valid` = [x0, y0, x1, y1] (the part that is picture),
both in crop pixels. A crop is 336 px square around the target, scaled so that the SiamFC context square is 96 px.
"""

import json
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Box, Image

Row = dict[str, Any]
"""A row of annotations.jsonl."""
CROP_PX = 336
KEYS = ("image", "source", "cls", "track", "box", "valid")
"""Of a row; `frame` may be absent."""
CONTEXT_PX = 96.0
"""Side of the SiamFC context square sqrt((w + p)(h + p)), p = (w + h) / 2, in a crop."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Crop:
    """One annotated object.

    Args:
        name: Of the picture, unique within the store.
        image: (H, W, 3) uint8, BGR, the part of the crop that is picture; its flat padding is not kept.
        box: The object, pixels of `image`.
        valid: x0, y0, x1, y1 of the part that is picture, pixels of `image`.
        source: Data set that it came from.
        cls: Class name, unique within a source only.
        track: Name of its track, or "" for a still.
        frame: Frame number within the track.
    """

    name: str
    image: Image
    box: Box
    valid: tuple[float, float, float, float]
    source: str
    cls: str
    track: str
    frame: int


class CropStore:
    """All crops of some roots; `refresh` picks up rows that were appended since.

    Args:
        roots: Folders with annotations.jsonl.
        holdout: Crops whose track or source matches one of these are left out.
        only: If given, only crops whose track or source matches one of these are kept.
    """

    def __init__(self, roots: Sequence[Path], *, holdout: Sequence[str] = (), only: Sequence[str] = ()) -> None:
        self.crops: list[Crop] = []
        self.tracks: dict[str, list[int]] = {}
        self.classes: dict[str, list[int]] = {}
        self._roots = tuple(roots)
        self._holdout, self._only = tuple(holdout), tuple(only)
        self._rows_read = dict.fromkeys(self._roots, 0)
        self.refresh()
        if not self.crops:
            raise SourceError(f"no crops in {', '.join(map(str, roots))}", hint="name a folder with annotations.jsonl")

    def refresh(self) -> int:
        """Read rows that are new in any root; returns how many crops were added."""
        before = len(self.crops)
        for root in self._roots:
            rows = read_rows(root, self._rows_read[root])
            for row in rows:
                self._add(root, row)
            self._rows_read[root] += len(rows)
        if len(self.crops) > before:
            _log.info("%d crops, %d tracks", len(self.crops), len(self.tracks))
        return len(self.crops) - before

    def _add(self, root: Path, row: Row) -> None:
        names = (str(row["track"] or ""), str(row["source"]))
        if _any_matches(names, self._holdout) or (self._only and not _any_matches(names, self._only)):
            return
        crop = _read_crop(root, row)
        index = len(self.crops)
        self.crops.append(crop)
        self.classes.setdefault(f"{crop.source}/{crop.cls}", []).append(index)
        if crop.track:
            self.tracks.setdefault(crop.track, []).append(index)


def matches(name: str, wishes: tuple[str, ...]) -> bool:
    """Tell whether a name starts with one of the wishes; one that ends in "$" wants the whole name."""
    return any(f"{name}$" == wish or name.startswith(wish) for wish in wishes)


def read_rows(root: Path, start: int = 0) -> list[Row]:
    """Read the rows of annotations.jsonl but for so many at its start; none where there is no such file.

    A last line that ends in the middle is left out: somebody is writing it.

    Raises:
        SourceError: A row is no JSON object, lacks one of the keys, or its box or valid part is none.
    """
    path = root / "annotations.jsonl"
    if not path.is_file():
        return []
    try:
        *lines, last = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: cannot be read: {error}", hint="cut the crops again") from error
    if last.rstrip().endswith("}"):
        lines.append(last)
    return [_row(line, f"{path}:{number}") for number, line in enumerate(lines[start:], start=start + 1)]


def _row(line: str, where: str) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise SourceError(f"{where}: no JSON object: {error}", hint="cut the crops again") from error
    if not isinstance(row, dict):
        raise SourceError(f"{where}: no JSON object: {line[:40]}", hint="cut the crops again")
    if missing := [key for key in KEYS if key not in row]:
        raise SourceError(f"{where}: no {', '.join(missing)}", hint=f"a row has {', '.join(KEYS)}")
    if not (_are_numbers(row["box"]) and min(row["box"][2:]) > 0):
        raise SourceError(f"{where}: box {row['box']}", hint="x, y, w, h in pixels of the crop, w and h above 0")
    if not (_are_numbers(row["valid"]) and _has_pixels(*row["valid"])):
        raise SourceError(f"{where}: valid {row['valid']}", hint=f"x0, y0, x1, y1 within the crop's {CROP_PX} px")
    return row


def _are_numbers(value: object) -> bool:
    """Whether it is a list of four finite numbers."""
    numbers = value if isinstance(value, list) else []
    return len(numbers) == 4 and all(isinstance(item, int | float) and math.isfinite(item) for item in numbers)


def _has_pixels(x0: float, y0: float, x1: float, y1: float) -> bool:
    return max(x0, 0) < min(x1, CROP_PX) and max(y0, 0) < min(y1, CROP_PX)


def _any_matches(names: Iterable[str], wishes: tuple[str, ...]) -> bool:
    return any(matches(name, wishes) for name in names)


def _read_crop(root: Path, row: Row) -> Crop:
    path = root / str(row["image"])
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None or image.shape != (CROP_PX, CROP_PX, 3):
        found = "unreadable" if image is None else f"{image.shape}"
        raise SourceError(f"{path}: {found}, expected {CROP_PX} x {CROP_PX} px", hint="cut the crops again")
    x, y, w, h = (float(value) for value in row["box"])
    x0, y0, x1, y1 = (min(max(float(value), 0.0), float(CROP_PX)) for value in row["valid"])
    left, top, right, bottom = math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1)
    picture: Image = image[top:bottom, left:right].astype(np.uint8, copy=True)
    track = str(row["track"] or "")
    name = f"{root.name}/{row['image']}"
    box, valid = Box(x - left, y - top, w, h), (x0 - left, y0 - top, x1 - left, y1 - top)
    return Crop(name, picture, box, valid, str(row["source"]), str(row["cls"]), track, _frame(row))


def _frame(row: Row) -> int:
    frame = row.get("frame")
    return frame if isinstance(frame, int) else 0
