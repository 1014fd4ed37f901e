"""int8 models, from their graphs: what is int8 is said to be, what is float is listed, and a wrong scale is caught."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import get_args

import numpy as np
import pytest
import torch
from small_network import make_calibration
from tiny import make_network

from siamedge.export.families.source import SourceNetwork
from siamedge.export.families.torch_session import one_torch_thread
from siamedge.export.formats.census import take_census
from siamedge.export.formats.converters import Converted, ConvertedPair, Converter, make_converter
from siamedge.export.formats.opened import opened
from siamedge.export.quantization.quantize_onnx import PRODUCTS, channel_axis
from siamedge.export.quantization.recipes import Rounding, recipe_for
from siamedge.export.quantization.weight_rounding import round_network
from siamedge.export.verification.tensors import Reference, compute, differences, reference_of, verify_pair
from siamedge.runtime.backends.backend import FORMATS, Format
from siamedge.runtime.backends.tflite_file import operator_name, read_flatbuffer, write_flatbuffer
from siamedge.runtime.bundles.manifest import Verification


def make_lively_network() -> SourceNetwork:
    """Random weights so large that boxes and peaks depend on the crop."""
    network = make_network()
    with torch.no_grad():
        for parameter in network.search.parameters():
            parameter.mul_(2.0 if parameter.ndim > 1 else 0.0)
    return network


NETWORK, CALIBRATION = make_lively_network(), make_calibration()
LIBRARIES = {"onnx": "onnxruntime", "tflite": "litert_torch", "openvino": "nncf"}
FACTOR = 4.0


@cache
def converter(format_name: Format) -> Converter:
    pytest.importorskip(LIBRARIES[format_name])
    return make_converter(format_name, NETWORK)


@cache
def int8_pair(format_name: Format) -> ConvertedPair:
    return converter(format_name).convert("int8", CALIBRATION)


@cache
def source() -> Reference:
    return reference_of(NETWORK, CALIBRATION)


def verify(format_name: Format, pair: ConvertedPair) -> Verification:
    with one_torch_thread(), opened(pair, (format_name, "int8")) as (template, search):
        return verify_pair(template, search, NETWORK, source(), (format_name, "int8")).verification


def spoil_onnx(model: Converted) -> Converted:
    """Multiply the scale of the first convolution's weights, an initializer."""
    onnx = pytest.importorskip("onnx")
    proto = onnx.load_from_string(model.content)
    producers = {output: node for node in proto.graph.node for output in node.output}
    first = next(node for node in proto.graph.node if node.op_type == "Conv")
    name = producers[first.input[1]].input[1]
    scale = next(item for item in proto.graph.initializer if item.name == name)
    scale.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(scale) * np.float32(FACTOR), name))
    return replace(model, content=proto.SerializeToString())


def spoil_tflite(model: Converted) -> Converted:
    """Multiply the scales in the quantization table of the first convolution's weights."""
    tree = read_flatbuffer(model.content)
    graph = tree.subgraphs[0]
    first = next(item for item in graph.operators if operator_name(tree, item) == "CONV_2D")
    quantization = graph.tensors[first.inputs[1]].quantization
    quantization.scale = [float(value) * FACTOR for value in quantization.scale]
    return replace(model, content=write_flatbuffer(tree))


def spoil_openvino(model: Converted) -> Converted:
    """Multiply the constant that scales the first convolution's int8 weights, in the .bin file."""
    layers = dict(re.findall(r'<layer id="(\d+)"(.*?)</layer>', model.content.decode(), re.DOTALL))
    edges = re.findall(
        r'<edge from-layer="(\d+)" from-port="\d+" to-layer="(\d+)" to-port="(\d+)"', model.content.decode()
    )
    feeds = {(to, port): source for source, to, port in edges}
    first = next(number for number, text in layers.items() if 'type="Convolution"' in text)
    at = feeds[first, "1"]
    while 'type="Multiply"' not in layers[at]:
        at = feeds[at, "0"]
    scale = layers[feeds[at, "1"]]
    kind, begin, size = (re.search(rf'{key}="(\w+)"', scale)[1] for key in ("element_type", "offset", "size"))
    assert kind == "f32"
    content = bytearray(model.weights)
    end = int(begin) + int(size)
    content[int(begin) : end] = (np.frombuffer(content[int(begin) : end], np.float32) * np.float32(FACTOR)).tobytes()
    return replace(model, weights=bytes(content))


def onnx_weights(model: Converted) -> Iterator[np.ndarray]:
    """Integers of what is dequantized in front of a convolution or product, the output channel first."""
    onnx = pytest.importorskip("onnx")
    graph = onnx.load_from_string(model.content).graph
    producers = {output: node for node in graph.node for output in node.output}
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        source = producers.get(node.input[1]) if node.op_type in PRODUCTS else None
        if source is not None and source.op_type == "DequantizeLinear" and source.input[0] in constants:
            yield np.moveaxis(constants[source.input[0]], channel_axis(node), 0)


