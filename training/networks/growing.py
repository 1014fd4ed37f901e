"""A network of another shape that starts from trained weights."""

import math
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn import functional

from siamedge.export.families.dart import Dart, DartConfig

LIMIT = 1.6
"""Features whose network did not clip them are clipped here: of the default's, one in fifteen lay beyond."""


@torch.no_grad()
def grown(network: Dart, config: DartConfig) -> Dart:
    """Make a network of a shape, with as much of another's weights as fits.

    The layers of either are matched level by level (those between two strides), first to first. A layer that only the
    new one has hands its input on, if it can (as many channels, no stride), with random weights of a tenth of the usual
    size on top; other layers and channels are drawn at random. Where the template has another number of positions,
    their weights are read off the old grid between its points. Where only the new one clips its features, they are
    scaled so that LIMIT becomes 1. With the same shape it computes the same.

    Args:
        network: Plain.
        config: The new shape.

    Source: Chen et al. 2016 (Net2Net), for the layers that hand on.
    """
    new = Dart(config)
    state, old = new.state_dict(), network.state_dict()
    old["mix.weight"] = _at_positions(old["mix.weight"], network.config.positions, config.positions)
    if config.is_limited and not network.config.is_limited:
        _scale_features(old, len(network.config.layers), config.positions, 1 / LIMIT)
    old["mix.weight"][:, : config.positions] *= config.correlation_divisor / network.config.correlation_divisor
    places = _places(network.config, config)
    for name, value in state.items():
        source = old.get(_renamed(name, places))
        if source is not None:
            common = tuple(slice(0, min(sizes)) for sizes in zip(value.shape, source.shape, strict=True))
            value[common] = source[common]
        elif value.dim() == 4 and value.shape[0] == value.shape[1]:
            value.mul_(0.1).add_(nn.init.dirac_(torch.empty_like(value)))
    new.load_state_dict(state)
    return new


def _at_positions(weight: Tensor, old: int, new: int) -> Tensor:
    """Weights of the mix, (D, old + C, 1, 1), for another number of template positions, (D, new + C, 1, 1).

    Positions lie row by row in a square grid over the same picture. Each of the new ones stands for old / new of the
    old, so their sum stays.
    """
    sides = math.isqrt(old), math.isqrt(new)
    grid = weight[:, :old].reshape(-1, 1, sides[0], sides[0])
    moved = functional.interpolate(grid, size=(sides[1], sides[1]), mode="bilinear") * (old / new)
    return torch.cat([moved.reshape(-1, new, 1, 1), weight[:, old:]], dim=1)


def _scale_features(state: dict[str, Tensor], last: int, positions: int, factor: float) -> None:
    """Multiply what the backbone's last convolution gives, and let the mix undo it: twice in a correlation, or once."""
    for name in ("weight", "bias"):
        state[f"backbone.{last}.{name}"] = state[f"backbone.{last}.{name}"] * factor
    state["mix.weight"][:, :positions] /= factor**2
    state["mix.weight"][:, positions:] /= factor


def _places(old: DartConfig, new: DartConfig) -> dict[int, int]:
    """Index of a backbone layer of the new shape -> that of the old one."""
    pairs = zip(_levels(old), _levels(new), strict=False)
    found = {mine: theirs for olds, news in pairs for theirs, mine in zip(olds, news, strict=False)}
    return {**found, len(new.layers): len(old.layers)}


def _levels(config: DartConfig) -> list[list[int]]:
    """Indices of the layers, grouped by the resolution of their output."""
    strides = [1]
    for _, stride in config.layers:
        strides.append(strides[-1] * stride)
    return [list(group) for _, group in groupby(range(len(config.layers)), key=lambda index: strides[index + 1])]


def _renamed(name: str, places: dict[int, int]) -> str:
    part, _, rest = name.partition(".")
    if part != "backbone":
        return name
    index, _, tensor = rest.partition(".")
    return f"backbone.{places.get(int(index), -1)}.{tensor}"
