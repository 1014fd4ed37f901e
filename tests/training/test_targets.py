"""Targets and losses against values worked out by hand."""

import math

import pytest
import torch

from siamedge.export.families.dart import DartConfig
from siamedge.training.networks.losses import LossWeights, dart_losses, overlap
from siamedge.training.networks.targets import make_targets

CONFIG = DartConfig(has_quality=True)


def test_cells_near_the_centre_are_positive_and_far_ones_negative() -> None:
    targets = make_targets(torch.tensor([[136.0, 136.0, 64.0, 128.0]]), 16, 16)
    label = targets.label[0]
    assert label[8, 8] == 1  # its centre is (136, 136)
    assert label[9, 8] == 1  # 16 px below: an eighth of the height
    assert label[8, 9] == -1  # 16 px right: a quarter of the width, on the inner ellipse
    assert label[8, 11] == 0
    assert label[0, 0] == 0


def test_distances_lead_from_the_cell_to_the_sides() -> None:
    targets = make_targets(torch.tensor([[136.0, 136.0, 64.0, 128.0]]), 16, 16)
    assert targets.ltrb[0, :, 9, 8].tolist() == [32, 80, 32, 48]


def test_a_tiny_target_still_has_one_positive_cell() -> None:
    targets = make_targets(torch.tensor([[131.0, 140.0, 3.0, 3.0]]), 16, 16)
    assert (targets.label == 1).sum() == 1
    assert targets.label[0, 8, 8] == 1


def test_an_absent_target_leaves_only_negatives() -> None:
    targets = make_targets(torch.full((1, 4), math.nan), 16, 16)
    assert (targets.label == 0).all()
    assert targets.ltrb.isfinite().all()


def test_overlap_of_a_box_and_one_of_twice_its_width() -> None:
    iou, giou = overlap(torch.tensor([[10.0, 10.0, 10.0, 10.0]]), torch.tensor([[20.0, 10.0, 20.0, 10.0]]))
    assert iou.item() == pytest.approx(0.5)
    assert giou.item() == pytest.approx(0.5)


def test_generalised_overlap_punishes_the_empty_part_of_the_hull() -> None:
    iou, giou = overlap(torch.tensor([[10.0, 10.0, 10.0, 0.0]]), torch.tensor([[0.0, 10.0, 10.0, 10.0]]))
    assert iou.item() == pytest.approx(100 / 300)
    assert giou.item() == pytest.approx(100 / 300 - (400 - 300) / 400)


def test_the_truth_itself_costs_nothing() -> None:
    targets = make_targets(torch.tensor([[136.0, 120.0, 64.0, 96.0]]), 16, 16)
    cls = torch.where(targets.label > 0, 20.0, -20.0)[:, None]
    log_ltrb = (targets.ltrb.clamp(min=0.1) / CONFIG.box_scale).log()
    losses = dart_losses((cls, log_ltrb, torch.full((1, 1, 16, 16), 20.0)), targets, CONFIG, LossWeights())
    assert losses.total.item() == pytest.approx(0.0, abs=1e-3)


def test_a_batch_without_a_target_has_a_finite_loss() -> None:
    targets = make_targets(torch.full((2, 4), math.nan), 16, 16)
    outputs = tuple(torch.zeros(2, channels, 16, 16, requires_grad=True) for channels in (1, 4, 1))
    assert dart_losses(outputs, targets, CONFIG, LossWeights()).total.isfinite()
