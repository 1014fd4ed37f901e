"""Crops and pairs: what a store keeps, that pairs repeat, and that boxes are where the object is."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Box
from siamedge.training.crops import augmentation as change
from siamedge.training.crops.augmentation import Appearance, Geometry
from siamedge.training.crops.cutouts import Outlines, round_outline
from siamedge.training.crops.store import CropStore, read_rows
from siamedge.training.crops.synthetic import write_synthetic
from siamedge.training.feeding.source import PairSource
from siamedge.training.pairs.loader import batches
from siamedge.training.pairs.pairs import Mixture, Pair, PairMaker
from siamedge.training.recipes.dart import RECIPES, Calm

PLAIN = Mixture(tracks=1, negative=0, distractor=0, occluder=0, grey=0, flat=1)
STILL_LIFE = Geometry(far=0, scale=0, aspect=0, rotation_deg=0, wild=0, shear=0, flip=0, bend=0)
UNCHANGED = Appearance(gain=0, channel_gain=0, gamma=0, motion_blur=0, low_resolution=0, noise=0, jpeg=0, sharp=0)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawn")
    write_synthetic(root, tracks=4, frames=3, seed=0)
    return root


def make(root: Path, mixture: Mixture = PLAIN, geometry: Geometry = STILL_LIFE) -> PairMaker:
    sides = {"template_px": 128, "search_px": 256, "seed": 5}
    return PairMaker(CropStore([root]), mixture, geometry, geometry, UNCHANGED, outlines=Outlines(), **sides)


def test_a_context_square_is_96_px_wide(root: Path) -> None:
    for crop in CropStore([root]).crops:
        margin = (crop.box.w + crop.box.h) / 2
        assert np.sqrt((crop.box.w + margin) * (crop.box.h + margin)) == pytest.approx(96, abs=1.5)


def test_appended_rows_are_picked_up_once_complete(root: Path, tmp_path: Path) -> None:
    lines = (root / "annotations.jsonl").read_text().splitlines()
    (tmp_path / "crops").symlink_to(root / "crops")
    rows = tmp_path / "annotations.jsonl"
    rows.write_text(lines[0] + "\n" + lines[1][:20])
    store = CropStore([tmp_path])
    assert len(store.crops) == 1
    rows.write_text("\n".join(lines[:3]) + "\n")
    assert store.refresh() == 2
    assert store.refresh() == 0


def test_held_out_tracks_are_left_out(root: Path) -> None:
    assert set(CropStore([root], holdout=("synthetic_1", "synthetic_3")).tracks) == {"synthetic_0", "synthetic_2"}


def test_no_crops_is_a_source_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no crops"):
        CropStore([tmp_path])


def test_a_damaged_crop_is_named(tmp_path: Path) -> None:
    row = {"image": "a.png", "source": "s", "cls": "c", "track": None, "box": [0, 0, 1, 1], "valid": [0, 0, 9, 9]}
    (tmp_path / "annotations.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(SourceError, match=r"a\.png: unreadable"):
        CropStore([tmp_path])


def test_a_last_row_without_an_end_of_line_counts(root: Path, tmp_path: Path) -> None:
    (tmp_path / "crops").symlink_to(root / "crops")
    rows = tmp_path / "annotations.jsonl"
    rows.write_text((root / "annotations.jsonl").read_text().rstrip("\n"))
    store = CropStore([tmp_path])
    assert len(store.crops) == 12
    rows.write_text((root / "annotations.jsonl").read_text())
    assert store.refresh() == 0


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([1], "no JSON object: [1]"),
        ({"box": ["a", 1, 2, 3]}, "box ['a', 1, 2, 3]"),
        ({"box": [1, 2, 3]}, "box [1, 2, 3]"),
        ({"box": [1, 2, float("nan"), 4]}, "box [1, 2, nan, 4]"),
        ({"box": [1, 2, -3, 4]}, "box [1, 2, -3, 4]"),
        ({"valid": [0, 0, 0, 0]}, "valid [0, 0, 0, 0]"),
        ({"valid": [400, 0, 500, 9]}, "valid [400, 0, 500, 9]"),
    ],
)
def test_a_row_that_is_no_crop_is_named_with_its_line(tmp_path: Path, row: object, message: str) -> None:
    usual = {"image": "a.png", "source": "s", "cls": "c", "track": None, "box": [0, 0, 1, 1], "valid": [0, 0, 9, 9]}
    lines = [usual, {**usual, **row} if isinstance(row, dict) else row]
    (tmp_path / "annotations.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    with pytest.raises(SourceError) as caught:
        read_rows(tmp_path)
    assert str(caught.value) == f"{tmp_path}/annotations.jsonl:2: {message}"


def test_the_same_number_gives_the_same_pair(root: Path) -> None:
    lively = replace(Mixture(), tracks=0.5)
    first, second = make(root, lively, Geometry()).pair(7), make(root, lively, Geometry()).pair(7)
    assert (first.template == second.template).all()
    assert (first.search == second.search).all()
    assert first.box == second.box


def test_worker_processes_change_nothing(root: Path) -> None:
    starts = range(0, 12, 4)
    here, elsewhere = (list(batches(make(root), starts, 4, workers)) for workers in (0, 2))
    assert all((a.searches == b.searches).all() for a, b in zip(here, elsewhere, strict=True))


KILLED_AMID_BATCHES = """
import os
import signal
import sys
from siamedge.training.pairs.loader import batches
class Maker:
    def batch(self, start, size):
        return bytes(1 << 20)  # more than a pipe holds
