"""Convolutions as they are trained: several branches with batch norm, which fold into one plain convolution."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from siamedge.export.families.dart import Dart

LISTS = ("backbone", "cls_tower", "box_tower")
"""Names of a network's lists of convolutions."""
HEADS = ("mix", "cls", "box", "quality")
"""Names of its single ones; not every network has a quality head."""


class Branches(nn.Module):
    """A convolution, a 1x1 convolution and the input itself, each with batch norm, added up.

    The side branches start at zero, so it starts as the convolution that it is given. A convolution with a stride, or
    of 1x1, has no side branches.

    Args:
        conv: k x k with a bias, padded by k // 2; taken over, not copied.
        outputs: (C, values) what it gives for a sample, by which its norm starts neutral.

    Source: Ding et al. 2021 (RepVGG).
    """

    def __init__(self, conv: nn.Conv2d, outputs: Tensor) -> None:
        super().__init__()
        self.conv, self.norm = conv, _neutral_norm(outputs)
        has_sides = conv.kernel_size != (1, 1) and conv.stride == (1, 1)
        self.point = _point(conv) if has_sides else None
        self.identity = _zero_norm(conv.out_channels) if has_sides and conv.in_channels == conv.out_channels else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, D, H', W')."""
        y: Tensor = self.norm(self.conv(x))
        if self.point is not None:
            y = y + self.point(x)
        if self.identity is not None:
            y = y + self.identity(x)
        return y

    def folded(self) -> nn.Conv2d:
        """One convolution that computes the same, with the running statistics."""
        whole = _fused(self.conv, self.norm)
        centre = self.conv.kernel_size[0] // 2
        with torch.no_grad():
            for side in self._sides():
                whole.weight[:, :, centre, centre] += side.weight[:, :, 0, 0]
                whole.bias += side.bias  # type: ignore[operator]
        return whole

    def _sides(self) -> list[nn.Conv2d]:
        """The side branches as 1x1 convolutions."""
        sides = []
        if self.point is not None:
            sides.append(_fused(*self.point))
        if self.identity is not None:
            channels = self.conv.out_channels
            same = nn.Conv2d(channels, channels, 1, bias=False)
            nn.init.dirac_(same.weight)
            sides.append(_fused(same, self.identity))
        return sides


def _fused(conv: nn.Module, norm: nn.Module) -> nn.Conv2d:
    pair = copy.deepcopy(conv).eval(), copy.deepcopy(norm).eval()
    return fuse_conv_bn_eval(*pair)  # type: ignore[type-var, arg-type, return-value]


def _point(conv: nn.Conv2d) -> nn.Sequential:
    point = nn.Conv2d(conv.in_channels, conv.out_channels, 1, bias=False)
    return nn.Sequential(point, _zero_norm(conv.out_channels))


def _zero_norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    nn.init.zeros_(norm.weight)
    return norm


def _neutral_norm(values: Tensor) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(values.shape[0])
    mean, variance = values.mean(1), values.var(1)
    with torch.no_grad():
        norm.running_mean, norm.running_var = mean.clone(), variance.clone()
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.copy_(mean)
    return norm


def with_branches(network: Dart, template: Tensor, search: Tensor) -> Dart:
    """Give every hidden convolution its branches without changing what the network computes.

    The norms' statistics are those of the given crops; scale and shift undo them, so that trained weights go on from
    where they were.

    Args:
        network: Plain; left as it is.
        template: (N, 3, Z, Z) float32.
        search: (N, 3, X, X) float32.
    """
    wrapped = copy.deepcopy(network)
    outputs: dict[nn.Module, list[Tensor]] = {}
    hooks = [
        conv.register_forward_hook(lambda module, _, output: outputs.setdefault(module, []).append(output))
        for conv in _hidden(wrapped)
    ]
    with torch.no_grad():
        wrapped.eval()(template, search)
    for hook in hooks:
        hook.remove()
    for name in LISTS:
        layers = getattr(wrapped, name)
        setattr(wrapped, name, nn.ModuleList(Branches(layer, _values(outputs[layer])) for layer in layers))
    wrapped.mix = Branches(wrapped.mix, _values(outputs[wrapped.mix]))  # type: ignore[assignment]
    return wrapped.train()


def _values(outputs: list[Tensor]) -> Tensor:
    return torch.cat([output.transpose(0, 1).flatten(1) for output in outputs], dim=1)


def folded(network: Dart) -> Dart:
    """Fold the branches into plain convolutions, with the running statistics; a plain network is copied."""
    return mapped(network, lambda layer: layer.folded() if isinstance(layer, Branches) else layer).eval()


def mapped(network: Dart, change: Callable[[nn.Module], nn.Module]) -> Dart:
    """A copy of a network, each of its convolutions, wrapped or not, replaced by what `change` makes of it."""
    other = copy.deepcopy(network)
    for name in LISTS:
        setattr(other, name, nn.ModuleList(change(layer) for layer in getattr(other, name)))
    for name in HEADS:
        if hasattr(other, name):
            setattr(other, name, change(getattr(other, name)))
    return other


def settle(network: nn.Module) -> None:
    """Fix the norms' statistics: from here on training sees what the folded network computes."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def _hidden(network: Dart) -> list[nn.Module]:
    return [layer for name in LISTS for layer in getattr(network, name)] + [network.mix]
