"""Cross-layer equalisation: neighbouring layers share their scale out so that the channels between them are alike.

Where only operators that commute with a positive factor lie between two layers, each channel may be divided by a
factor in the first and multiplied by it in the second. The network computes the same, but no channel is so much
larger than the others that one range for all of them leaves those few steps.

Source: Nagel et al. 2019 (data-free quantization through weight equalization), section 4.1.
"""

import copy
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from siamedge.export.families.source import SourceNetwork
from siamedge.export.graphs.branches import fuse_norms, random_feeds
from siamedge.export.quantization.weight_rounding import Layer

COMMUTING = (nn.Identity, nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.Dropout)
"""f(s x) = s f(x) for s > 0, in evaluation. ReLU6 and hard-swish are not of them."""
PASSES = 30
"""A layer between two others is in two pairs, so that they are gone through until nothing moves any more."""
TOLERANCE = 1e-4
"""Share of the largest output by which the result may differ."""


def equalise_network(network: SourceNetwork) -> SourceNetwork | None:
    """Give an equalised copy of a network, batch norms folded; None where there is nothing to equalise.

    A module whose outputs then differ uses what lies inside a Sequential in another way: it stays as it was.
    """
    template = _equalised(network.template, random_feeds(network, "template"))
    search = _equalised(network.search, random_feeds(network, "search"))
    if template is None and search is None:
        return None
    return replace(network, template=template or network.template, search=search or network.search)


def _equalised(module: nn.Module, feeds: tuple[Tensor, ...]) -> nn.Module | None:
    result = fuse_norms(copy.deepcopy(module).eval())
    if not (pairs := list(find_pairs(result))):
        return None
    with torch.no_grad():
        expected = result(*feeds)
        for _ in range(PASSES):
            for pair in pairs:
                equalise(*pair)
        pairs_of_outputs = list(zip(result(*feeds), expected, strict=True))
    is_same = all(float((a - b).abs().max()) <= TOLERANCE * float(b.abs().max()) for a, b in pairs_of_outputs)
    return result if is_same else None


def find_pairs(module: nn.Module) -> Iterator[tuple[Layer, Layer]]:
    """Layers that follow each other in a Sequential with nothing but COMMUTING between them."""
    inner = {id(part) for block in _sequentials(module) for part in block if isinstance(part, nn.Sequential)}
    for block in _sequentials(module):
        if id(block) in inner:
            continue
        before: Layer | None = None
        for part in _flat(block):
            if isinstance(part, nn.Conv2d | nn.Linear):
                if before is not None and isinstance(before, nn.Linear) == isinstance(part, nn.Linear):
                    yield before, part
                before = part
            elif not isinstance(part, COMMUTING):
                before = None


def _sequentials(module: nn.Module) -> list[nn.Sequential]:
    return [part for part in module.modules() if isinstance(part, nn.Sequential)]


def _flat(block: nn.Sequential) -> Iterator[nn.Module]:
    for part in block:
        yield from _flat(part) if isinstance(part, nn.Sequential) else (part,)


def equalise(first: Layer, second: Layer) -> None:
    """Divide the outputs of one layer and multiply the inputs of the next, in place, to equal largest weights."""
    given, taken = output_range(first), input_range(second)
    factor = torch.where((given > 0) & (taken > 0), (given / taken).sqrt(), torch.ones_like(given))
    first.weight /= factor.reshape(-1, *[1] * (first.weight.ndim - 1))
    if first.bias is not None:
        first.bias /= factor
    groups = _groups(second)
    by_group = second.weight.reshape(groups, -1, *second.weight.shape[1:])
    by_group *= factor.reshape(groups, 1, -1, *[1] * (second.weight.ndim - 2))


def output_range(layer: Layer) -> Tensor:
    """Largest weight of each output channel."""
    return layer.weight.detach().abs().flatten(1).amax(1)


def input_range(layer: Layer) -> Tensor:
    """Largest weight with which each input channel is multiplied."""
    groups = _groups(layer)
    by_group = layer.weight.detach().abs().reshape(groups, -1, layer.weight.shape[1], layer.weight[0, 0].numel())
    return by_group.amax((1, 3)).reshape(-1)


def _groups(layer: Layer) -> int:
    return layer.groups if isinstance(layer, nn.Conv2d) else 1
