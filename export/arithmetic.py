"""What a network costs in arithmetic, counted from its ONNX graph, and what this processor can do at most."""

import time
from collections.abc import Callable, Mapping
from math import prod
from typing import TYPE_CHECKING, Literal

from siamedge.runtime.errors import ExportError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Shapes = Mapping[str, tuple[int, ...]]
SIDE = 768
"""Of the square matrices whose product gives the peak: large enough for full speed, small enough for the cache."""


def conv_macs(node: "NodeProto", shapes: Shapes) -> int:
    """Every output value costs one kernel: (channels in / groups) * height * width."""
    return prod(shapes[node.output[0]]) * prod(shapes[node.input[1]][1:])


def matmul_macs(node: "NodeProto", shapes: Shapes) -> int:
    """Every output value costs the length of the summed dimension."""
    return prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]


def gemm_macs(node: "NodeProto", shapes: Shapes) -> int:
    """As matmul_macs; the first operand may be transposed."""
    is_transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return prod(shapes[node.output[0]]) * shapes[node.input[0]][0 if is_transposed else -1]


COUNTERS: Mapping[str, Callable[["NodeProto", Shapes], int]] = {
    "Conv": conv_macs,
    "MatMul": matmul_macs,
    "Gemm": gemm_macs,
}
"""Operators that multiply and add; all others are not counted."""


def count_macs(content: bytes) -> int:
    """Count the multiply-adds of a float ONNX model with fixed shapes.

    Raises:
        ExportError: onnx is not installed, or a shape is not known.
    """
    try:
        import onnx
    except ImportError as error:
        raise ExportError("counting multiply-adds needs onnx", hint="pip install onnx") from error
    model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(content), data_prop=True)
    shapes = shapes_of(model)
    total = 0
    for node in model.graph.node:
        if (count := COUNTERS.get(node.op_type)) is not None:
            missing = [name for name in (*node.input[:2], node.output[0]) if name not in shapes]
            if missing:
                raise ExportError(f"{node.op_type} {node.name}: the shape of {missing[0]} is not known")
            total += count(node, shapes)
    return total


def shapes_of(model: "ModelProto") -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors whose dimensions are fixed."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if value.type.tensor_type.HasField("shape") and all(sizes):
            shapes[value.name] = tuple(sizes)
    return shapes


def peak_gmacs(kind: Literal["fp32", "int8"]) -> float:
    """Measure the best rate of one core, 10^9 multiply-adds a second: ONNX Runtime's matrix product, CPU time.

    Raises:
        ExportError: onnx or onnxruntime is not installed.
    """
    try:
        import numpy as np
        import onnxruntime  # type: ignore[import-untyped]
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as error:
        raise ExportError(f"the peak needs {error.name}", hint="pip install onnx onnxruntime") from error
    types = (TensorProto.FLOAT, TensorProto.FLOAT) if kind == "fp32" else (TensorProto.UINT8, TensorProto.INT32)
    weights = np.ones((SIDE, SIDE), np.float32 if kind == "fp32" else np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMul" if kind == "fp32" else "MatMulInteger", ["a", "b"], ["c"])],
        "product",
        [helper.make_tensor_value_info("a", types[0], (SIDE, SIDE))],
        [helper.make_tensor_value_info("c", types[1], (SIDE, SIDE))],
        [numpy_helper.from_array(weights, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {"a": np.ones((SIDE, SIDE), np.float32 if kind == "fp32" else np.uint8)}
    return SIDE**3 / min(cpu_s(lambda: session.run(None, feeds)) for _ in range(40)) / 1e9


def cpu_s(compute: Callable[[], object]) -> float:
    """CPU time of a call, seconds."""
    start_s = time.process_time()
    compute()
    return time.process_time() - start_s
