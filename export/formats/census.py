"""Which convolutions and products of a finished model really compute in int8: read from the graph, not from the recipe.

The other operators (sums, activations, slices) follow the types of what they read, and are not counted.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from siamedge.export.formats.converters import Converted
from siamedge.export.quantization.quantize_openvino import plain_name
from siamedge.runtime.backends.backend import Format
from siamedge.runtime.backends.tflite_file import operator_label, operator_name, read_flatbuffer

if TYPE_CHECKING:
    from onnx import NodeProto

ONNX_PRODUCTS = ("Conv", "MatMul", "Gemm")
TFLITE_PRODUCTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL")
OPENVINO_PRODUCTS = ("Convolution", "GroupConvolution", "MatMul")
CLAMPS = ("Relu", "Clip")
"""ONNX Runtime folds them into the int8 operator before them."""
PASSED_OVER = ("Convert", "Subtract", "Multiply", "Reshape", "Transpose", "Squeeze", "Unsqueeze")
"""Between an int8 constant of OpenVINO and the operator that uses it."""
Verdicts = Iterator[tuple[str, bool]]


@dataclass(frozen=True, slots=True)
class Census:
    """The convolutions and products of a graph.

    Attributes:
        int8: Names of those whose weights and activations are int8.
        floating: Names of the others.
    """

    int8: tuple[str, ...]
    floating: tuple[str, ...]

    @property
    def note(self) -> str:
        """The same for the manifest."""
        total = len(self.int8) + len(self.floating)
        text = f"{len(self.int8)} of {total} convolutions and products compute in int8"
        return f"{text}; in float: {', '.join(self.floating)}" if self.floating else text


def take_census(format_name: Format, model: Converted) -> Census:
    """Count the operators of a model."""
    verdicts = list(READERS[format_name](model))
    return Census(
        tuple(name for name, is_int8 in verdicts if is_int8), tuple(name for name, is_int8 in verdicts if not is_int8)
    )


def read_onnx_graph(model: Converted) -> Verdicts:
    """ONNX Runtime computes in int8 what stands between DequantizeLinear and QuantizeLinear; all else is float."""
    import onnx

    graph = onnx.load_from_string(model.content).graph
    producers = {output: node for node in graph.node for output in node.output}
    users: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    for node in graph.node:
        if node.op_type in ONNX_PRODUCTS:
            reads = all(_makes(producers, name, "DequantizeLinear") for name in node.input[:2])
            yield node.name, reads and _ends_quantized(users, node)


def _makes(producers: "Mapping[str, NodeProto]", name: str, kind: str) -> bool:
    return name in producers and producers[name].op_type == kind


def _ends_quantized(users: "Mapping[str, list[NodeProto]]", node: "NodeProto") -> bool:
    following = users.get(node.output[0], [])
    if len(following) == 1 and following[0].op_type in CLAMPS:
        return _ends_quantized(users, following[0])
    return bool(following) and all(user.op_type == "QuantizeLinear" for user in following)


def read_tflite_graph(model: Converted) -> Verdicts:
    """An operator of TFLite computes in the type of its tensors."""
    from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]

    tree = read_flatbuffer(model.content)
    tensors = tree.subgraphs[0].tensors
    for operator in tree.subgraphs[0].operators:
        if operator_name(tree, operator) in TFLITE_PRODUCTS:
            used = (*operator.inputs[:2], operator.outputs[0])
            is_int8 = all(tensors[index].type == schema.TensorType.INT8 for index in used)
            yield operator_label(tree, operator), is_int8


def read_openvino_graph(model: Converted) -> Verdicts:
    """OpenVINO computes in int8 where activations come through FakeQuantize and weights from int8 constants."""
    from siamedge.export.formats.to_openvino import import_openvino

    graph = import_openvino().Core().read_model(model=model.content, weights=model.weights)
    for node in graph.get_ordered_ops():
        if node.get_type_name() in OPENVINO_PRODUCTS:
            yield plain_name(node), all(_is_int8(node.input_value(i).get_node()) for i in (0, 1))


def _is_int8(node: Any) -> bool:
    while node.get_type_name() in PASSED_OVER:
        node = node.input_value(0).get_node()
    if node.get_type_name() == "Constant":
        return node.get_element_type().get_type_name() in ("i8", "u8")
    return bool(node.get_type_name() == "FakeQuantize")


READERS: Mapping[Format, Callable[[Converted], Verdicts]] = {
    "onnx": read_onnx_graph,
    "tflite": read_tflite_graph,
    "openvino": read_openvino_graph,
}