def openvino_weights(model: Converted) -> Iterator[np.ndarray]:
    """Integers of the constants that are multiplied with quantized activations, the output channel first."""
    openvino = pytest.importorskip("openvino")
    for node in openvino.Core().read_model(model=model.content, weights=model.weights).get_ordered_ops():
        if node.get_type_name() != "Convolution" or node.input_value(0).get_node().get_type_name() != "FakeQuantize":
            continue
        weights = node.input_value(1).get_node()
        while weights.get_type_name() != "Constant":
            weights = weights.input_value(0).get_node()
        yield np.array(weights.data)


WEIGHTS: dict[Format, Callable[[Converted], Iterator[np.ndarray]]] = {
    "onnx": onnx_weights,
    "openvino": openvino_weights,
}


@pytest.mark.parametrize("rounding", get_args(Rounding))
@pytest.mark.parametrize("format_name", list(WEIGHTS))
def test_two_products_add_up_within_16_bits(format_name: Format, rounding: Rounding) -> None:
    """As x86-64 without VNNI adds products of uint8 activations and int8 weights, in pairs that saturate."""
    recipe = replace(recipe_for(format_name, NETWORK.arch), rounding=rounding)
    search = converter(format_name).convert("int8", CALIBRATION, recipe).search
    layers = list(WEIGHTS[format_name](search))
    assert len(layers) >= 4
    for weights in layers:
        assert weights.dtype == np.int8
        steps = weights.astype(int).reshape(*weights.shape[:2], -1)
        has_pairs = rounding == "compensated in pairs" and weights.shape[1] % 2 == 0
        two = steps.reshape(len(steps), -1, 2, steps.shape[2]) if has_pairs else largest_two(steps)
        for sign in (1, -1):
            assert 255 * np.maximum(sign * two, 0).sum(axis=2).max() < 2**15
        assert np.abs(weights).max() >= 63
    assert (max(np.abs(weights).max() for weights in layers) > 64) == (rounding == "compensated in pairs")


def largest_two(steps: np.ndarray) -> np.ndarray:
    """The two largest weights of each output, whatever their sign and place: (outputs, 1, 2, 1)."""
    return np.sort(np.abs(steps.reshape(len(steps), -1)))[:, -2:].reshape(len(steps), 1, 2, 1)


SPOIL: dict[Format, Callable[[Converted], Converted]] = {
    "onnx": spoil_onnx,
    "tflite": spoil_tflite,
    "openvino": spoil_openvino,
}


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_scale_that_is_four_times_too_large_is_caught(format_name: Format) -> None:
    pair = int8_pair(format_name)
    sound, spoilt = (
        verify(format_name, item) for item in (pair, replace(pair, search=SPOIL[format_name](pair.search)))
    )
    assert (sound.verdict, spoilt.verdict) == ("pass", "not recommended")
    assert spoilt.reason == f"peak agreement {spoilt.peak_agreement:.3f}, budget 0.95"
    assert spoilt.box_px > 10 * sound.box_px


@pytest.mark.parametrize("format_name", FORMATS)
def test_int8_is_in_the_graph_and_what_stayed_float_is_listed(format_name: Format) -> None:
    census = take_census(format_name, int8_pair(format_name).search)
    products = sum(item.is_product for item in converter(format_name).operators())
    assert len(census.int8) > len(census.floating) >= 2
    assert len(census.int8) + len(census.floating) == products
    total = f"{len(census.int8)} of {products} convolutions and products compute in int8; in float: "
    assert census.note == total + ", ".join(census.floating)


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_float_model_has_nothing_in_int8(format_name: Format) -> None:
    for precision in ("fp32", "fp16"):
        census = take_census(format_name, converter(format_name).convert(precision).search)
        assert census.int8 == ()
        assert len(census.floating) == sum(item.is_product for item in converter(format_name).operators())


@pytest.mark.parametrize("format_name", FORMATS)
def test_excluded_operators_and_no_others_go_back_to_float(format_name: Format) -> None:
    recipe = recipe_for(format_name, NETWORK.arch)
    before = take_census(format_name, int8_pair(format_name).search)
    first = next(item for item in converter(format_name).operators() if item.is_product)
    pair = converter(format_name).convert("int8", CALIBRATION, replace(recipe, exclude=(first.pattern,)))
    after = take_census(format_name, pair.search)
    assert len(after.int8) == len(before.int8) - 1
    assert set(after.floating) - set(before.floating) == {first.label}


