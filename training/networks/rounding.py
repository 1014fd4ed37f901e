"""Training that sees its weights as int8 stores them (quantization-aware training)."""

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from siamedge.export.families.dart import Dart
from siamedge.training.networks.branches import mapped


class Rounded(nn.Module):
    """A convolution that computes with rounded weights and learns as if they were not (straight-through).

    Args:
        conv: Taken over, not copied.
        bits: Of a weight; a scale for each output channel, symmetric.

    Source: Jacob et al. 2018; Bengio et al. 2013 for the gradient.
    """

    def __init__(self, conv: nn.Conv2d, bits: int) -> None:
        super().__init__()
        self.conv, self._steps = conv, 2 ** (bits - 1) - 1

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, D, H', W')."""
        weight, conv = self.conv.weight, self.conv
        seen = weight + (rounded(weight.detach(), self._steps) - weight.detach())
        return functional.conv2d(x, seen, conv.bias, conv.stride, cast("tuple[int, int]", conv.padding))

    @torch.no_grad()
    def baked(self) -> nn.Conv2d:
        """A convolution with the rounded weights: the exact ones were never what learned to track."""
        conv = copy.deepcopy(self.conv)
        conv.weight.copy_(rounded(conv.weight, self._steps))
        return conv


def rounded(weight: Tensor, steps: int) -> Tensor:
    """Weights (D, C, K, K) on the grid of 2 * steps + 1 levels that the largest of each output channel spans."""
    scale = weight.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12) / steps
    return (weight / scale).round() * scale


def with_rounding(network: Dart, bits: int) -> Dart:
    """Let every convolution of a plain network compute with rounded weights; the network is left as it is."""
    return mapped(network, lambda layer: Rounded(cast("nn.Conv2d", layer), bits)).train()


def plain(network: Dart) -> Dart:
    """The plain network with the weights that it computes with: those of rounded convolutions are rounded."""
    return mapped(network, lambda layer: layer.baked() if isinstance(layer, Rounded) else layer)
