"""Rounds weights to int8 so that what each layer gives changes least, before any format is made.

Rounding each weight to the nearest step leaves errors that add up: inputs behind a ReLU or hard-swish have a mean that
is not 0, and neighbouring channels are alike. So weights are rounded one input after the other, each error is made up
for by the weights that are still to be rounded, and what remains in the mean goes into the bias. Steps and scales are
those that every quantizer here takes by itself (channel_steps): each finds the weights on its grid and keeps them.

Source: Frantar et al. 2022 (GPTQ), the update of the weights; Nagel et al. 2019 (data-free quantization), the bias.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from siamedge.export.calibration.choosing import evenly
from siamedge.export.calibration.crop_sets import CalibrationSet
from siamedge.export.families.source import SourceNetwork
from siamedge.export.graphs.branches import fuse_norms
from siamedge.export.quantization.channel_steps import PAIR_STEPS, WIDE_STEPS, paired_steps, partner_of
from siamedge.export.verification.tensors import reference_of
from siamedge.runtime.errors import ExportError

CROPS = 75
POSITIONS = 512
"""Of a map, evenly, at most: neighbours say little more, and large maps have ten thousands."""
DAMPINGS = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Share of the mean variance of a layer's inputs that is added to each: fewer crops than inputs leave some unseen."""
Layer = nn.Conv2d | nn.Linear


@dataclass(slots=True, eq=False)
class InputMoments:
    """What is known of a layer's inputs, in groups of K that are multiplied with the same weights.

    Attributes:
        count: Positions that were seen.
        total: (groups, K) sum.
        squares: (groups, K, K) sum of products.
    """

    count: int = 0
    total: Tensor | float = 0.0
    squares: Tensor | float = 0.0

    def add(self, inputs: Tensor) -> None:
        """Take inputs (groups, positions, K) in."""
        self.count += inputs.shape[1]
        self.total = self.total + inputs.sum(1, dtype=torch.float64)
        self.squares = self.squares + (inputs.transpose(1, 2) @ inputs).double()

    def is_zero(self) -> Tensor:
        """(groups, K): whether an input was 0 wherever it was seen."""
        return torch.as_tensor(self.squares).diagonal(dim1=1, dim2=2) == 0

    def mean_and_covariance(self) -> tuple[Tensor, Tensor]:
        """(groups, K) and (groups, K, K), float64."""
        mean = torch.as_tensor(self.total) / self.count
        return mean, torch.as_tensor(self.squares) / self.count - mean[:, :, None] * mean[:, None, :]


def round_network(
    network: SourceNetwork, calibration: CalibrationSet, *, template: bool, in_pairs: bool = False
) -> SourceNetwork:
    """Give a copy of a network whose weights lie on the int8 grid of their channels.

    Args:
        network: Stays as it is.
        calibration: Crops on which the inputs of the layers are observed.
        template: Whether the template graph is rounded too, or the search graph alone.
        in_pairs: On the grid of paired_steps instead of WIDE_STEPS.
    """
    own = replace(
        network,
        template=fuse_norms(copy.deepcopy(network.template).eval()),
        search=fuse_norms(copy.deepcopy(network.search).eval()),
    )
    with watched(own.template) as kernels, watched(own.search) as maps:
        reference_of(own, evenly(calibration, CROPS))
    round_layers(own.search, maps, in_pairs=in_pairs)
    if template:
        round_layers(own.template, kernels, in_pairs=in_pairs)
    return own


def layers_of(module: nn.Module) -> dict[str, Layer]:
    """Convolutions and dense layers by name."""
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}


@contextmanager
def watched(module: nn.Module) -> Iterator[Mapping[str, InputMoments]]:
    """Observe the inputs of every layer while the module runs."""
    layers = layers_of(module)
    moments = {name: InputMoments() for name in layers}

    def watch(name: str, layer: Layer) -> torch.utils.hooks.RemovableHandle:
        return layer.register_forward_pre_hook(lambda _, inputs: moments[name].add(as_columns(layer, inputs[0])))

    handles = [watch(name, layer) for name, layer in layers.items()]
    try:
        yield moments
    finally:
        for handle in handles:
            handle.remove()


