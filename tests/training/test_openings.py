"""Which channels open: against biases that shut some for good."""

import torch

from siamedge.export.families.dart import Dart, DartConfig
from siamedge.training.networks.openings import Openings

CHANNELS = 8 + 16 + 3 * 16
"""Behind a ReLU: of two backbone layers, of the mix and of a tower each; the backbone's last layer has none."""


def test_channels_that_no_input_opens_are_counted() -> None:
    torch.manual_seed(0)
    config = DartConfig(layers=((8, 2), (16, 2)), channels=16, head=16, tower=1, template_px=32, search_px=64)
    network = Dart(config)
    layers = (*network.backbone[:-1], network.mix, *network.cls_tower, *network.box_tower)
    crops = torch.rand(4, 3, 32, 32) * 255, torch.rand(4, 3, 64, 64) * 255
    openings = Openings(network)
    with torch.no_grad():
        for layer in layers:
            layer.bias += 100.0
        network(*crops)
        assert openings.read() == 0.0, "not on: nothing was seen"
        openings.is_on = True
        network(*crops)
        assert openings.read() == 0.0, "all are open"
        network.backbone[1].bias[:3] = -1e6
        network.box_tower[0].bias[5] = -1e6
        network(*crops)
        assert openings.read() == 1 - (CHANNELS - 4) / CHANNELS
        network.features(crops[0])
        assert openings.read() == 1 - (24 - 3) / 24, "of the layers that were used, since it was read last"
