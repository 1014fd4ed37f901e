"""Pairs of flat-coloured objects: what a search crop shows, and where, is what its label says."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from siamedge.runtime.geometry import Box, Image
from siamedge.training.crops import augmentation as change
from siamedge.training.crops.augmentation import Appearance, Geometry
from siamedge.training.crops.cutouts import Outlines
from siamedge.training.crops.store import CROP_PX, CropStore
from siamedge.training.pairs.pairs import Mixture, Pair, PairMaker

PLAIN = Mixture(tracks=1, negative=0, paste=0, distractor=0, occluder=0, grey=0, flat=1)
SHIFTED = Geometry(shift_px=40, far=0, scale=0, aspect=0, rotation_deg=0, wild=0, shear=0, flip=0, bend=0)
UNCHANGED = Appearance(gain=0, channel_gain=0, gamma=0, motion_blur=0, low_resolution=0, noise=0, jpeg=0, sharp=0)
BLUE, GREEN, RED = 0, 1, 2
BOX = Box(138, 144, 60, 48)


class Drawn(NamedTuple):
    """A crop to draw: its object has the full value of one channel, all else is a middle grey."""

    channel: int
    track: str | None = None
    cls: str = "shape"


def is_rounded() -> NDArray[np.bool_]:
    """Where a crop shows a superellipse of order 4 that fills BOX, as outlines of tracks are."""
    rows, columns = np.indices((CROP_PX, CROP_PX)) + 0.5
    across, down = (columns - BOX.center.x) / BOX.w * 2, (rows - BOX.center.y) / BOX.h * 2
    inside: NDArray[np.bool_] = across**4 + down**4 <= 1
    return inside


def store_of(root: Path, crops: Sequence[Drawn]) -> CropStore:
    """Two pictures of each track, one of each still."""
    rows = []
    for number, drawn in enumerate(crop for crop in crops for _ in range(2 if crop.track else 1)):
        image = np.full((CROP_PX, CROP_PX, 3), 90, np.uint8)
        image[is_rounded()] = np.eye(3, dtype=np.uint8)[drawn.channel] * 230
        cv2.imwrite(str(root / f"{number}.png"), image)
        labels = {"source": "drawn", "cls": drawn.cls, "track": drawn.track, "frame": number}
        rows.append({"image": f"{number}.png", **labels, "box": list(BOX), "valid": [0, 0, CROP_PX, CROP_PX]})
    (root / "annotations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return CropStore([root])


def make(store: CropStore, mixture: Mixture, geometry: Geometry = SHIFTED, search_px: int = 224) -> PairMaker:
    sides = {"template_px": search_px // 2, "search_px": search_px, "seed": 3}
    return PairMaker(store, mixture, geometry, geometry, UNCHANGED, outlines=Outlines(), **sides)


def shows(image: Image, channel: int) -> NDArray[np.bool_]:
    """Where a picture has this colour."""
    rest = np.delete(image.astype(int), channel, axis=2).max(axis=2)
    found: NDArray[np.bool_] = image[..., channel] - rest > 70
    return found


def color_of(template: Image) -> int:
    """The channel of the object in the middle of a template crop."""
    return int(template[len(template) // 2, len(template) // 2].argmax())


def edges_off(pair: Pair, channel: int) -> NDArray[np.float64]:
    """How far the box's left, top, right and bottom are from the object's, px."""
    assert pair.box is not None
    rows, columns = np.nonzero(shows(pair.search, channel))
    x, y, w, h = pair.box
    ends = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    return np.array([x, y, x + w, y + h]) - ends


SIZED = {"scale": 0.3, "aspect": 0.3, "flip": 0.5}
TURNED = {"rotation_deg": 60.0, "shear": 0.2}


@pytest.mark.parametrize(("track", "changed"), [(None, {}), (None, SIZED), ("one", SIZED), ("one", TURNED)])
def test_the_box_bounds_the_object(tmp_path: Path, track: str | None, changed: dict[str, float]) -> None:
    maker = make(store_of(tmp_path, [Drawn(RED, track)]), PLAIN, replace(SHIFTED, **changed))
    assert np.abs([edges_off(maker.pair(index), RED) for index in range(12)]).max() < 1.5


def test_the_box_is_bent_with_the_picture(tmp_path: Path) -> None:
    maker = make(store_of(tmp_path, [Drawn(RED, "one")]), PLAIN, replace(SHIFTED, shift_px=0, bend=1, bend_px=3))
    pairs = [maker.pair(index) for index in range(24)]
    assert np.abs([edges_off(pair, RED) for pair in pairs]).max() < 1.5
    moved = np.array([pair.box.center for pair in pairs if pair.box is not None]) - 112
    assert (moved.min(axis=0) < -2).all(), "to the left and up"
    assert (moved.max(axis=0) > 2).all(), "to the right and down"


def test_the_sides_of_an_outline_bend_and_not_only_its_corners() -> None:
    """Against a mask of the same polygon, bent pixel by pixel."""
    corners = np.array([(40, 60), (180, 60), (180, 160), (40, 160)], np.float32)
    mask = np.zeros((224, 224, 3), np.uint8)
    mask[60:160, 40:180] = 255
    off = []
    for seed in range(24):
        field = change.bend_field(np.random.default_rng(seed), 224, 3.0)
        rows, columns = np.nonzero(change.warp(mask, np.eye(2, 3), 224, field)[..., 0] > 127)
        ends = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        outline = change.bent(corners, field)
        off.append(np.abs([*outline.min(axis=0), *outline.max(axis=0)] - np.array(ends)))
    assert np.mean(off) < 0.4
    assert np.max(off) < 1.5


def test_what_is_cut_out_is_bent_with_its_outline(tmp_path: Path) -> None:
    store = store_of(tmp_path, [Drawn(RED), Drawn(BLUE)])
    bending = replace(SHIFTED, shift_px=0, bend=1, bend_px=5)
    pasted, kept = (make(store, replace(PLAIN, own=share), bending) for share in (1.0, 0.0))
    areas = []
    for index in range(16):
        target = color_of(kept.pair(index).template)
        areas.append([shows(maker.pair(index).search, target).sum() for maker in (pasted, kept)])
    shares = np.divide(*np.array(areas).T)
    assert shares.min() > 0.97, "nothing of the object is cut off"


def test_a_shift_is_the_same_share_of_a_smaller_crop(tmp_path: Path) -> None:
    maker = make(store_of(tmp_path, [Drawn(RED, "one")]), PLAIN, replace(SHIFTED, shift_px=64), search_px=128)
    boxes = [maker.pair(index).box for index in range(24)]
    away = np.array([box.center for box in boxes if box is not None]) - 64
    assert 24 < np.abs(away).max() < 32.5


def test_the_aspect_changes_within_its_range() -> None:
    rng, geometry = np.random.default_rng(0), replace(SHIFTED, aspect=0.3)
    linear = np.array([change.random_linear(rng, geometry) for _ in range(200)])
    assert 0.28 < np.abs(np.log(linear[:, 0, 0] / linear[:, 1, 1])).max() <= 0.3


@pytest.mark.parametrize("same_class", [0.0, 1.0])
@pytest.mark.parametrize("cls", ["shape", "other"])
@pytest.mark.parametrize("tracks", [("one", "two"), (None, None)])
def test_a_negative_shows_another_object(
    tmp_path: Path, tracks: tuple[str | None, str | None], cls: str, same_class: float
) -> None:
    store = store_of(tmp_path, [Drawn(RED, tracks[0]), Drawn(BLUE, tracks[1], cls)])
    maker = make(store, replace(PLAIN, negative=1, distractor=0.5, same_class=same_class))
    for template, search, box in map(maker.pair, range(16)):
        target = color_of(template)
        assert box is None
        assert not shows(search, target).any()
        assert shows(search, RED + BLUE - target).any()


def test_a_distractor_lies_beside_the_target(tmp_path: Path) -> None:
    store = store_of(tmp_path, [Drawn(RED, "one"), Drawn(BLUE, "two")])
    alone, accompanied = (make(store, replace(PLAIN, distractor=share)) for share in (0.0, 1.0))
    beside = 0
    for index in range(24):
        first, second = alone.pair(index), accompanied.pair(index)
        target = color_of(first.template)
        assert second.box == first.box
        assert shows(second.search, target).sum() > 0.85 * shows(first.search, target).sum()
        beside += shows(second.search, RED + BLUE - target).any()
    assert beside > 18, "three places may all be taken by the target"


@pytest.mark.parametrize("track", [None, "one"])
@pytest.mark.parametrize("kind", ["negative", "distractor", "occluder", "crowd"])
def test_where_there_is_one_object_alone_it_is_shown_once(tmp_path: Path, track: str | None, kind: str) -> None:
    maker = make(store_of(tmp_path, [Drawn(RED, track)]), replace(PLAIN, **{kind: 1.0}))
    assert np.abs([edges_off(maker.pair(index), RED) for index in range(12)]).max() < 1.5


def test_a_pair_loses_its_colour_as_a_whole(tmp_path: Path) -> None:
    maker = make(store_of(tmp_path, [Drawn(RED, "one")]), replace(PLAIN, grey=0.5))
    pairs = [maker.pair(index) for index in range(16)]
    colored = [(shows(pair.template, RED).any(), shows(pair.search, RED).any()) for pair in pairs]
    assert set(colored) == {(True, True), (False, False)}
