"""The networks reproduce what the original networks computed."""

import numpy as np
import pytest
import torch
from shared import shared_path

from siamedge.export.checkpoints import load_network, read_checkpoint
from siamedge.export.families.source import SourceNetwork
from siamedge.runtime.errors import ExportError


def run_pair(network: SourceNetwork, template: np.ndarray, search: np.ndarray) -> list[np.ndarray]:
    z, x = (torch.from_numpy(crop[None].transpose(0, 3, 1, 2).astype(np.float32)) for crop in (template, search))
    with torch.inference_mode():
        return [output.numpy()[0] for output in network.search(x, *network.template(z))]


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


def test_a_checkpoint_of_another_version_names_the_first_tensor() -> None:
    path = shared_path("models/nanotrack/nanotrackv1.pth")
    with pytest.raises(ExportError, match=r"not a nanotrack-v3 checkpoint: backbone\.features\.9\.conv\.0\.weight is"):
        load_network(path, "nanotrack-v3")


def test_kernel_shapes_are_those_of_the_template_graph() -> None:
    for version in (1, 2, 3):
        network = load_network(shared_path(f"models/nanotrack/nanotrackv{version}.pth"))
        shapes = tuple(tuple(kernel.shape) for kernel in network.template(torch.zeros(1, 3, 127, 127)))
        assert shapes == network.kernel_shapes


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
        cls, log_ltrb = run_pair(network, grown["template"][i], grown["search"][i])
        np.testing.assert_allclose(cls, golden["cls"][i], rtol=0, atol=1e-3)
        limited = np.minimum(log_ltrb, network.params.max_log_distance)
        np.testing.assert_allclose(np.exp(limited), np.exp(golden["log_ltrb"][i]), rtol=1e-3)
