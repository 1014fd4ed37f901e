"""An OpenVINO model on groups of pixels gives the same numbers as on single ones."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from siamedge.runtime.backends import openvino_backend
from siamedge.runtime.backends.backend import Model
from siamedge.runtime.backends.cache import CompiledCache
from siamedge.runtime.backends.openvino_backend import OpenVINOBackend
from siamedge.runtime.backends.openvino_tiles import fit_tiles
from siamedge.runtime.tensors import TensorSpec

openvino = pytest.importorskip("openvino")


class Layer(NamedTuple):
    """A 3x3 convolution with a bias and ReLU6 behind it.

    Attributes:
        outputs: Channels.
        stride: Of both axes.
    """

    outputs: int
    stride: int


def quantized(ops: Any, node: Any, low: float, high: float) -> Any:
    """In 256 steps."""
    ends = [ops.constant(np.float32(value)) for value in (low, high, low, high)]
    return ops.fake_quantize(node, *ends, levels=256)


def network_of(side: int, *layers: Layer, mean: float | list[float] = 114.0) -> Any:
    """A network with int8 weights whose bytes come in with channels last, as the export writes it."""
    ops, random, channels = openvino.opset13, np.random.default_rng(side), 3
    crop = ops.parameter([1, side, side, 3], np.uint8, name="x")
    planes = ops.transpose(ops.convert(crop, "f32"), ops.constant(np.array([0, 3, 1, 2])))
    means = np.array(mean, np.float32).reshape((1, 3, 1, 1) if isinstance(mean, list) else ())
    node = ops.multiply(ops.subtract(planes, ops.constant(means)), ops.constant(np.float32(1 / 60)))
    node = quantized(ops, node, -1.9, 2.35)
    for layer in layers:
        weights = random.integers(-60, 61, (layer.outputs, channels, 3, 3)).astype(np.int8)
        scales = random.uniform(0.001, 0.004, (layer.outputs, 1, 1, 1)).astype(np.float32)
        scaled = ops.multiply(ops.convert(ops.constant(weights), "f32"), ops.constant(scales))
        strides, pads = [layer.stride] * 2, [1, 1]
        bias = ops.constant(random.normal(size=(1, layer.outputs, 1, 1)).astype(np.float32))
        node = ops.add(ops.convolution(node, scaled, strides, pads, pads, [1, 1]), bias)
        node, channels = quantized(ops, ops.clamp(node, 0.0, 6.0), 0.0, 6.0), layer.outputs
    result = ops.result(node, name="y")
    node.output(0).get_tensor().set_names({"y"})
    crop.output(0).get_tensor().set_names({"x"})
    return openvino.Model([result], [crop], "layers")


def computed(network: Any) -> np.ndarray:
    found = openvino.Core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    side = network.input(0).get_shape()[1]
    picture = np.random.default_rng(0).integers(0, 256, (1, side, side, 3)).astype(np.uint8)
    return np.array(found(picture)[0])


def widths(network: Any) -> list[list[int]]:
    """Shapes of the convolutions' weights, in order of execution."""
    nodes = [node for node in network.get_ordered_ops() if node.get_type_name() == "Convolution"]
    return [list(node.input_value(1).get_shape()) for node in nodes]


FIRST_TWO = [[32, 12, 3, 2], [32, 32, 3, 2]]


@pytest.mark.parametrize(
    ("layers", "found"),
    [
        ((Layer(16, 2),), [[16, 6, 3, 2]]),
        ((Layer(16, 2), Layer(32, 2), Layer(24, 1)), [*FIRST_TWO, [24, 32, 3, 3]]),
        ((Layer(16, 2), Layer(32, 2), Layer(64, 2)), [[64, 24, 3, 2], [64, 64, 3, 2], [64, 64, 3, 2]]),
        # In groups that end in one pixel of the fourth layer the second would read 8 * 16 channels, two tiles.
        ((Layer(16, 2), Layer(32, 2), Layer(32, 2), Layer(8, 2)), [[64, 24, 3, 2], [64, 64, 3, 2], [32, 64, 3, 2]]),
    ],
)
def test_no_number_changes(layers: tuple[Layer, ...], found: list[list[int]]) -> None:
    plain, network = network_of(64, *layers), network_of(64, *layers)
    assert fit_tiles(network)
    assert widths(network)[: len(found)] == found
    expected = computed(plain)
    assert len(np.unique(expected)) > 20, "or nothing is compared"
    np.testing.assert_array_equal(computed(network), expected)
    assert network.input(0).get_shape() == plain.input(0).get_shape()
    assert network.output(0).get_names() == plain.output(0).get_names()


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (lambda: network_of(33, Layer(16, 2)), "a row of 33 pixels is no whole number of groups"),
        (lambda: network_of(32, Layer(16, 1)), "its first convolution has no stride"),
        (lambda: network_of(32, Layer(16, 2), mean=[1.0, 2.0, 3.0]), "its channels are treated differently"),
    ],
)
def test_what_cannot_be_read_in_groups_stays(network: Any, why: str) -> None:
    changed, plain = network(), network()
    assert not fit_tiles(changed), why
    np.testing.assert_array_equal(computed(changed), computed(plain))


def test_a_processor_with_amx_gets_groups_under_a_key_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    openvino.save_model(network_of(32, Layer(16, 2)), tmp_path / "m.xml", compress_to_fp16=False)
    specs = TensorSpec("x", (1, 32, 32, 3), "uint8", "NHWC"), TensorSpec("y", (1, 16, 16, 16), "float32", "NCHW")
    content, weights = ((tmp_path / name).read_bytes() for name in ("m.xml", "m.bin"))
    model = Model("m.xml", "int8", content, weights, (specs[0],), (specs[1],))
    calls: list[bool] = []
    monkeypatch.setattr(openvino_backend, "fit_tiles", lambda network: calls.append(fit_tiles(network)))
    cache, crop = CompiledCache(tmp_path / "compiled"), np.full((1, 32, 32, 3), 99, np.uint8)
    results, entries = [], []
    for has_amx in (False, True, True):
        monkeypatch.setattr(openvino_backend, "has_amx", lambda has_amx=has_amx: has_amx)
        session = OpenVINOBackend().with_cache(cache).load(model, device="CPU", threads=1)
        results.append(session.run({"x": crop})["y"].copy())
        entries.append(len(list(cache.folder.iterdir())))
    assert calls == [True]
    assert entries == [1, 2, 2]
    np.testing.assert_array_equal(results[1], results[0])
    np.testing.assert_array_equal(results[2], results[0])
    monkeypatch.setattr(openvino_backend, "has_amx", lambda: True)
    OpenVINOBackend().load(model._replace(precision="fp32"), device="CPU", threads=1)
    assert calls == [True]
