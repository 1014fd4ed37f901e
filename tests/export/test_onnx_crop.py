"""An int8 ONNX model reads its uint8 crop as it is: standardisation is its scale and zero point."""

from typing import Any

import pytest
from small_network import make_calibration, make_network

from siamedge.export.formats.converters import make_converter

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def models() -> tuple[object, object]:
    """The search graph in fp32 and in int8."""
    converter = make_converter("onnx", make_network())
    found = (converter.convert(precision, make_calibration()).search for precision in ("fp32", "int8"))
    fp32, int8 = (onnx.load_from_string(converted.content) for converted in found)
    return fp32, int8


def of_activations(graph: Any) -> list[Any]:
    """Nodes but those that only unpack the int8 weights of a layer that stays in float."""
    constants = {tensor.name for tensor in graph.initializer}
    return [node for node in graph.node if node.input[0] not in constants]


def test_the_chain_is_the_standardisation(models: tuple[object, object]) -> None:
    from siamedge.export.graphs.onnx_crop import find_crop_chain

    chain = find_crop_chain(models[0], "search")
    assert chain is not None
    assert chain.zero_point == 114
    assert chain.scale == pytest.approx(1 / 60)


def test_the_first_convolution_reads_the_crop_with_its_scale_and_zero_point(models: tuple[object, object]) -> None:
    graph = models[1].graph
    (reshape,) = (node for node in graph.node if "search" in node.input)
    (transpose,) = (node for node in graph.node if reshape.output[0] in node.input)
    assert [reshape.op_type, transpose.op_type] == ["Reshape", "Transpose"]
    (dequantize,) = (node for node in graph.node if transpose.output[0] in node.input)
    assert dequantize.op_type == "DequantizeLinear"
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    assert constants[dequantize.input[1]] == pytest.approx(1 / 60)
    assert constants[dequantize.input[2]] == 114
    (convolution,) = (node for node in graph.node if dequantize.output[0] in node.input)
    assert convolution.op_type == "Conv"
    assert not any(node.op_type in ("Sub", "Cast") for node in of_activations(graph))


def test_a_mean_that_differs_between_channels_stays_in_the_graph() -> None:
    converter = make_converter("onnx", make_network("BGR", (90.0, 114.0, 130.0)))
    search = converter.convert("int8", make_calibration()).search
    graph = onnx.load_from_string(search.content).graph
    kinds = [node.op_type for node in of_activations(graph)]
    assert "Sub" in kinds
    assert "Cast" not in kinds
    assert search.inputs[0].dtype == "float32"
