"""The networks reproduce what the original networks computed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from shared import shared_path
from torch.nn import functional

from siamedge.export.checkpoints.reading import load_network, read_checkpoint
from siamedge.export.families.siamfc import METADATA_KEY, SiamFC, SiamFCConfig, save_siamfc
from siamedge.export.families.source import SourceNetwork
from siamedge.runtime.errors import ExportError


def run_pair(network: SourceNetwork, template: np.ndarray, search: np.ndarray) -> list[np.ndarray]:
    z, x = (torch.from_numpy(crop[None].transpose(0, 3, 1, 2).astype(np.float32)) for crop in (template, search))
    with torch.inference_mode():
        return [output.numpy()[0] for output in network.search(x, *network.template(z)[: len(network.kernels)])]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_nanotrack_reproduces_the_original_networks_outputs(version: int) -> None:
    network = load_network(shared_path(f"models/nanotrack/nanotrackv{version}.pth"))
    golden = np.load(shared_path(f"models/nanotrack/golden_v{version}.npz"))
    assert network.arch == f"nanotrack-v{version}"
    for i in range(len(golden["template"])):
        cls, log_ltrb = run_pair(network, golden["template"][i], golden["search"][i])
        np.testing.assert_allclose(cls, golden["cls"][i], rtol=0, atol=1e-3)
        np.testing.assert_allclose(np.exp(log_ltrb), golden["loc"][i], rtol=1e-3)


def test_siamfc_reproduces_the_original_networks_response() -> None:
    network = load_network(shared_path("models/siamfc/siamfc_alexnet_untrained.pth"))
    golden = np.load(shared_path("models/siamfc/golden.npz"))
    for i in range(len(golden["template"])):
        (response,) = run_pair(network, golden["template"][i], golden["search"][i])
        span = float(np.ptp(golden["response"][i]))
        np.testing.assert_allclose(response, golden["response"][i], rtol=0, atol=1e-3 * span)


def test_a_narrow_siamfc_comes_back_with_its_widths_and_correlates_directly(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = SiamFC(SiamFCConfig(widths=(4, 8, 8, 12, 6), response_scale=0.25)).eval()
    save_siamfc(network, tmp_path / "narrow.safetensors")
    loaded = load_network(tmp_path / "narrow.safetensors")
    assert (loaded.arch, loaded.kernel_shapes) == ("siamfc-alexnet", ((1, 36, 6),))
    z, x = torch.rand(1, 3, 127, 127) * 255, torch.rand(1, 3, 255, 255) * 255
    with torch.inference_mode():
        (response,) = loaded.search(x, *loaded.template(z))
        expected = functional.conv2d(network.backbone(x), network.backbone(z)) * 0.25
    torch.testing.assert_close(response, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ('{"widths": [4, 8, 8, 12]}', r"widths \[4, 8, 8, 12\] are not five even numbers"),
        ('{"widths": [4, 8, 8, 12, 5]}', r"widths \[4, 8, 8, 12, 5\] are not five even numbers"),
        ('{"response_scale": 0.1}', "'widths'"),
        ('{"widths": [4, 8, 8, 12, 6], "depth": 2}', ".*unexpected keyword argument 'depth'"),
        ("{", "Expecting property name.*"),
    ],
)
def test_a_siamfc_config_that_cannot_be_read_is_told(tmp_path: Path, config: str, reason: str) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / "odd.safetensors", metadata={METADATA_KEY: config})
    with pytest.raises(ExportError, match=f"^siamfc_config in the weights cannot be read: {reason}"):
        load_network(tmp_path / "odd.safetensors", "siamfc-alexnet")


def test_narrow_weights_without_their_config_are_no_siamfc(tmp_path: Path) -> None:
    save_file(dict(SiamFC(SiamFCConfig((4, 8, 8, 12, 6))).state_dict()), tmp_path / "bare.safetensors")
    found = (
        r"^not a siamfc-alexnet checkpoint: backbone\.conv1\.0\.weight has shape \(4, 3, 11, 11\), expected \(96, 3, "
    )
    with pytest.raises(ExportError, match=found):
        load_network(tmp_path / "bare.safetensors", "siamfc-alexnet")


def test_a_checkpoint_of_another_version_names_the_first_tensor() -> None:
    path = shared_path("models/nanotrack/nanotrackv1.pth")
    with pytest.raises(ExportError, match=r"not a nanotrack-v3 checkpoint: backbone\.features\.9\.conv\.0\.weight is"):
        load_network(path, "nanotrack-v3")


def test_kernel_shapes_are_those_of_the_template_graph() -> None:
    for path in (
        "nanotrack/nanotrackv1.pth",
        "nanotrack/nanotrackv2.pth",
        "nanotrack/nanotrackv3.pth",
        "trial/trial.safetensors",
    ):
        network = load_network(shared_path(f"models/{path}"))
        side = network.params.template_px
        shapes = tuple(tuple(kernel.shape) for kernel in network.template(torch.zeros(1, 3, side, side)))
        assert shapes == (*network.kernel_shapes, *network.looks.values())


def test_no_module_is_left_in_training_mode() -> None:
    network = load_network(shared_path("models/nanotrack/nanotrackv3.pth"))
    assert not any(module.training for module in (*network.template.modules(), *network.search.modules()))


def test_wrapped_weights_are_found_without_their_optimizer() -> None:
    state = read_checkpoint(shared_path("models/nanotrack/nanotrackv3.pth")).state
    assert "backbone.features.0.0.weight" in state


def test_the_trial_weights_are_recognised_by_their_layout() -> None:
    network = load_network(shared_path("models/trial/trial.safetensors"))
    golden = np.load(shared_path("models/trial/golden.npz"))
    crops = np.load(shared_path("models/nanotrack/golden_v2.npz"))
    grown = {
        name: np.pad(crops[name], ((0, 0), (0, 1), (0, 1), (0, 0)), mode="edge") for name in ("template", "search")
    }
    assert network.arch == "dart"
    for i in range(len(golden["cls"])):
        cls, log_ltrb = (cells.T for cells in run_pair(network, grown["template"][i], grown["search"][i]))
        np.testing.assert_allclose(cls, golden["cls"][i].reshape(1, -1), rtol=0, atol=1e-3)
        limited = np.minimum(log_ltrb, network.params.max_log_distance)
        np.testing.assert_allclose(np.exp(limited), np.exp(golden["log_ltrb"][i].reshape(4, -1)), rtol=1e-3)
