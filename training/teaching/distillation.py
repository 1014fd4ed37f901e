"""Losses against a teacher's view of the same pairs."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from siamedge.export.families.dart import Dart
from siamedge.training.networks.losses import overlap
from siamedge.training.teaching.teacher import TEACHER_CHANNELS, View

_LEAST_PX = 0.5
"""A teacher's box that does not contain a cell is taken to begin so near to it."""


class Distiller(nn.Module):
    """Compares a network with its teacher; has parameters of its own, which are trained and then thrown away.

    They start as the least-squares fit to the first batch: from random ones, what they have yet to learn would be
    asked of a trained network.

    Args:
        network: The student; what goes into its last 1x1 convolution is what is compared. Call it between two losses.
    """

    def __init__(self, network: Dart) -> None:
        super().__init__()
        width = network.config.layers[-1][0]
        self.adapter = nn.Conv2d(width, TEACHER_CHANNELS, 1)
        self.register_buffer("is_fitted", torch.zeros((), dtype=torch.bool))
        self._seen: list[Tensor] = []
        network.backbone[-1].register_forward_pre_hook(self._see)

    def _see(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._seen.append(inputs[0])

    def forget(self) -> None:
        """Drop what the network showed so far."""
        self._seen.clear()

    def features(self, view: View) -> Tensor:
        """Mean squared distance between adapted features of both crops and the teacher's.

        Each of the teacher's channels is brought to mean 0 and deviation 1 over the batch, so a network that has
        learned nothing gets 1. Where the network has another number of cells in the same picture, the teacher's are
        read between theirs.

        Source: Romero et al. 2015 (FitNets), with normalised targets.
        """
        template, search = self._seen
        self.forget()
        pairs = [(mine, _sized(theirs, mine)) for mine, theirs in ((template, view.template), (search, view.search))]
        if not self.is_fitted:
            self._fit(pairs)
        losses = [functional.mse_loss(self.adapter(mine).float(), theirs) for mine, theirs in pairs]
        return 0.3 * losses[0] + 0.7 * losses[1]

    @torch.no_grad()
    def _fit(self, pairs: list[tuple[Tensor, Tensor]]) -> None:
        """Set the adapter to the least-squares fit of features (N, C, H, W) to the teacher's (N, 96, H, W)."""
        mine, theirs = (torch.cat([_rows(pair[side]) for pair in pairs]) for side in (0, 1))
        ones = torch.ones(len(mine), 1, dtype=mine.dtype)
        solution = torch.linalg.lstsq(torch.cat([mine, ones], dim=1), theirs).solution
        self.adapter.weight.copy_(solution[:-1].T[:, :, None, None])
        self.adapter.bias.copy_(solution[-1])  # type: ignore[union-attr]
        self.is_fitted.fill_(True)  # type: ignore[operator]


def _rows(features: Tensor) -> Tensor:
    """(N, C, H, W) -> (N * H * W, C) float64."""
    return features.detach().double().movedim(1, -1).flatten(0, 2)


def _sized(theirs: object, mine: Tensor) -> Tensor:
    return functional.interpolate(standardized(theirs), size=mine.shape[-2:], mode="bilinear")


def standardized(values: object) -> Tensor:
    """Bring every channel of (N, C, H, W) to mean 0 and deviation 1 over N, H and W."""
    x = torch.as_tensor(values).float()
    return functional.batch_norm(x, None, None, training=True)


def score_loss(logits: Tensor, score: Tensor) -> Tensor:
    """Focal cross-entropy between a score map and the teacher's, over the pairs in which it has an opinion.

    The sum over all cells is divided by the sum of the teacher's probabilities.

    Args:
        logits: (N, S, S).
        score: (N, S, S) probability, nan where the teacher has no opinion.

    Source: Li et al. 2020 (quality focal loss), beta 2.
    """
    known = ~score.isnan()
    truth = score.nan_to_num(0.0)
    loss = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    weighted = loss * (logits.sigmoid() - truth).abs() ** 2 * known
    return weighted.sum() / (truth * known).sum().clamp(min=1)


def box_loss(ltrb: Tensor, theirs: Tensor) -> Tensor:
    """1 less the mean generalised IoU between a network's boxes and the teacher's; 0 for none.

    Args:
        ltrb: (K, 4) distances from a cell's centre to the sides of its box, px.
        theirs: (K, 4) to the sides of the teacher's.
    """
    _, giou = overlap(ltrb, theirs.clamp(min=_LEAST_PX))
    return (1 - giou).mean() if len(giou) else ltrb.new_zeros(())
