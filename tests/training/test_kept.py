"""Pairs that are drawn once and learnt from several times."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from siamedge.export.families.dart import Dart, DartConfig, load_dart
from siamedge.runtime.errors import SourceError
from siamedge.training.feeding import kept
from siamedge.training.feeding.kept import KeptPairs, early_maps, later_part
from siamedge.training.pairs.pairs import Batch
from siamedge.training.recipes.dart import RECIPES
from siamedge.training.running.loop import train
from siamedge.training.teaching.teacher import View

NETWORK = DartConfig(
    layers=((8, 2), (16, 2), (24, 2), (24, 2)), channels=16, head=16, tower=1, template_px=64, search_px=128
)
RECIPE = replace(
    RECIPES["smoke"],
    network=NETWORK,
    branches=False,
    frozen_layers=2,
    looks=2,
    losses=replace(RECIPES["smoke"].losses, features=0.0),
    drawn_tracks=3,
    pairs=64,
    epoch_pairs=32,
    batch=8,
    workers=0,
)


@pytest.fixture(autouse=True)
def thread_count() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Numbered:
    """Pairs whose crops, boxes and view tell which they are; counts how often it is asked."""

    def __init__(self) -> None:
        self.starts: list[int] = []

    def batch(self, start: int, size: int) -> Batch:
        self.starts.append(start)
        numbers = np.arange(start, start + size)
        crops = [np.full((size, px, px, 3), numbers[:, None, None, None], np.uint8) for px in (64, 128)]
        boxes = np.repeat(numbers[:, None], 4, 1).astype(np.float32)
        score = np.broadcast_to(boxes[:, :1, None], (size, 8, 8))
        return Batch(crops[0], crops[1], boxes, View(np.empty(0), np.empty(0), score, boxes + 0.5))


def network(seed: int = 0) -> Dart:
    torch.manual_seed(seed)
    return Dart(NETWORK).eval()


def drawn(folder: Path, source: Numbered, stop_after: int = 99) -> KeptPairs:
    pairs = KeptPairs(RECIPE, folder)
    steps = pairs.draw(source, network(), lambda: len(source.starts) >= stop_after)
    assert list(steps) == [start + 8 for start in source.starts]
    return pairs


@torch.no_grad()
def test_the_later_part_goes_on_where_the_early_layers_end() -> None:
    whole, random = network(), np.random.default_rng(0)
    templates, searches = (random.integers(0, 256, (4, px, px, 3), np.uint8) for px in (64, 128))
    expected = whole(*(torch.from_numpy(crops).permute(0, 3, 1, 2).float() for crops in (templates, searches)))
    for layers in (1, 3):
        maps = [early_maps(whole, layers, crops) for crops in (templates, searches)]
        assert maps[1].shape == (4, 128 >> layers, 128 >> layers, NETWORK.layers[layers - 1][0])
        found = later_part(whole, layers)(*(torch.from_numpy(m).permute(0, 3, 1, 2).float() for m in maps))
        for ours, theirs in zip(found, expected, strict=True):
            assert torch.allclose(ours, theirs, atol=0.01 * theirs.abs().max().item())
        assert not torch.allclose(found[0], expected[0] + 0.1 * expected[0].std())


def test_the_later_part_shares_its_parameters() -> None:
    whole = network()
    part = later_part(whole, 2)
    assert {id(p) for p in part.parameters()} < {id(p) for p in whole.parameters()}
    assert len(whole.backbone) == 5
    assert len(part.backbone) == 3
    assert whole.config.mean == 114.0


def test_each_pair_is_drawn_once_and_seen_as_often_as_asked(tmp_path: Path) -> None:
    source = Numbered()
    pairs = drawn(tmp_path, source)
    assert source.starts == [0, 8, 16, 24]
    passes = [
        [batch for start in range(begin, begin + 32, 8) for batch in [pairs.batch(start, 8)]] for begin in (0, 32)
    ]
    orders = [[int(box[0]) for batch in batches for box in batch.boxes] for batches in passes]
    assert [sorted(each) for each in orders] == [list(range(32))] * 2
    assert orders[0] != orders[1]


def test_what_is_kept_of_a_pair_stays_together(tmp_path: Path) -> None:
    pairs = drawn(tmp_path, Numbered())
    batch = pairs.batch(16, 8)
    assert batch.view is not None
    for row, number in enumerate(batch.boxes[:, 0].astype(int)):
        alone = Numbered().batch(number, 1)
        assert np.array_equal(batch.templates[row], early_maps(network(), 2, alone.templates)[0])
        assert np.array_equal(batch.searches[row], early_maps(network(), 2, alone.searches)[0])
        assert np.all(batch.view.score[row] == number)
        assert np.all(batch.view.box[row] == number + 0.5)


def test_drawing_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    drawn(tmp_path / "two", Numbered(), stop_after=2)
    late = Numbered()
    two = KeptPairs(RECIPE, tmp_path / "two", resume=True)
    assert two.drawn == 16
    assert list(two.draw(late, network(), lambda: False)) == [24, 32]
    assert late.starts == [16, 24]
    one = drawn(tmp_path / "one", Numbered())
    for ours, theirs in zip(two.batch(40, 8)[:3], one.batch(40, 8)[:3], strict=True):
        assert np.array_equal(ours, theirs)


def test_a_run_learns_from_kept_pairs_and_leaves_the_frozen_layers_and_no_pairs(tmp_path: Path) -> None:
    counts: list[tuple[int, int]] = []
    result = train(RECIPE, dataset_root=[], out=tmp_path, on_drawn=lambda *count: counts.append(count))
    assert counts == [(8, 32), (16, 32), (24, 32), (32, 32)]
    assert result.pairs == 64
    assert not (tmp_path / "kept").exists()
    torch.manual_seed(RECIPE.seed)
    before, after = Dart(NETWORK).state_dict(), load_dart(result.weights).state_dict()
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    assert same == {f"backbone.{layer}.{kind}" for layer in (0, 1) for kind in ("weight", "bias")}


@pytest.mark.parametrize("answers", [2, 6])
def test_a_run_that_is_stopped_in_drawing_or_learning_goes_on_to_the_same_end(tmp_path: Path, answers: int) -> None:
    whole = train(RECIPE, dataset_root=[], out=tmp_path / "whole")
    stops = iter([False] * answers)
    early = train(RECIPE, dataset_root=[], out=tmp_path / "two", should_stop=lambda: next(stops, True))
    assert early.pairs == {2: 0, 6: 16}[answers]
    late = train(RECIPE, dataset_root=[], out=tmp_path / "two", resume=True)
    one, two = load_dart(whole.weights).state_dict(), load_dart(late.weights).state_dict()
    assert all(torch.allclose(one[name], two[name], atol=1e-6) for name in one)


def test_pairs_that_another_run_left_are_not_taken_for_this_one_s(tmp_path: Path) -> None:
    train(RECIPE, dataset_root=[], out=tmp_path, should_stop=lambda: True)
    assert KeptPairs(RECIPE, tmp_path / "kept", resume=True).drawn == 8
    counts: list[int] = []
    shorter = replace(RECIPE, pairs=16, seed=2)
    train(shorter, dataset_root=[], out=tmp_path, on_drawn=lambda drawn, count: counts.append(drawn))
    assert counts == [8]


def test_a_run_that_has_ended_draws_nothing_when_it_is_resumed(tmp_path: Path) -> None:
    train(RECIPE, dataset_root=[], out=tmp_path)
    counts: list[int] = []
    train(RECIPE, dataset_root=[], out=tmp_path, resume=True, on_drawn=lambda drawn, count: counts.append(drawn))
    assert not counts
    assert not (tmp_path / "kept").exists()


def test_too_small_a_disk_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        free: int = 100_000

    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage())
    expected = r"32 pairs take 0\.0 GB, 0\.0 GB are free"
    with pytest.raises(SourceError, match=expected):
        drawn(tmp_path, Numbered())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        {"frozen_layers": 0},
        {"branches": True},
        {"weight_bits": 7},
        {"losses": replace(RECIPE.losses, features=0.5)},
    ],
)
def test_a_recipe_whose_pairs_change_from_look_to_look_keeps_none(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="pairs are kept only for frozen layers and without features"):
        KeptPairs(replace(RECIPE, **change), tmp_path)  # type: ignore[arg-type]


def test_every_recipe_that_keeps_pairs_may(tmp_path: Path) -> None:
    keeping = [recipe for recipe in RECIPES.values() if recipe.looks > 1]
    assert keeping
    for recipe in keeping:
        assert KeptPairs(recipe, tmp_path / recipe.name).count * recipe.looks >= recipe.pairs
    assert kept.RELU6_TOP == 6
