"""Counting multiply-adds against sums done by hand."""

import pytest

from siamedge.export.arithmetic import count_macs, peak_gmacs
from siamedge.runtime.errors import ExportError

onnx = pytest.importorskip("onnx")


def model_of(nodes: list[object], inputs: dict[str, tuple[int, ...]], weights: dict[str, tuple[int, ...]]) -> bytes:
    import numpy as np

    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in inputs.items()],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(np.zeros(s, np.float32), n) for n, s in weights.items()],
    )
    content: bytes = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)]).SerializeToString()
    return content


def test_a_convolution_costs_its_kernel_for_every_output_value() -> None:
    conv = onnx.helper.make_node("Conv", ["x", "w"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1])
    content = model_of([conv], {"x": (1, 3, 32, 32)}, {"w": (8, 3, 3, 3)})
    assert count_macs(content) == 16 * 16 * 8 * 3 * 9


def test_a_depthwise_convolution_costs_one_plane_for_every_output_value() -> None:
    conv = onnx.helper.make_node("Conv", ["x", "w"], ["y"], group=8, pads=[1, 1, 1, 1])
    content = model_of([conv], {"x": (1, 8, 10, 10)}, {"w": (8, 1, 3, 3)})
    assert count_macs(content) == 10 * 10 * 8 * 9


def test_products_of_matrices_cost_the_summed_dimension() -> None:
    matmul = onnx.helper.make_node("MatMul", ["x", "w"], ["z"])
    gemm = onnx.helper.make_node("Gemm", ["z", "v"], ["y"], transB=1)
    content = model_of([matmul, gemm], {"x": (4, 5)}, {"w": (5, 7), "v": (9, 7)})
    assert count_macs(content) == 4 * 5 * 7 + 4 * 7 * 9


def test_an_unknown_shape_is_named() -> None:
    conv = onnx.helper.make_node("Conv", ["x", "w"], ["y"], name="first")
    content = model_of([conv], {"x": (1, 3, "h", 8)}, {"w": (8, 3, 3, 3)})  # type: ignore[dict-item]
    with pytest.raises(ExportError) as error:
        count_macs(content)
    assert str(error.value) == "Conv first: the shape of x is not known"


@pytest.mark.slow
def test_the_peaks_are_rates_of_this_century() -> None:
    assert 0.1 < peak_gmacs("fp32") < 10_000
    assert 0.1 < peak_gmacs("int8") < 100_000
