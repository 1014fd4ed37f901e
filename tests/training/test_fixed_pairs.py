"""Judging a network on pairs that stay the same."""

from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import torch

from siamedge.export.families.dart import Dart, DartConfig
from siamedge.runtime.errors import PlaceError
from siamedge.training.feeding.fixed import Judgement, append_judgements, best_overlap, drawn_pairs, read_judgements
from siamedge.training.networks.targets import make_targets
from siamedge.training.recipes.dart import RECIPES

CONFIG = DartConfig(
    layers=((4, 2), (8, 2), (8, 2), (8, 2)),
    channels=8,
    head=8,
    tower=1,
    template_px=64,
    search_px=128,
    has_quality=True,
)
RECIPE = replace(RECIPES["smoke"], network=CONFIG)


def test_the_box_of_the_best_cell_counts() -> None:
    boxes = torch.tensor([[72.0, 56.0, 32.0, 32.0], [72.0, 56.0, 32.0, 32.0]])
    targets = make_targets(boxes, 8, 16)
    cls, quality = torch.full((2, 1, 8, 8), -9.0), torch.full((2, 1, 8, 8), 9.0)
    cls[0, 0, 3, 4] = 9.0  # the target's own cell, whose centre is (72, 56)
    cls[1, 0, 3, 5] = 9.0  # one to the right, which the box just fails to reach
    log_ltrb = torch.full((2, 4, 8, 8), 4.0).log()  # 16 px to all sides
    found = best_overlap(Dart(CONFIG), (cls, log_ltrb, quality), targets)
    assert found.tolist() == pytest.approx([1.0, (16 * 32) / (48 * 32)])


def test_a_bad_quality_outweighs_a_good_score() -> None:
    targets = make_targets(torch.tensor([[72.0, 56.0, 32.0, 32.0]]), 8, 16)
    cls, quality = torch.full((1, 1, 8, 8), 2.0), torch.full((1, 1, 8, 8), -9.0)
    cls[0, 0, 0, 0], quality[0, 0, 3, 4] = 3.0, 1.0
    found = best_overlap(Dart(CONFIG), (cls, torch.full((1, 4, 8, 8), 4.0).log(), quality), targets)
    assert found.item() == pytest.approx(1.0)


def test_drawn_pairs_are_the_same_again_and_have_their_target(tmp_path: Path) -> None:
    one, two = drawn_pairs(tmp_path / "a", RECIPE), drawn_pairs(tmp_path / "b", RECIPE)
    network = Dart(CONFIG).eval()
    assert one.judge(network, RECIPE, 0) == two.judge(network, RECIPE, 0)
    for batch in one.batches:
        assert ((batch.boxes[:, :2] > 0) & (batch.boxes[:, :2] < 128)).all()


@pytest.mark.parametrize("left", ["drawn", "drawn.part"])
def test_a_drawing_that_was_broken_off_is_made_anew(tmp_path: Path, left: str) -> None:
    (tmp_path / left / "crops").mkdir(parents=True)
    (tmp_path / left / "annotations.jsonl").write_text("{}\n")
    assert drawn_pairs(tmp_path / "drawn", RECIPE).batches
    assert not (tmp_path / "drawn.part").exists()


def test_a_drawing_that_cannot_be_written_is_told_and_leaves_nothing_to_be_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as full:
        full.setattr(cv2, "imwrite", lambda path, picture: False)
        with pytest.raises(PlaceError, match=r"drawn\.part/crops/0000_00\.png: cannot be written$"):
            drawn_pairs(tmp_path / "drawn", RECIPE)
    assert not (tmp_path / "drawn").exists()
    assert drawn_pairs(tmp_path / "drawn", RECIPE).batches


def test_judgements_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = [Judgement(0, "drawn", 2.5, 0.25), Judgement(32, "drawn", 1.5, 0.5)]
    append_judgements(tmp_path / "fixed.csv", rows[:1])
    append_judgements(tmp_path / "fixed.csv", rows[1:])
    assert read_judgements(tmp_path / "fixed.csv") == rows
