"""Targets and losses against values worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from siamedge.export.families.dart import DartConfig
from siamedge.training.networks.losses import LossWeights, dart_losses, focal_bce, overlap, reach_at
from siamedge.training.networks.targets import Targets, make_targets

CONFIG = DartConfig(has_quality=True)


def test_cells_near_the_centre_are_positive_and_far_ones_negative() -> None:
    targets = make_targets(torch.tensor([[136.0, 136.0, 64.0, 128.0]]), 16, 16)
    label = targets.label[0]
    assert label[8, 8] == 1  # its centre is (136, 136)
    assert label[9, 8] == 1  # 16 px below: an eighth of the height
    assert label[8, 9] == -1  # 16 px right: a quarter of the width, on the inner ellipse
    assert label[8, 10] == -1  # 32 px right: half the width, on the outer ellipse
    assert label[9, 10] == 0  # 32 px right and 16 px below: just beyond it
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


LOG_4, LOG_5 = math.log(4), math.log(5)
"""A logit of log 4 is a probability of .8; its cross-entropy is log 1.25 where it is true, log 5 where it is not."""


@pytest.mark.parametrize(
    ("logits", "labels", "expected"),
    [
        ([LOG_4], [1], 0.25 * 0.2**2 * math.log(1.25)),
        ([LOG_4], [0], 0.75 * 0.8**2 * LOG_5),
        ([LOG_4, -LOG_4], [-1, 1], 0.25 * 0.8**2 * LOG_5),
        ([LOG_4, -LOG_4], [1, 1], (0.25 * 0.2**2 * math.log(1.25) + 0.25 * 0.8**2 * LOG_5) / 2),
    ],
    ids=["found", "false alarm", "missed, another cell passed over", "a mean over two positives"],
)
def test_easy_cells_and_negatives_weigh_less(logits: list[float], labels: list[int], expected: float) -> None:
    assert focal_bce(torch.tensor(logits), torch.tensor(labels, dtype=torch.float32)).item() == pytest.approx(expected)


def one_cell(log_ltrb: list[float], quality: float) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs of a single cell that is said to be on the target with .8."""
    return (
        torch.full((1, 1, 1, 1), LOG_4),
        torch.tensor(log_ltrb).reshape(1, 4, 1, 1).requires_grad_(),
        torch.full((1, 1, 1, 1), quality, requires_grad=True),
    )


ON_TARGET = Targets(torch.ones(1, 1, 1), torch.tensor([20.0, 10.0, 20.0, 10.0]).reshape(1, 4, 1, 1))
HALF_AS_WIDE = [math.log(10 / CONFIG.box_scale)] * 4


def test_the_total_is_the_weighted_sum_of_the_parts() -> None:
    weights = LossWeights(cls=3.0, box=5.0, quality=7.0)
    losses = dart_losses(one_cell(HALF_AS_WIDE, LOG_4), ON_TARGET, CONFIG, weights)
    cls = 0.25 * 0.2**2 * math.log(1.25)
    quality = (math.log(1.25) + LOG_5) / 2  # half of the truth is covered
    assert losses.cls.item() == pytest.approx(cls)
    assert losses.box.item() == pytest.approx(1 - 0.5)
    assert losses.quality.item() == pytest.approx(quality)
    assert losses.total.item() == pytest.approx(3 * cls + 5 * 0.5 + 7 * quality)


def test_quality_learns_the_overlap_and_leaves_the_box_alone() -> None:
    outputs = one_cell(HALF_AS_WIDE, LOG_4)
    dart_losses(outputs, ON_TARGET, CONFIG, LossWeights(cls=0, box=0, quality=1)).total.backward()
    assert outputs[2].grad is not None
    assert outputs[2].grad.item() == pytest.approx(0.8 - 0.5)
    assert outputs[1].grad is not None
    assert not outputs[1].grad.any()


def test_a_side_reaches_no_further_than_its_limit() -> None:
    logs = torch.tensor([0.0, 4.2, 4.3, 90.0]).reshape(1, 4, 1, 1)
    reach = reach_at(logs, torch.ones(1, 1, 1, dtype=torch.bool), CONFIG)
    assert reach.flatten().tolist() == pytest.approx([4, *[4 * math.exp(4.2)] * 3])


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
