"""Channels that nothing reads are left out, and the network computes the same."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from siamedge.export.families.dart import Dart, DartConfig, load_dart, save_dart
from siamedge.training.networks.narrowing import narrowed

CONFIG = DartConfig(
    layers=((16, 2), (32, 2), (32, 1), (48, 2)), channels=16, head=32, template_px=32, search_px=64, has_quality=True
)


def network_with_unread(unread: dict[str, int], config: DartConfig = CONFIG) -> Dart:
    """A random network of which a reader has no weights for so many of its input channels."""
    torch.manual_seed(0)
    network = Dart(config).eval()
    with torch.no_grad():
        for name, count in unread.items():
            weight = network.state_dict()[f"{name}.weight"]
            weight[:, :count] = 0
    return network


def outputs(network: Dart) -> tuple[Tensor, ...]:
    torch.manual_seed(1)
    with torch.no_grad():
        found: tuple[Tensor, ...] = network(torch.rand(2, 3, 32, 32) * 255, torch.rand(2, 3, 64, 64) * 255)
    return found


@pytest.mark.parametrize("has_quality", [True, False])
def test_what_is_left_computes_the_same(has_quality: bool) -> None:
    unread = {
        "backbone.2": 16,
        "backbone.3": 9,
        "box_tower.1": 17,
        "box": 10,
        **({"quality": 12} if has_quality else {}),
    }
    network = network_with_unread(unread, replace(CONFIG, has_quality=has_quality))
    narrow = narrowed(network)
    assert narrow.config.layers == ((16, 2), (16, 2), (32, 1), (48, 2)), (
        "23 are read of the third: to the next multiple"
    )
    assert narrow.config.box_widths == (16, 32), "a channel that one of two heads reads stays"
    for ours, theirs in zip(outputs(narrow), outputs(network), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_where_all_is_read_nothing_changes() -> None:
    network = network_with_unread({})
    narrow = narrowed(network)
    assert narrow.config == network.config
    for ours, theirs in zip(outputs(narrow), outputs(network), strict=True):
        assert torch.equal(ours, theirs)


def test_its_shape_is_kept_in_its_file(tmp_path: Path) -> None:
    narrow = narrowed(network_with_unread({"box_tower.1": 20}))
    save_dart(narrow, tmp_path / "a.safetensors")
    again = load_dart(tmp_path / "a.safetensors")
    assert again.config == narrow.config
    assert again.config.box_widths == (16, 32)
    for ours, theirs in zip(outputs(again), outputs(narrow), strict=True):
        assert torch.equal(ours, theirs)
