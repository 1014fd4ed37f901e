"""Write the tiny models of devices/diagnosis/probe.py: relu(x @ W), 4 values in, 4 out. Prints their base64 form."""

import base64

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]

WEIGHTS = np.array([[1, 0, -1, 2], [0, 1, -1, 1], [2, 0, -1, 0], [0, 3, -1, 0]], dtype=np.float32)
"""(in, out); x = 1 2 3 4 gives 7 14 0 4."""


def onnx_model() -> bytes:
    """The model for ONNX Runtime, IR 8, opset 13: read by every release since 2021."""
    make = onnx.helper
    nodes = [make.make_node("MatMul", ["x", "w"], ["m"]), make.make_node("Relu", ["m"], ["y"])]
    ends = [make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 4]) for name in "xy"]
    graph = make.make_graph(nodes, "probe", ends[:1], ends[1:], [onnx.numpy_helper.from_array(WEIGHTS, "w")])
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def tflite_model() -> bytes:
    """The model for LiteRT: one FULLY_CONNECTED with a fused RELU."""
    model = schema.ModelT()
    model.version, model.description = 3, "probe"
    empty, weights = schema.BufferT(), schema.BufferT()
    weights.data = np.frombuffer(np.ascontiguousarray(WEIGHTS.T).tobytes(), np.uint8)
    model.buffers = [empty, weights]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 1
    model.operatorCodes = [code]
    model.subgraphs = [_subgraph()]
    builder = flatbuffers.Builder(512)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _subgraph() -> schema.SubGraphT:
    graph = schema.SubGraphT()
    graph.tensors = [_tensor(b"x", [1, 4], 0), _tensor(b"w", [4, 4], 1), _tensor(b"y", [1, 4], 0)]
    graph.inputs, graph.outputs = [0], [2]
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0, 1, -1], [2]
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    operator.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU
    graph.operators = [operator]
    return graph


def _tensor(name: bytes, shape: list[int], buffer: int) -> schema.TensorT:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer, tensor.type = name, shape, buffer, schema.TensorType.FLOAT32
    return tensor


if __name__ == "__main__":
    for model in (onnx_model(), tflite_model()):
        print(len(model), base64.b64encode(model).decode())
