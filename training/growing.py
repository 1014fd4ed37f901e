"""A network of another shape that starts from trained weights."""

from itertools import groupby

import torch

from siamedge.export.families.dart import Dart, DartConfig


@torch.no_grad()
def grown(network: Dart, config: DartConfig) -> Dart:
    """Make a network of a shape, with as much of another's weights as fits.

    The layers of either are matched level by level (those between two strides), first to first; what only the new one
    has, layers and channels, is drawn at random. With the same shape it computes the same.

    Args:
        network: Plain.
        config: The new shape.
    """
    new = Dart(config)
    state, old = new.state_dict(), network.state_dict()
    places = _places(network.config, config)
    for name, value in state.items():
        source = old.get(_renamed(name, places))
        if source is not None:
            common = tuple(slice(0, min(sizes)) for sizes in zip(value.shape, source.shape, strict=True))
            value[common] = source[common]
    new.load_state_dict(state)
    return new


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