next(batches(Maker(), range(100), 1, 1))
print("made", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_worker_ends_with_the_process_that_it_works_for() -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED_AMID_BATCHES], stdout=subprocess.PIPE, text=True) as process:
        out, _ = process.communicate(timeout=60)  # until the worker, too, has closed what it inherited
    assert (process.returncode, out) == (-signal.SIGKILL, "made\n")


def test_calm_batches_have_their_share_and_change_less(root: Path, tmp_path: Path) -> None:
    still = Geometry(shift_px=0, far=0, scale=0, aspect=0, rotation_deg=0, wild=0, shear=0, flip=0, bend=0)
    calm = Calm(0.25, Mixture(tracks=0, negative=0, paste=0, distractor=0, occluder=0), still, Appearance())
    mixture = Mixture(tracks=0, negative=1)
    recipe = replace(RECIPES["smoke"], mixture=mixture, calm=calm, drawn_tracks=0)
    maker = PairSource(recipe, CropStore([root]), tmp_path).maker()
    # The usual pairs have no target here; the calm ones have it where it was, in the middle of the search crop.
    middles = [maker.batch(start, 4).boxes[:, :2] for start in range(0, 32, 4)]
    assert [bool(np.isnan(middle).all()) for middle in middles] == [True, True, True, False] * 2
    assert np.allclose(middles[3], recipe.network.search_px / 2, atol=1.0)


def test_the_box_is_where_the_object_was_moved(root: Path) -> None:
    maker = make(root, replace(PLAIN, tracks=0, paste=0))
    pairs = [maker.pair(index) for index in range(12)]
    for template, search, box in pairs:
        assert box is not None
        x, y = (round(value) for value in box.center)
        inner = search[y - 12 : y + 12, x - 12 : x + 12].astype(int)
        assert np.abs(inner - template[52:76, 52:76].astype(int)).mean() < 40  # the template is jittered by 2.5 px
    assert max(abs(pair.box.center.x - 128) for pair in pairs if pair.box) > 20


def around_target(pair: Pair, reach: int) -> np.ndarray:
    """What the search crop shows so many pixels around the target's centre, as far as it reaches."""
    assert pair.box is not None
    x, y = (round(value) for value in pair.box.center)
    return pair.search[max(0, y - reach) : y + reach, max(0, x - reach) : x + reach].astype(int)


def test_an_object_moves_over_its_own_surroundings(root: Path) -> None:
    still, moved = (make(root, replace(PLAIN, tracks=0, paste=0, own=own)) for own in (0.0, 1.0))
    on_it, beside_it = [], []
    for index in range(12):
        alone, over = still.pair(index), moved.pair(index)
        assert over.box == pytest.approx(alone.box, abs=0.5)
        change_on_it = around_target(over._replace(box=alone.box), 8) - around_target(alone, 8)
        brighter = np.median(change_on_it)  # every pair has its own brightness
        on_it.append(np.abs(change_on_it - brighter).mean())
        beside_it.append(np.abs((over.search.astype(int) - alone.search)[:, :40] - brighter).mean())
    assert max(on_it) < 2
    assert min(beside_it) > 4


