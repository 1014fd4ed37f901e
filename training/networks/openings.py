"""Channels behind a ReLU that open: one that never does is room that the network does not use."""

from torch import Tensor, nn

from siamedge.export.families.dart import Dart


class Openings:
    """Watches, while it is on, which channels of a network are above 0 anywhere.

    A channel that opens for no input has no gradient, so it stays shut for the rest of a run.

    Args:
        network: Plain, with branches or with rounded weights; its layers are called as before.

    Attributes:
        is_on: Whether what is computed now counts.
    """

    def __init__(self, network: Dart) -> None:
        self.is_on = False
        self._opened: dict[nn.Module, Tensor] = {}
        for layer in (*network.backbone[:-1], network.mix, *network.cls_tower, *network.box_tower):
            layer.register_forward_hook(self._watch)

    def read(self) -> float:
        """Give the share of channels that never opened, of the layers that were used, and start anew; 0 for none."""
        opened = list(self._opened.values())
        self._opened = {}
        count = sum(len(channels) for channels in opened)
        return 1 - sum(int(channels.sum()) for channels in opened) / count if count else 0.0

    def _watch(self, layer: nn.Module, _inputs: object, output: Tensor) -> None:
        if self.is_on:
            opened = output.detach().amax((0, 2, 3)) > 0
            self._opened[layer] = opened | self._opened[layer] if layer in self._opened else opened
