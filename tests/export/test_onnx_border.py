"""The border of a finished ONNX model: groups of pixels or float32 planes, and not a bit of the outputs changes."""

from typing import Any

import numpy as np
import pytest
from small_network import make_calibration, make_network

from siamedge.export.graphs.onnx_border import find_stem, fit_border
from siamedge.export.graphs.onnx_crop import only_reader
from siamedge.runtime.tensors import TensorSpec

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
SIDE = 16
CROP = TensorSpec("search", (1, SIDE, SIDE, 3), "uint8", "NHWC")


def constant(name: str, values: Any, dtype: type) -> Any:
    return onnx.numpy_helper.from_array(np.asarray(values, dtype), name)


def stem_model(side: int = SIDE, stride: int = 2, pad: int = 1) -> Any:
    """One quantized convolution and its ReLU on a uint8 crop, as ONNX Runtime's quantizer writes them."""
    make, rng = onnx.helper.make_node, np.random.default_rng(0)
    nodes = [
        make("Transpose", ["search"], ["planes"], name="t", perm=(0, 3, 1, 2)),
        make("DequantizeLinear", ["planes", "in_scale", "in_zero"], ["x"], name="dx"),
        make("DequantizeLinear", ["w", "w_scale", "w_zero"], ["wf"], name="dw", axis=0),
        make("DequantizeLinear", ["b", "b_scale", "b_zero"], ["bf"], name="db", axis=0),
        make(
            "Conv", ["x", "wf", "bf"], ["y"], name="conv", kernel_shape=(3, 3), pads=(pad,) * 4, strides=(stride,) * 2
        ),
        make("Relu", ["y"], ["r"], name="r"),
        make("QuantizeLinear", ["r", "out_scale", "out_zero"], ["q"], name="q"),
        make("DequantizeLinear", ["q", "out_scale", "out_zero"], ["out"], name="dq"),
    ]
    scales = rng.uniform(0.01, 0.03, 5)
    constants = [
        constant("in_scale", 1 / 60, np.float32), constant("in_zero", 114, np.uint8),
        constant("w", rng.integers(-127, 128, (5, 3, 3, 3)), np.int8),
        constant("w_scale", scales, np.float32), constant("w_zero", np.zeros(5), np.int8),
        constant("b", rng.integers(-500, 500, 5), np.int32),
        constant("b_scale", scales / 60, np.float32), constant("b_zero", np.zeros(5), np.int32),
        constant("out_scale", 0.05, np.float32), constant("out_zero", 3, np.uint8),
    ]  # fmt: skip
    crop = onnx.helper.make_tensor_value_info("search", onnx.TensorProto.UINT8, (1, side, side, 3))
    pixels = (side + 2 * pad - 3) // stride + 1
    output = onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, (1, 5, pixels, pixels))
    graph = onnx.helper.make_graph(nodes, "stem", [crop], [output], constants)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)


def run(model: Any, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


@pytest.mark.parametrize("stride", [1, 2])
def test_a_quantized_stem_reads_groups_of_pixels_and_gives_the_same(stride: int) -> None:
    plain, fitted = stem_model(stride=stride), stem_model(stride=stride)
    assert fit_border(fitted, CROP) == CROP
    assert only_reader(fitted, "search").op_type == "Reshape"
    crop = np.random.default_rng(1).integers(0, 256, CROP.shape, dtype=np.uint8)
    (expected,), (found,) = run(plain, {"search": crop}), run(fitted, {"search": crop})
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(found)) > 10


@pytest.mark.parametrize(("side", "pad"), [(18, 1), (16, 0)])
def test_a_crop_that_groups_do_not_fit_stays(side: int, pad: int) -> None:
    """Its width is no multiple of four, or the convolution gives fewer pixels than steps."""
    model, crop = stem_model(side=side, pad=pad), TensorSpec("search", (1, side, side, 3), "uint8", "NHWC")
    before = model.SerializeToString()
    assert fit_border(model, crop) == crop
    assert model.SerializeToString() == before


def test_a_float_network_is_fed_planes_and_gives_the_same() -> None:
    pytest.importorskip("onnxscript")
    from siamedge.export.formats.to_onnx import OnnxConverter

    converter = OnnxConverter(make_network())
    plain, graph = converter.float_models[0], converter.graphs[0]
    fitted = converter.convert("fp32").template
    (crop,) = fitted.inputs
    assert (crop.dtype, crop.layout, crop.shape) == ("float32", "NCHW", (1, 3, 32, 32))
    picture = make_calibration(1).templates
    planes = picture.transpose(0, 3, 1, 2).astype(np.float32)
    names = [spec.name for spec in graph.outputs]
    expected = dict(zip(names, run(plain, {"template": picture}), strict=True))
    found = dict(zip(names, run(onnx.load_from_string(fitted.content), {"template": planes}), strict=True))
    for name in names:
        np.testing.assert_array_equal(found[name], expected[name])


def test_a_stem_in_float_is_none() -> None:
    model = stem_model()
    model.graph.node.remove(next(node for node in model.graph.node if node.name == "dx"))
    assert find_stem(model, "search") is None
