"""Exported fp32 models of the real checkpoints reproduce the goldens through the sessions of every backend."""

import numpy as np
import pytest
from shared import shared_path

from siamedge.export.checkpoints.reading import load_network
from siamedge.export.formats.converters import make_converter
from siamedge.runtime.backends.backend import FORMATS, Format, Session, get_backend
from siamedge.runtime.tensors import encode_crop
from siamedge.runtime.tracking.feeding import channels_first

BACKEND_OF = {"onnx": "onnxruntime", "tflite": "tflite", "openvino": "openvino"}
CHECKPOINTS = {
    "nanotrack-v1": ("nanotrack/nanotrackv1.pth", "nanotrack/golden_v1.npz"),
    "nanotrack-v2": ("nanotrack/nanotrackv2.pth", "nanotrack/golden_v2.npz"),
    "nanotrack-v3": ("nanotrack/nanotrackv3.pth", "nanotrack/golden_v3.npz"),
    "siamfc-alexnet": ("siamfc/siamfc_alexnet_untrained.pth", "siamfc/golden.npz"),
    "dart": ("trial/trial.safetensors", "trial/golden.npz"),
}


def load_pairs(arch: str, golden: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Template and search crops, BGR, as the runtime would cut them."""
    if arch == "siamfc-alexnet":  # fed as stored, as RGB; so reversed they are BGR
        return golden["template"][..., ::-1], golden["search"][..., ::-1]
    if arch == "dart":  # the crops of v2, each padded by its last row and column
        crops = np.load(shared_path("models/nanotrack/golden_v2.npz"))
        pad = ((0, 0), (0, 1), (0, 1), (0, 0))
        return np.pad(crops["template"], pad, mode="edge"), np.pad(crops["search"], pad, mode="edge")
    return golden["template"], golden["search"]


def run(session: Session, crop: np.ndarray, kernels: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs for a crop, as the session lays them out."""
    (name,) = session.inputs.keys() - kernels.keys()
    feed = np.zeros(session.inputs[name].shape, session.inputs[name].dtype)
    encode_crop(np.ascontiguousarray(crop), session.inputs[name], feed)
    return {key: value.copy() for key, value in session.run({name: feed, **kernels}).items()}


@pytest.mark.slow
@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("arch", CHECKPOINTS)
def test_fp32_reproduces_the_goldens(arch: str, format_name: Format) -> None:
    pytest.importorskip("litert_torch" if format_name == "tflite" else "onnxscript")
    checkpoint, golden_file = (shared_path(f"models/{path}") for path in CHECKPOINTS[arch])
    golden = dict(np.load(golden_file))
    pair = make_converter(format_name, load_network(checkpoint)).convert("fp32")
    backend = get_backend(BACKEND_OF[format_name])
    template = backend.load(pair.template.as_model("template", "fp32"), device="CPU", threads=1)
    search = backend.load(pair.search.as_model("search", "fp32"), device="CPU", threads=1)
    for index, (z, x) in enumerate(zip(*load_pairs(arch, golden), strict=True)):
        kernels = {name: value for name, value in run(template, z, {}).items() if name in search.inputs}
        found = run(search, x, kernels)
        for name, value in found.items():
            check_output(name, channels_first(value, search.outputs[name]), golden, index)


def check_output(name: str, value: np.ndarray, golden: dict[str, np.ndarray], index: int) -> None:
    """cls within 1e-3; distances, and the response relative to its range, within 1e-3."""
    if name == "cls":
        np.testing.assert_allclose(value, golden["cls"][index].reshape(value.shape), rtol=0, atol=1e-3)
    elif name == "response":
        expected = golden["response"][index].reshape(value.shape)
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-3 * float(np.ptp(expected)))
    elif "loc" in golden:
        np.testing.assert_allclose(np.exp(value), golden["loc"][index].reshape(value.shape), rtol=1e-3)
    else:
        expected = golden["log_ltrb"][index].reshape(value.shape)
        np.testing.assert_allclose(np.exp(value), np.exp(expected), rtol=1e-3)