def test_another_object_lies_under_the_edge_of_the_target(root: Path) -> None:
    alone, crowded = (make(root, replace(PLAIN, tracks=0, own=1, crowd=crowd)) for crowd in (0.0, 1.0))
    beside = []
    for index in range(12):
        first, second = alone.pair(index), crowded.pair(index)
        assert second.box == pytest.approx(first.box)
        on_it, around = (np.abs(around_target(second, n) - around_target(first, n)) for n in (8, 64))
        brighter = np.median(on_it)
        assert np.abs(on_it - brighter).mean() < 2, "it covers the target"
        beside.append((np.abs(around - brighter) > 20).mean())
    assert min(beside) > 0.03


def test_an_object_alone_is_smeared_by_motion(root: Path) -> None:
    sharp, smeared = (make(root, replace(PLAIN, tracks=0, own=1, smear=smear)) for smear in (0.0, 1.0))
    softer = []
    for index in range(12):
        first, second = sharp.pair(index), smeared.pair(index)
        assert second.box == first.box
        target = [around_target(pair, 16) for pair in (first, second)]
        detail = [np.abs(np.diff(each, axis=0)).mean() + np.abs(np.diff(each, axis=1)).mean() for each in target]
        softer.append(detail[1] < 0.95 * detail[0])
        corner = [pair.search[:16, :16].astype(int) for pair in (first, second)]
        steps = [np.abs(np.diff(each, axis=0)).mean() for each in corner]
        assert steps[1] == pytest.approx(steps[0], rel=0.2, abs=0.5), "what is behind it stays sharp"
    assert sum(softer) >= 8, "all but those smeared by 3 px, or along their edges"


def test_negatives_have_no_box(root: Path) -> None:
    maker = make(root, replace(PLAIN, negative=1))
    assert maker.pair(0).box is None
    assert np.isnan(maker.batch(0, 2).boxes).all()


def test_a_rounded_box_keeps_its_bounds() -> None:
    outline = round_outline(Box(10, 20, 40, 60))
    assert outline.min(axis=0) == pytest.approx([10, 20], abs=1e-4)
    assert outline.max(axis=0) == pytest.approx([50, 80], abs=1e-4)


def test_a_quarter_turn_swaps_width_and_height() -> None:
    turn = change.affine_about(np.array([[0.0, -1.0], [1.0, 0.0]]), np.zeros(2, np.float32), np.zeros(2, np.float32))
    turned = change.transform(round_outline(Box(-20, -30, 40, 60)), turn)
    assert np.ptp(turned, axis=0) == pytest.approx([60, 40], abs=1e-4)


def test_bending_by_a_constant_is_a_shift() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    field = np.full((32, 32, 2), 3, np.float32)
    bent = change.warp(picture, np.eye(2, 3), 32, field)
    assert (bent[:29, :29] == picture[3:, 3:]).all()


@pytest.mark.parametrize("is_bent", [False, True])
@pytest.mark.parametrize("linear", [np.diag([0.5, 0.5]), np.diag([-1.0, 1.0]), np.array([[0.0, -0.8], [0.8, 0.0]])])
def test_a_picture_is_mapped_as_its_points_are(linear: NDArray[np.float64], *, is_bent: bool) -> None:
    """Shrunk, mirrored, turned: the centre of a bright square is where `transform` takes it."""
    picture = np.zeros((96, 96, 3), np.uint8)
    picture[40:52, 30:50] = 200
    affine = change.affine_about(linear, np.array([40.0, 46.0], np.float32), np.array([33.0, 29.0], np.float32))
    field = np.zeros((64, 64, 2), np.float32) if is_bent else None
    plane = change.warp(picture, affine, 64, field)[..., 0].astype(float)
    rows, columns = np.indices(plane.shape) + 0.5
    found = [(plane * places).sum() / plane.sum() for places in (columns, rows)]
    assert found == pytest.approx(change.transform(np.array([[40.0, 46.0]], np.float32), affine)[0], abs=0.03)