@pytest.mark.parametrize("format_name", FORMATS)
def test_excluded_operators_are_found_after_weights_were_rounded(format_name: Format) -> None:
    """The biases of NETWORK are 0, which exporters leave out; those of the rounded network are not."""
    recipe = replace(recipe_for(format_name, NETWORK.arch), rounding="compensated")
    first = next(item for item in converter(format_name).operators() if item.is_product)
    found = [
        Counter(take_census(format_name, converter(format_name).convert("int8", CALIBRATION, item).search).int8)
        for item in (recipe, replace(recipe, exclude=(first.pattern,)))
    ]
    assert found[0] - found[1] == Counter([first.label])


@pytest.mark.parametrize("format_name", FORMATS)
def test_weights_alone_in_int8_are_a_third_of_the_size_and_compute_in_float(format_name: Format) -> None:
    recipe = replace(recipe_for(format_name, NETWORK.arch), activations="float")
    pair, whole = converter(format_name).convert("int8", CALIBRATION, recipe), converter(format_name).convert("fp32")
    assert take_census(format_name, pair.search).int8 == ()
    assert weights_bytes(format_name, pair.search) < 0.4 * weights_bytes(format_name, whole.search)
    found = verify(format_name, pair)
    assert found.verdict == "pass"
    assert 0 < found.box_px < 0.1


def weights_bytes(format_name: Format, model: Converted) -> int:
    """Bytes of the constants; small files are mostly structure."""
    if format_name == "onnx":
        onnx = pytest.importorskip("onnx")
        return sum(
            onnx.numpy_helper.to_array(item).nbytes for item in onnx.load_from_string(model.content).graph.initializer
        )
    if format_name == "tflite":
        return sum(len(item.data) for item in read_flatbuffer(model.content).buffers if item.data is not None)
    return len(model.weights)


@pytest.mark.parametrize("format_name", ["onnx", "tflite"])
def test_what_was_observed_once_gives_the_same_model_again(format_name: Format) -> None:
    fresh = make_converter(format_name, NETWORK).convert("int8", CALIBRATION).search
    again = converter(format_name).convert("int8", CALIBRATION).search
    assert fresh.content == int8_pair(format_name).search.content == again.content


@pytest.mark.parametrize("format_name", FORMATS)
def test_weights_that_were_put_on_the_grid_are_kept_by_every_quantizer(format_name: Format) -> None:
    """The pair computes what the rounded network computes in PyTorch, which is not what the source computes."""
    recipe = replace(
        recipe_for(format_name, NETWORK.arch),
        activations="float",
        rounding="compensated",
        template_precision="int8 weights",
    )
    pair = converter(format_name).convert("int8", CALIBRATION, recipe)
    rounded = reference_of(round_network(NETWORK, CALIBRATION, template=True), CALIBRATION)
    with one_torch_thread(), opened(pair, (format_name, "int8")) as sessions:
        ours = compute(*sessions, CALIBRATION)
    kept, moved = differences(ours, rounded), differences(ours, source())
    assert all(kept[name].max_abs < 0.02 * moved[name].max_abs for name in NETWORK.outputs)


def onnx_ranges(model: Converted) -> dict[str, float]:
    """Scale of every activation."""
    onnx = pytest.importorskip("onnx")
    graph = onnx.load_from_string(model.content).graph
    values = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    scales = {node.input[1] for node in graph.node if node.op_type == "QuantizeLinear"}
    return {name: float(values[name]) for name in scales}


def openvino_ranges(model: Converted) -> dict[str, float]:
    """Upper end of every activation."""
    openvino = pytest.importorskip("openvino")
    graph = openvino.Core().read_model(model=model.content, weights=model.weights)
    quantized = (node for node in graph.get_ordered_ops() if node.get_type_name() == "FakeQuantize")
    return {node.get_friendly_name(): float(node.input_value(2).get_node().data.max()) for node in quantized}


RANGES: dict[Format, Callable[[Converted], dict[str, float]]] = {"onnx": onnx_ranges, "openvino": openvino_ranges}


@pytest.mark.parametrize(
    ("format_name", "method"), [("onnx", "percentile"), ("onnx", "entropy"), ("openvino", "percentile")]
)
def test_percentile_and_entropy_leave_the_largest_values_out(format_name: Format, method: str) -> None:
    recipe = replace(recipe_for(format_name, NETWORK.arch), calibration="minmax")
    widest, ours = (
        RANGES[format_name](converter(format_name).convert("int8", CALIBRATION, item).search)
        for item in (recipe, replace(recipe, calibration=method))
    )
    assert ours.keys() == widest.keys()
    assert all(ours[name] <= widest[name] * 1.01 for name in ours)
    assert any(ours[name] < widest[name] * 0.99 for name in ours)
