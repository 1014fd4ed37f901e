"""A network without the channels that nothing reads: it computes the same in less time."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from siamedge.export.families.dart import Dart

MULTIPLE = 16
"""Kernels compute so many output channels at once: a layer is left as wide as the next multiple. (With 8 the default
was 3 % slower in OpenVINO's int8 on a processor with AMX, and elsewhere no faster.)"""


@torch.no_grad()
def narrowed(network: Dart) -> Dart:
    """Leave out the channels of the backbone and of the box tower whose readers have weights of 0 for them.

    A channel that never opens (openings.py) may be given such readers; then an int8 form has the steps back that it
    spent on it, too.

    Args:
        network: Plain; it stays as it is.
    """
    config, state = network.config, network.state_dict()
    backbone = [f"backbone.{index}" for index in range(len(network.backbone))]
    tower = [f"box_tower.{index}" for index in range(len(network.box_tower))]
    heads = ["box", "quality"] if config.has_quality else ["box"]
    widths = [_narrow(state, layer, [reader]) for layer, reader in pairwise(backbone)]
    followers = [*([name] for name in tower[1:]), heads]
    box_widths = [_narrow(state, layer, readers) for layer, readers in zip(tower, followers, strict=True)]
    layers = tuple((width, stride) for width, (_, stride) in zip(widths, config.layers, strict=True))
    is_plain = all(width == config.head for width in box_widths)
    new = Dart(replace(config, layers=layers, box_widths=() if is_plain else tuple(box_widths)))
    new.load_state_dict(state)
    return new.train(network.training)


def _narrow(state: dict[str, Tensor], layer: str, readers: Sequence[str]) -> int:
    """Leave, in place, out what no reader reads of a layer; give the channels that are left."""
    kept = _kept(state, layer, readers)
    for part in ("weight", "bias"):
        state[f"{layer}.{part}"] = state[f"{layer}.{part}"][kept]
    for reader in readers:
        state[f"{reader}.weight"] = state[f"{reader}.weight"][:, kept]
    return len(kept)


def _kept(state: Mapping[str, Tensor], layer: str, readers: Sequence[str]) -> Tensor:
    """The channels that are read, and as many others as make a multiple of MULTIPLE, in their order."""
    read = sum(state[f"{reader}.weight"].abs().amax((0, 2, 3)) for reader in readers)
    assert isinstance(read, Tensor)
    count = max(1, math.ceil(int((read > 0).sum()) / MULTIPLE)) * MULTIPLE
    return read.argsort(descending=True, stable=True)[:count].sort().values
