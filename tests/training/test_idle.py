"""Channels whose ReLU never opens: found, given new weights, and nothing computed otherwise."""

import copy

import pytest
import torch
from torch import Tensor, nn

from siamedge.export.families.dart import Dart, DartConfig
from siamedge.training.networks.idle import revive

CONFIG = DartConfig(
    layers=((8, 2), (8, 2), (12, 2), (12, 2)), channels=8, head=8, template_px=48, search_px=96, has_quality=True
)


def crops(seed: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [tuple(255 * torch.rand((6, 3, side, side), generator=generator) for side in (48, 96)) for _ in range(2)]


def outputs(network: Dart, pair: tuple[Tensor, Tensor]) -> Tensor:
    with torch.no_grad():
        return torch.cat(network(*pair), 1)


def lively(seed: int) -> Dart:
    """A network each of whose channels opens somewhere."""
    torch.manual_seed(seed)
    network = Dart(CONFIG)
    for layer in (item for item in network.modules() if isinstance(item, nn.Conv2d)):
        nn.init.kaiming_normal_(layer.weight)
        nn.init.zeros_(layer.bias)
    return network


@pytest.fixture
def network() -> Dart:
    """Channels 1 of backbone.1, 0 and 3 of the mix, 2 of the first box layer and 4 of the last are shut."""
    network = lively(5)
    with torch.no_grad():
        for layer, channels in (
            (network.backbone[1], [1]),
            (network.mix, [0, 3]),
            (network.box_tower[0], [2]),
            (network.box_tower[1], [4]),
        ):
            layer.bias[channels] = -1e4
        network.box_tower[1].weight[5, 2] = 40.0
    return network


def test_shut_channels_open_and_the_network_computes_what_it_did(network: Dart) -> None:
    seen, unseen = crops(1), crops(2)
    before = outputs(network, unseen[0])
    assert revive(network, seen) == 5
    torch.testing.assert_close(outputs(network, unseen[0]), before, rtol=1e-4, atol=1e-5)
    others = [channel for channel in range(8) if channel != 4]
    assert network.box_tower[1].weight[others, 2].abs().max() == 0
    opened: list[Tensor] = []
    network.mix.register_forward_hook(
        lambda _layer, _inputs, output: opened.append((output > 0).float().mean((0, 2, 3)))
    )
    outputs(network, unseen[1])
    assert ((opened[0][[0, 3]] > 0.2) & (opened[0][[0, 3]] < 0.8)).all()


def test_what_reads_a_revived_channel_learns(network: Dart) -> None:
    revive(network, crops(1))
    torch.cat(network(*crops(3)[0]), 1).square().mean().backward()
    for layer, channel in ((network.backbone[2], 1), (network.box_tower[1], 2), (network.box, 4)):
        assert layer.weight.grad is not None
        assert layer.weight.grad[:, channel].abs().max() > 0


def test_nothing_is_done_where_all_channels_speak() -> None:
    network = lively(6)
    before = copy.deepcopy(network.state_dict())
    assert revive(network, crops(1)) == 0
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_frozen_layers_keep_their_channels(network: Dart) -> None:
    before = copy.deepcopy(network.state_dict())
    pair = crops(2)[0]
    expected = outputs(network, pair)
    assert revive(network, crops(1), frozen_layers=2) == 4
    assert torch.equal(network.backbone[1].weight, before["backbone.1.weight"])
    torch.testing.assert_close(outputs(network, pair), expected, rtol=1e-4, atol=1e-5)
