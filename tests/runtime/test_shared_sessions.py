"""A session that several trackers share: each one's feeds count, and none is written to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tflite_parts import operator_code, signature_of

from siamedge.runtime.backends.backend import Model, Session, get_backend
from siamedge.runtime.backends.tflite_file import write_flatbuffer
from siamedge.runtime.tensors import TensorSpec

IN, OUT = TensorSpec("x", (1, 3), "float32", "NPC"), TensorSpec("y", (1, 3), "float32", "NPC")


def doubling_onnx(folder: Path) -> Model:
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("Add", ["x", "x"], ["y"])
    tensors = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, 3)) for name in "xy"]
    graph = onnx.helper.make_graph([node], "g", tensors[:1], tensors[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    return Model("doubling.onnx", "fp32", model.SerializeToString(), b"", (IN,), (OUT,))


def doubling_openvino(folder: Path) -> Model:
    openvino = pytest.importorskip("openvino")
    x = openvino.opset13.parameter([1, 3], np.float32, name="x")
    x.output(0).set_names({"x"})
    y = openvino.opset13.add(x, x)
    y.output(0).set_names({"y"})
    network = openvino.Model([openvino.opset13.result(y)], [x], "g")
    openvino.save_model(network, folder / "m.xml", compress_to_fp16=False)
    return Model("m.xml", "fp32", (folder / "m.xml").read_bytes(), (folder / "m.bin").read_bytes(), (IN,), (OUT,))


def doubling_tflite(folder: Path) -> Model:
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    graph, operator, model = schema.SubGraphT(), schema.OperatorT(), schema.ModelT()
    graph.tensors = [tensor_of(schema, name) for name in "xy"]
    operator.opcodeIndex, operator.builtinOptions = 0, schema.AddOptionsT()
    operator.builtinOptionsType = schema.BuiltinOptions.AddOptions
    operator.inputs, operator.outputs = np.array([0, 0], np.int32), np.array([1], np.int32)
    graph.inputs, graph.outputs, graph.operators = [0], [1], [operator]
    model.version, model.subgraphs, model.operatorCodes = 3, [graph], [operator_code("ADD", 1)]
    model.buffers, model.signatureDefs = [schema.BufferT()], [signature_of({"x": 0}, {"y": 1})]
    return Model("doubling.tflite", "fp32", write_flatbuffer(model), b"", (IN,), (OUT,))


def tensor_of(schema: Any, name: str) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type = name.encode(), np.array([1, 3], np.int32), schema.TensorType.FLOAT32
    return tensor


MODELS: dict[str, Callable[[Path], Model]] = {
    "onnxruntime": doubling_onnx,
    "openvino": doubling_openvino,
    "tflite": doubling_tflite,
}


@pytest.fixture(params=MODELS)
def session(request: pytest.FixtureRequest, tmp_path: Path) -> Session:
    model = MODELS[request.param](tmp_path)
    return get_backend(request.param).load(model, device="CPU", threads=1)


def test_feeds_in_turn_are_each_computed_and_stay_as_they_were(session: Session) -> None:
    first, second, third = (np.full((1, 3), value, np.float32) for value in (1, 10, 100))
    for _ in range(2):
        for feed in (first, second, third, first):
            assert session.run({"x": feed})["y"].tolist() == [[2 * float(feed[0, 0])] * 3]
    assert [float(feed[0, 0]) for feed in (first, second, third)] == [1, 10, 100]


def test_a_feed_that_is_written_again_is_read_again(session: Session) -> None:
    feed, other = np.ones((1, 3), np.float32), np.zeros((1, 3), np.float32)
    assert session.run({"x": feed})["y"][0, 0] == 2
    feed[:] = 7
    assert session.run({"x": feed})["y"][0, 0] == 14
    session.run({"x": other})
    feed[:] = 9
    assert session.run({"x": feed})["y"][0, 0] == 18


def test_feeds_that_cannot_be_written_take_turns_with_one_that_can(session: Session) -> None:
    frozen, other = np.full((1, 3), 2, np.float32), np.full((1, 3), 3, np.float32)
    frozen.flags.writeable = other.flags.writeable = False
    free = np.full((1, 3), 5, np.float32)
    view = free.view()
    view.flags.writeable = False
    for feed in (frozen, frozen, other, frozen, free, frozen, view, view):
        assert session.run({"x": feed})["y"][0, 0] == 2 * feed[0, 0]
    free[:] = 7
    assert session.run({"x": view})["y"][0, 0] == 14


def test_a_view_with_gaps_is_read_right(session: Session) -> None:
    wide = np.arange(6, dtype=np.float32)[None]
    for _ in range(2):
        assert session.run({"x": wide[:, ::2]})["y"].tolist() == [[0, 4, 8]]
