"""Outlines of objects: where they lie, and what is remembered of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from siamedge.runtime.geometry import Box
from siamedge.training.crops.cutouts import Outlines, object_outline
from siamedge.training.crops.store import CROP_PX, Crop

ROWS, COLUMNS = np.indices((CROP_PX // 3, CROP_PX // 3))
RECTANGLE = (ROWS >= 48) & (ROWS < 64) & (COLUMNS >= 44) & (COLUMNS < 68)
CROSS = RECTANGLE | ((ROWS >= 40) & (ROWS < 72) & (COLUMNS >= 50) & (COLUMNS < 60))
DISC = (ROWS - 56) ** 2 + (COLUMNS - 50) ** 2 <= 15**2


def bounds_of(shape: NDArray[np.bool_]) -> Box:
    """In crop px, three to a cell."""
    rows, columns = np.nonzero(np.kron(shape, np.ones((3, 3))))
    x, y = columns.min(), rows.min()
    return Box(*map(float, (x, y, columns.max() + 1 - x, rows.max() + 1 - y)))


def red_on_green(shape: NDArray[np.bool_]) -> Crop:
    """A still whose object has this shape, a little noisy; each cell of the shape is three pixels wide."""
    image = np.kron(np.where(shape[..., None], [0, 0, 220], [0, 120, 0]), np.ones((3, 3, 1)))
    image = np.clip(image + np.random.default_rng(0).normal(0, 6, image.shape), 0, 255).astype(np.uint8)
    return Crop("still", image, bounds_of(shape), (0, 0, CROP_PX, CROP_PX), "drawn", "shape", "", 0)


@pytest.mark.parametrize("shape", [RECTANGLE, CROSS, DISC])
def test_an_outline_has_the_bounds_of_its_object(shape: NDArray[np.bool_]) -> None:
    crop = red_on_green(shape)
    outline = object_outline(crop)
    assert outline is not None
    low, high = outline.min(axis=0), outline.max(axis=0)
    assert [*low, *(high - low)] == pytest.approx(crop.box, abs=0.01)


def test_an_outline_is_the_same_before_and_after_it_was_remembered(tmp_path: Path) -> None:
    """Else a run that is resumed would be trained on other pairs."""
    crop = replace(red_on_green(DISC), box=Box(102.3, 120.7, 97.1, 95.9))
    found = Outlines(tmp_path / "outlines.jsonl").of(crop)
    assert np.array_equal(Outlines(tmp_path / "outlines.jsonl").of(crop), found)
    tiny = replace(crop, name="tiny", box=Box(150.33, 150.77, 10.13, 9.19))
    found = Outlines(tmp_path / "outlines.jsonl").of(tiny)
    assert np.array_equal(Outlines(tmp_path / "outlines.jsonl").of(tiny), found)


def test_outlines_are_remembered_around_a_line_that_was_cut_off(tmp_path: Path) -> None:
    """As by a full disk, or because another process is writing it: the next row then follows on the same line."""
    path = tmp_path / "outlines.jsonl"
    first, cut, glued, last = (replace(red_on_green(RECTANGLE), name=name) for name in ("a", "b", "c", "d"))
    for crop in (first, cut):
        Outlines(path).of(crop)
    path.write_text(path.read_text()[:-20])
    for crop in (glued, last):
        Outlines(path).of(crop)
    size = path.stat().st_size
    outlines = Outlines(path)
    assert outlines.of(first) == pytest.approx(outlines.of(last))
    assert path.stat().st_size == size, "they were found anew"
    assert outlines.of(cut) == pytest.approx(outlines.of(first))
    assert path.stat().st_size > size
