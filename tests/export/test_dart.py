"""Dart: the trial's weights give the golden outputs, and weights survive a round trip."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from shared import shared_path

from siamedge.export.families.dart import TRIAL, Dart, DartConfig, load_dart, save_dart
from siamedge.export.families.dart_source import SearchGraph, TemplateGraph
from siamedge.runtime.errors import ExportError

SMALL = DartConfig(layers=((4, 2), (8, 2), (8, 2)), channels=8, head=8, tower=1, template_px=32, search_px=64)


def padded(crops: np.ndarray) -> torch.Tensor:
    grown = np.pad(crops, ((0, 0), (0, 1), (0, 1), (0, 0)), mode="edge")
    return torch.from_numpy(grown).permute(0, 3, 1, 2).float()


def test_trial_weights_give_the_golden_outputs() -> None:
    golden = np.load(shared_path("models/trial/golden.npz"))
    crops = np.load(shared_path("models/nanotrack/golden_v2.npz"))
    network = load_dart(shared_path("models/trial/trial.safetensors"))
    with torch.no_grad():
        cls, log_ltrb = network(padded(crops["template"]), padded(crops["search"]))
    assert np.abs(cls.numpy() - golden["cls"]).max() < 1e-3
    assert np.abs(log_ltrb.clamp(max=TRIAL.max_log).numpy() - golden["log_ltrb"]).max() < 1e-3


def test_response_has_one_cell_for_each_stride() -> None:
    network = Dart(replace(SMALL, has_quality=True)).eval()
    outputs = network(torch.zeros(2, 3, 32, 32), torch.zeros(2, 3, 64, 64))
    assert [tuple(output.shape) for output in outputs] == [(2, 1, 8, 8), (2, 4, 8, 8), (2, 1, 8, 8)]
    assert (SMALL.stride, SMALL.cells, SMALL.positions) == (8, 8, 16)


@torch.no_grad()
@pytest.mark.parametrize("has_quality", [False, True])
def test_the_two_graphs_are_the_network_as_it_is_trained(has_quality: bool) -> None:
    """There every template position meets every cell, and a 1x1 convolution mixes both."""
    torch.manual_seed(0)
    network = Dart(replace(SMALL, has_quality=has_quality, correlation_divisor=2.0)).eval().double()
    for parameter in network.parameters():
        parameter.mul_(2.0)
    z, x = (torch.rand(1, 3, side, side).double() * 255 for side in (SMALL.template_px, SMALL.search_px))
    mixer, look = TemplateGraph(network)(z)
    found = SearchGraph(network, gives_features=False).double()(x, mixer)
    expected = [maps.flatten(2).transpose(1, 2) for maps in network(z, x)]
    assert len(found) == len(expected) == 2 + has_quality
    for one, other in zip(found, expected, strict=True):
        assert one.std() > 0.01, "or nothing is compared"
        assert torch.allclose(one, other, rtol=0, atol=1e-12)
    assert torch.equal(look, network.template(z))


def test_weights_survive_a_round_trip_in_half_precision(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Dart(SMALL).eval()
    save_dart(network, tmp_path / "a.safetensors", half=True)
    again = load_dart(tmp_path / "a.safetensors")
    z, x = torch.rand(1, 3, 32, 32) * 255, torch.rand(1, 3, 64, 64) * 255
    assert again.config == SMALL
    assert torch.allclose(again(z, x)[0], network(z, x)[0], atol=1e-2)


def test_a_file_that_is_no_safetensors_is_an_export_error(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"not weights")
    with pytest.raises(ExportError, match="not readable as safetensors"):
        load_dart(tmp_path / "a.safetensors")


def test_an_unknown_config_key_is_an_export_error() -> None:
    text = SMALL.to_json().replace('"tower"', '"towers"')
    with pytest.raises(ExportError, match="towers"):
        DartConfig.from_json(text)