def as_columns(layer: Layer, inputs: Tensor) -> Tensor:
    """Give what each output of a layer is a product with: (groups, positions, K).

    Args:
        layer: A convolution or dense layer.
        inputs: (N, C, H, W), or (..., C) of a dense layer.
    """
    if isinstance(layer, nn.Linear):
        return inputs.reshape(1, -1, inputs.shape[-1])
    padding = layer.padding if isinstance(layer.padding, tuple) else (0, 0)
    patches = functional.unfold(inputs, layer.kernel_size, layer.dilation, padding, layer.stride)
    patches = patches[:, :, :: -(-patches.shape[2] // POSITIONS)]
    count, size, positions = patches.shape
    grouped = patches.reshape(count, layer.groups, size // layer.groups, positions)
    return grouped.permute(1, 0, 3, 2).reshape(layer.groups, count * positions, -1)


def round_layers(module: nn.Module, moments: Mapping[str, InputMoments], *, in_pairs: bool = False) -> None:
    """Round, in place, the weights of the layers that were used, and move their biases by what the mean lost."""
    for name, layer in layers_of(module).items():
        if moments[name].count == 0:
            continue
        mean, covariance = moments[name].mean_and_covariance()
        weights = layer.weight.detach().double().reshape(len(mean), -1, mean.shape[1])
        weights = without_idle_giants(weights, moments[name].is_zero())
        rounded = round_weights(weights, covariance, grid_of(layer, weights, in_pairs=in_pairs))
        lost = ((weights - rounded) @ mean[:, :, None]).reshape(-1).to(layer.weight.dtype)
        layer.weight = nn.Parameter(rounded.reshape(layer.weight.shape).to(layer.weight.dtype))
        layer.bias = nn.Parameter(lost if layer.bias is None else layer.bias.detach() + lost)


class Grid(NamedTuple):
    """What weights may become.

    Attributes:
        steps: (groups, outputs, 1) of the largest weight of each output.
        partner: (K,) index of the weight with which one may have PAIR_STEPS together, if they are of one sign; None: no
            weight has one.
    """

    steps: Tensor
    partner: Tensor | None


def without_idle_giants(weights: Tensor, is_zero: Tensor) -> Tensor:
    """Limit weights of inputs that were always 0 to the largest of the others, for each output.

    A ReLU that never opens has no say, but the weight behind it can be any size, as where a branch with a norm of its
    own was folded in: a channel that never varied is divided by nearly nothing. It would set the scale of all others.
    An output all of whose inputs were 0 stays as it is.

    Args:
        weights: (groups, outputs, K).
        is_zero: (groups, K).
    """
    largest = weights.abs().masked_fill(is_zero[:, None, :], 0).amax(2, keepdim=True)
    limited = torch.minimum(torch.maximum(weights, -largest), largest)
    return torch.where(is_zero[:, None, :] & (largest > 0), limited, weights)


def grid_of(layer: Layer, weights: Tensor, *, in_pairs: bool) -> Grid:
    """Give the grid on which a layer's (groups, outputs, K) weights are put."""
    groups, outputs, _ = weights.shape
    if not in_pairs or isinstance(layer, nn.Linear):
        return Grid(torch.full((groups, outputs, 1), WIDE_STEPS), None)
    values = weights.reshape(layer.weight.shape).numpy()
    partner = partner_of(*values.shape[1:])
    return Grid(
        torch.from_numpy(paired_steps(values)).reshape(groups, outputs, 1),
        None if partner is None else torch.from_numpy(partner),
    )


def round_weights(weights: Tensor, covariance: Tensor, grid: Grid) -> Tensor:
    """Round to a grid so that the variance of what the products change by is small.

    Inputs that vary most come first: more weights are left to make up for their errors.

    The largest weight of each output stays, so that the scale that is read from the result is the same.

    Args:
        weights: (groups, outputs, K) float64.
        covariance: (groups, K, K) float64, of the inputs.
        grid: Of the weights.

    Returns:
        As weights, multiples of max |weight| / steps for each output.
    """
    order = covariance.diagonal(dim1=1, dim2=2).argsort(1, descending=True)
    by_row, by_column = (order[:, None, :].expand_as(item) for item in (weights, covariance))
    weights = weights.gather(2, by_row)
    ordered = covariance.gather(2, by_column).gather(1, by_column.transpose(1, 2))
    partner = None if grid.partner is None else order.argsort(1).gather(1, grid.partner[order])
    ahead = factor_of_inverse(ordered)
    rounded = _round_in_order(weights, ahead, grid.steps, partner)
    return torch.empty_like(rounded).scatter(2, by_row, rounded)


def factor_of_inverse(covariance: Tensor) -> Tensor:
    """The upper Cholesky factor of the inverse, damped until there is one: inputs may all but never vary.

    Raises:
        ExportError: There is none.
    """
    for damping in DAMPINGS:
        inverse, singular = torch.linalg.inv_ex(damped(covariance, damping))
        factor: Tensor
        factor, indefinite = torch.linalg.cholesky_ex(inverse, upper=True)
        if not (singular.any() or indefinite.any()):
            return factor
    raise ExportError(
        "int8: the calibration crops show nothing to round weights by", hint="calibrate with other videos"
    )


def damped(covariance: Tensor, damping: float) -> Tensor:
    """Add a share of the mean variance of a group to each of its variances."""
    variance = covariance.diagonal(dim1=1, dim2=2).mean(1).clamp_min(torch.finfo(torch.float32).tiny)
    return covariance + damping * variance[:, None, None] * torch.eye(covariance.shape[1], dtype=covariance.dtype)


def _round_in_order(weights: Tensor, ahead: Tensor, steps: Tensor, partner: Tensor | None) -> Tensor:
    """Round one input after the other; row i of `ahead` says what an error of input i is for those that follow.

    Args:
        weights: (groups, outputs, K), in order.
        ahead: (groups, K, K).
        steps: (groups, outputs, 1).
        partner: (groups, K) as in Grid, in order.
    """
    place = weights.abs().argmax(2, keepdim=True)
    largest = weights.gather(2, place)
    scale = (largest.abs() / steps).clamp_min(torch.finfo(torch.float32).tiny)
    left, result = weights / scale, torch.zeros_like(weights).scatter(2, place, largest.sign() * steps)
    for i in range(weights.shape[2]):
        high, low = steps[:, :, 0], -steps[:, :, 0]
        if partner is not None:
            beside = result.gather(2, partner[:, i, None, None].expand(*weights.shape[:2], 1))[:, :, 0]
            high = torch.minimum(high, PAIR_STEPS - beside.clamp_min(0))
            low = torch.maximum(low, -PAIR_STEPS - beside.clamp_max(0))
        nearest = left[:, :, i].round().maximum(low).minimum(high)
        result[:, :, i] = torch.where(place[:, :, 0] == i, result[:, :, i], nearest)
        error = (left[:, :, i] - result[:, :, i]) / ahead[:, None, i, i]
        left[:, :, i:] -= error[:, :, None] * ahead[:, None, i, i:]
    return result * scale
