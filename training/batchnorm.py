"""Batch norm put into a plain network for training, and folded away again."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from siamedge.export.families.dart import Dart

_LISTS = ("backbone", "cls_tower", "box_tower")


def with_batch_norm(network: Dart, template: Tensor, search: Tensor) -> Dart:
    """Put batch norm behind every hidden convolution without changing what the network computes.

    The statistics are those of the given crops; scale and shift undo them, so that trained weights go on from where
    they were.

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
    for name in _LISTS:
        layers = getattr(wrapped, name)
        setattr(wrapped, name, nn.ModuleList(_normalized(layer, outputs[layer]) for layer in layers))
    wrapped.mix = _normalized(wrapped.mix, outputs[wrapped.mix])  # type: ignore[assignment]
    return wrapped.train()


def folded(network: Dart) -> Dart:
    """Fold batch norm into the convolutions; a plain network is copied."""
    plain = copy.deepcopy(network).eval()
    for name in _LISTS:
        setattr(plain, name, nn.ModuleList(_fused(layer) for layer in getattr(plain, name)))
    plain.mix = _fused(plain.mix)  # type: ignore[assignment]
    return plain


def _hidden(network: Dart) -> list[nn.Module]:
    return [layer for name in _LISTS for layer in getattr(network, name)] + [network.mix]


def _normalized(conv: nn.Module, outputs: list[Tensor]) -> nn.Sequential:
    values = torch.cat([output.transpose(0, 1).flatten(1) for output in outputs], dim=1)
    norm = nn.BatchNorm2d(values.shape[0])
    mean, variance = values.mean(1), values.var(1)
    with torch.no_grad():
        norm.running_mean, norm.running_var = mean.clone(), variance.clone()
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.copy_(mean)
    return nn.Sequential(conv, norm)


def _fused(layer: nn.Module) -> nn.Module:
    if isinstance(layer, nn.Sequential):
        conv, norm = layer
        return fuse_conv_bn_eval(conv, norm)  # type: ignore[type-var, arg-type]
    return layer
