"""Channels that have nothing to say, and giving them something."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from siamedge.export.families.dart import Dart

SMALLEST_SPREAD = 1e-6
Crops = Sequence[tuple[Tensor, Tensor]]
"""Batches of templates (N, 3, Z, Z) and search crops (N, 3, X, X), float32 0..255 BGR."""


@torch.no_grad()
def revive(network: Dart, crops: Crops, frozen_layers: int = 0) -> int:
    """Give channels whose ReLU never opens new weights, in place, so that they can learn again.

    A ReLU that is shut on every crop has no gradient: the channel stays as it is however long the network is trained.
    What reads it forgets it, so that the network computes what it did; the channel's own weights are drawn at random,
    open half of the time and vary as much as the layer's other channels do.

    Args:
        network: Plain.
        crops: What shows whether a channel ever opens.
        frozen_layers: So many convolutions of the backbone, from the input, keep their weights, but for those that read
            a shut channel.

    Returns:
        How many channels have new weights.
    """
    layers = list(_rectified(network))
    highest = _before_relu(network, [layer for layer, _ in layers], crops, lambda output: output.amax((0, 2, 3)))
    shut = [torch.stack(items).amax(0) <= 0 for items in highest]
    kept, revived = set(network.backbone[:frozen_layers]), 0
    for (layer, readers), is_shut in zip(layers, shut, strict=True):
        for reader in readers:
            reader.weight[:, is_shut] = 0
        if is_shut.any() and layer not in kept:
            _redraw(network, layer, is_shut, crops[:1])
            revived += int(is_shut.sum())
    return revived


def _redraw(network: Dart, layer: nn.Conv2d, is_shut: Tensor, crops: Crops) -> None:
    weight, bias = layer.weight, layer.get_parameter("bias")
    weight[is_shut] = torch.randn_like(weight[is_shut])
    bias[is_shut] = 0
    found = _before_relu(network, [layer], crops, lambda output: output.transpose(0, 1).flatten(1))
    values = torch.cat(found[0], 1)
    usual = 1.0 if is_shut.all() else float(values[~is_shut].std(1).median())
    factor = usual / values[is_shut].std(1).clamp_min(SMALLEST_SPREAD)
    weight[is_shut] *= factor[:, None, None, None]
    bias[is_shut] = -values[is_shut].mean(1) * factor


def _rectified(network: Dart) -> Iterator[tuple[nn.Conv2d, tuple[nn.Conv2d, ...]]]:
    """The convolutions in front of a ReLU, in the order in which they are computed, and those that read each."""
    backbone, cls_tower, box_tower = (_plain(part) for part in (network.backbone, network.cls_tower, network.box_tower))
    quality = (network.quality,) if network.config.has_quality else ()
    for layer, reader in pairwise(backbone):
        yield layer, (reader,)
    yield network.mix, (cls_tower[0], box_tower[0])
    for tower, ends in ((cls_tower, (network.cls,)), (box_tower, (network.box, *quality))):
        for layer, reader in pairwise(tower):
            yield layer, (reader,)
        yield tower[-1], ends


def _plain(layers: nn.ModuleList) -> list[nn.Conv2d]:
    return [layer for layer in layers if isinstance(layer, nn.Conv2d)]


def _before_relu(
    network: Dart, layers: Sequence[nn.Conv2d], crops: Crops, told: Callable[[Tensor], Tensor]
) -> list[list[Tensor]]:
    """What is told of each layer's outputs (N, channels, H, W), for each time it is asked."""
    seen: list[list[Tensor]] = [[] for _ in layers]
    hooks = [
        layer.register_forward_hook(lambda _layer, _inputs, output, into=into: into.append(told(output)))
        for layer, into in zip(layers, seen, strict=True)
    ]
    try:
        for templates, searches in crops:
            network(templates, searches)
    finally:
        for hook in hooks:
            hook.remove()
    return seen
