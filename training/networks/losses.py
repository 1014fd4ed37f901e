"""Losses of the anchor-free head, computed in float32."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from siamedge.export.families.dart import DartConfig
from siamedge.training.networks.targets import Targets


@dataclass(frozen=True, slots=True)
class LossWeights:
    """How much each part counts; the last three are against a teacher (teaching/distillation.py), if there is one."""

    cls: float = 1.0
    box: float = 2.0
    quality: float = 0.5
    features: float = 1.0
    score: float = 1.0
    teacher_box: float = 0.0


class Losses(NamedTuple):
    """Scalars, unweighted, and their weighted total; the last three are 0 without a teacher."""

    total: Tensor
    cls: Tensor
    box: Tensor
    quality: Tensor
    features: Tensor
    score: Tensor
    teacher_box: Tensor


def focal_bce(logits: Tensor, label: Tensor) -> Tensor:
    """Focal binary cross-entropy over the cells that are labelled, divided by the number of positives.

    Source: Lin et al. 2017, alpha .25, gamma 2.
    """
    probability = logits.sigmoid()
    truth = label.clamp(min=0)
    distance = (probability - truth).abs()
    alpha = 0.25 * truth + 0.75 * (1 - truth)
    loss = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none") * alpha * distance**2
    return (loss * (label >= 0)).sum() / truth.sum().clamp(min=1)


def overlap(ltrb: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU of boxes given by distances from one point, (K, 4) each -> (K,), (K,).

    Source: Rezatofighi et al. 2019.
    """
    low, high = torch.minimum(ltrb, truth), torch.maximum(ltrb, truth)
    shared = (low[:, 0] + low[:, 2]).clamp(min=0) * (low[:, 1] + low[:, 3]).clamp(min=0)
    union = _area(ltrb) + _area(truth) - shared
    hull = _area(high)
    iou = shared / union.clamp(min=1e-6)
    return iou, iou - (hull - union) / hull.clamp(min=1e-6)


def _area(ltrb: Tensor) -> Tensor:
    return (ltrb[:, 0] + ltrb[:, 2]).clamp(min=0) * (ltrb[:, 1] + ltrb[:, 3]).clamp(min=0)


def dart_losses(outputs: tuple[Tensor, ...], targets: Targets, config: DartConfig, weights: LossWeights) -> Losses:
    """Compare a network's outputs with the truth.

    Args:
        outputs: cls (N, 1, S, S), log_ltrb (N, 4, S, S) and, with has_quality, quality (N, 1, S, S).
        targets: Of the same batch.
        config: The network's.
        weights: Of the parts.
    """
    cls = focal_bce(outputs[0].float()[:, 0], targets.label)
    positive = targets.label > 0
    ltrb = reach_at(outputs[1], positive, config)
    iou, giou = overlap(ltrb, targets.ltrb.permute(0, 2, 3, 1)[positive])
    box = (1 - giou).mean() if len(giou) else cls.new_zeros(())
    quality = cls.new_zeros(())
    if config.has_quality and len(iou):
        logits = outputs[2].float()[:, 0][positive]
        quality = functional.binary_cross_entropy_with_logits(logits, iou.detach().clamp(0, 1))
    total = weights.cls * cls + weights.box * box + weights.quality * quality
    untaught = cls.new_zeros(())
    return Losses(total, cls, box, quality, untaught, untaught, untaught)


def reach_at(log_ltrb: Tensor, cells: Tensor, config: DartConfig) -> Tensor:
    """Distances from the centres of some cells to the sides of their boxes, (K, 4) search-crop px.

    Args:
        log_ltrb: (N, 4, S, S), the network's output.
        cells: (N, S, S) bool, K of them true.
        config: The network's.
    """
    logs = log_ltrb.float().permute(0, 2, 3, 1)[cells]
    return config.box_scale * logs.clamp(max=config.max_log).exp()
