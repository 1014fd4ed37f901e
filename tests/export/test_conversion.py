"""Every format and precision computes what PyTorch computes, through the sessions that run it on a device."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_network import make_calibration, make_network, run_source

from siamedge.export.formats import to_onnx
from siamedge.export.formats.census import take_census
from siamedge.export.formats.converters import Converted, ConvertedPair, Converter, make_converter
from siamedge.export.quantization.preparation import Preparation
from siamedge.export.quantization.recipes import RECIPES
from siamedge.runtime.backends.backend import FORMATS, PRECISIONS, Format, Precision, get_backend
from siamedge.runtime.backends.tflite_file import operator_names, read_flatbuffer
from siamedge.runtime.errors import ExportError
from siamedge.runtime.tensors import TensorSpec, encode_crop

BACKEND_OF = {"onnx": "onnxruntime", "tflite": "tflite", "openvino": "openvino"}
NETWORK = make_network()
CALIBRATION = make_calibration()

RELATIVE_ERROR = {"fp32": 1e-4, "fp16": 5e-3, "int8": 0.25}
"""Largest difference over the reference's largest value. fp32: other summation order. fp16: weights are rounded to
11 bits (5e-4), through five layers. int8: a random network has no margin; the cosine below is the sharper check."""


@pytest.fixture(scope="module", params=FORMATS)
def converter(request: pytest.FixtureRequest) -> tuple[Format, Converter]:
    pytest.importorskip("litert_torch" if request.param == "tflite" else "onnxscript")
    return request.param, make_converter(request.param, NETWORK)


@pytest.fixture(scope="module")
def again(converter: tuple[Format, Converter]) -> Converter:
    """A second converter of an equal network, to the same format."""
    return make_converter(converter[0], make_network())


def channels_first(value: np.ndarray, spec: TensorSpec) -> np.ndarray:
    return value.transpose(0, 3, 1, 2) if spec.layout == "NHWC" else value


def run_pair(format_name: Format, precision: Precision, pair: ConvertedPair, index: int) -> dict[str, np.ndarray]:
    """Kernels and outputs for the index-th calibration pair, NCHW."""
    backend, results = get_backend(BACKEND_OF[format_name]), {}
    feeds: dict[str, np.ndarray] = {}
    for role, crops in (("template", CALIBRATION.templates), ("search", CALIBRATION.searches)):
        session = backend.load(getattr(pair, role).as_model(role, precision), device="CPU", threads=1)
        feeds[role] = np.zeros(session.inputs[role].shape, session.inputs[role].dtype)
        encode_crop(crops[index], session.inputs[role], feeds[role])
        outputs = {name: value.copy() for name, value in session.run(feeds).items()}
        results |= {name: channels_first(value, session.outputs[name]) for name, value in outputs.items()}
        session.close()
        feeds = outputs
    return results


@pytest.mark.parametrize("precision", PRECISIONS)
def test_both_graphs_equal_pytorch(converter: tuple[Format, Converter], precision: Precision) -> None:
    format_name, convert = converter
    pair = convert.convert(precision, CALIBRATION)
    found = run_pair(format_name, precision, pair, 3)
    expected = run_source(NETWORK, CALIBRATION.templates[3], CALIBRATION.searches[3])
    assert found.keys() == expected.keys()
    for name, reference in expected.items():
        scale = np.abs(reference).max()
        np.testing.assert_allclose(found[name], reference, rtol=0, atol=RELATIVE_ERROR[precision] * scale, err_msg=name)
        cosine = np.vdot(found[name], reference) / np.linalg.norm(found[name]) / np.linalg.norm(reference)
        assert cosine > 0.99, name


def test_kernels_that_one_graph_gives_are_those_that_the_other_takes(converter: tuple[Format, Converter]) -> None:
    pair = converter[1].convert("int8", CALIBRATION)
    assert pair.search.inputs[1:] == pair.template.outputs
    assert {spec.dtype for spec in (*pair.template.outputs, *pair.search.outputs)} == {"float32"}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_equal_networks_give_equal_bytes_without_paths(
    converter: tuple[Format, Converter], again: Converter, precision: Precision
) -> None:
    first, second = (each.convert(precision, CALIBRATION) for each in (converter[1], again))
    for a, b in ((first.template, second.template), (first.search, second.search)):
        assert a.content == b.content
        assert a.weights == b.weights
        for trace in (str(Path(__file__).parent), str(Path.home()), "stack_trace", "site-packages", "/tmp"):
            assert trace.encode() not in a.content


@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_convolution_has_its_weight_as_an_input(converter: tuple[Format, Converter], precision: Precision) -> None:
    format_name, convert = converter
    search = convert.convert(precision, CALIBRATION).search
    weights = {"onnx": onnx_weight_sources, "tflite": tflite_weight_sources, "openvino": openvino_weight_sources}
    sources = weights[format_name](search.content, search.weights)
    assert len(sources) >= 7
    assert all(sources)


def onnx_weight_sources(content: bytes, _: bytes) -> list[bool]:
    """For every convolution, whether its weight depends on constants alone."""
    onnx = pytest.importorskip("onnx")
    graph = onnx.load_from_string(content).graph
    constant = {tensor.name for tensor in graph.initializer}
    sources = []
    for node in graph.node:
        if node.input and all(name in constant for name in node.input if name):
            constant.update(node.output)
        if node.op_type == "Conv":
            sources.append(node.input[1] in constant)
    return sources


def tflite_weight_sources(content: bytes, _: bytes) -> list[bool]:
    from siamedge.runtime.backends.tflite_file import read_flatbuffer

    model, names = read_flatbuffer(content), operator_names(content)
    graph = model.subgraphs[0]
    constant = {i for i, tensor in enumerate(graph.tensors) if model.buffers[tensor.buffer].data is not None}
    sources = []
    for name, operator in zip(names, graph.operators, strict=True):
        if all(index in constant for index in operator.inputs if index >= 0):
            constant.update(operator.outputs)
        if name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            sources.append(operator.inputs[1] in constant)
    return sources


def openvino_weight_sources(content: bytes, weights: bytes) -> list[bool]:
    openvino = pytest.importorskip("openvino")
    model = openvino.Core().read_model(model=content, weights=weights)
    varying = set()
    sources = []
    for node in model.get_ordered_ops():
        producers = [port.get_source_output().get_node().get_friendly_name() for port in node.inputs()]
        if node.get_type_name() == "Parameter" or varying.intersection(producers):
            varying.add(node.get_friendly_name())
        if node.get_type_name() in ("Convolution", "GroupConvolution"):
            sources.append(producers[1] not in varying)
    return sources


def test_int8_tflite_takes_an_int8_crop_unless_its_first_layer_is_float(
    converter: tuple[Format, Converter],
) -> None:
    if converter[0] != "tflite":
        pytest.skip("only TFLite has an int8 crop")
    full = converter[1].convert("int8", CALIBRATION).search
    assert full.inputs[0] == TensorSpec("search", (1, 64, 64, 3), "int8", "NHWC", 1.0, -128)
    names = operator_names(full.content)
    assert names.count("DEQUANTIZE") >= names.count("HARD_SWISH") == 2  # stays float between int8 convolutions
    partly = converter[1].convert("int8", CALIBRATION, replace(RECIPES["tflite"], exclude=(".*Backbone",))).search
    assert partly.inputs[0] == TensorSpec("search", (1, 64, 64, 3), "float32", "NHWC")
    assert len(take_census("tflite", partly).int8) < len(take_census("tflite", full).int8)
    assert constant_bytes(partly) < 0.5 * constant_bytes(converter[1].convert("fp32").search)  # stored in int8 still


def constant_bytes(model: Converted) -> int:
    return sum(len(item.data) for item in read_flatbuffer(model.content).buffers if item.data is not None)


def test_onnx_and_openvino_share_one_export(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxscript")
    exported, export_graph = [], to_onnx.export_graph
    monkeypatch.setattr(to_onnx, "export_graph", lambda graph: exported.append(graph.role) or export_graph(graph))
    preparation = Preparation(NETWORK)
    for precision in PRECISIONS:
        make_converter("onnx", NETWORK, preparation).convert(precision, CALIBRATION)
    first = len(exported)
    shared = [make_converter("openvino", NETWORK, preparation).convert(name, CALIBRATION) for name in PRECISIONS]
    assert exported[:2] == ["template", "search"]
    assert len(exported) == first
    # what ONNX's precisions were made of is not changed by them
    assert shared == [make_converter("openvino", NETWORK).convert(name, CALIBRATION) for name in PRECISIONS]


def test_int8_without_calibration_is_refused() -> None:
    with pytest.raises(ExportError) as caught:
        make_converter("onnx", NETWORK).convert("int8")
    assert str(caught.value) == "int8 needs a calibration set"
    assert caught.value.hint == "name videos or a folder with --calibration"
