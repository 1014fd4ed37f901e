"""Brings the border of a finished ONNX model into the form in which ONNX Runtime reads a crop fastest.

A network whose first convolution is quantized takes the bytes of the crop in groups of four pixels (pixel_groups). Any
other takes float32 planes, which the host makes faster than the runtime casts and transposes. Neither changes a bit of
what is computed.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from siamedge.export.graphs.onnx_crop import LAYOUT_OPS, drop_unread, only_reader
from siamedge.runtime.backends.pixel_groups import group_weights
from siamedge.runtime.tensors import Array, TensorSpec

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

PIXELS = 4
"""Times 3 channels is a multiple of 4, without which ONNX Runtime copies every window of a uint8 picture."""
CLAMPS = ("Relu", "Clip")
TO_PLANES, TO_PIXELS = (0, 3, 1, 2), (0, 2, 3, 1)


class Stem(NamedTuple):
    """The first convolution of a quantized model.

    Attributes:
        transpose: Brings the crop into planes.
        convolution: With a constant weight and perhaps a bias, each behind a DequantizeLinear.
        weights: The weight's.
        bias: The bias's, if there is one.
        quantizer: Of the result.
    """

    transpose: "NodeProto"
    convolution: "NodeProto"
    weights: "NodeProto"
    bias: "NodeProto | None"
    quantizer: "NodeProto"


def fit_border(model: "ModelProto", crop: TensorSpec) -> TensorSpec:
    """Change a model in place.

    Args:
        model: With a uint8 NHWC crop.
        crop: That input.

    Returns:
        The crop as it has to be fed.
    """
    stem = find_stem(model, crop.name)
    if stem is None:
        return feed_planes(model, crop)
    if is_groupable(stem, crop):
        group_pixels(model, stem, crop)
    return crop


def find_stem(model: "ModelProto", crop: str) -> Stem | None:
    """Give the first convolution if it is quantized and reads the crop itself."""
    producers = {output: node for node in model.graph.node for output in node.output}
    nodes = follow(model, crop, ("Transpose", "DequantizeLinear", "Conv", "QuantizeLinear"))
    if nodes is None:
        return None
    transpose, _, convolution, quantizer = nodes
    constants = [producers.get(name) for name in convolution.input[1:]]
    if any(node is None or node.op_type != "DequantizeLinear" for node in constants):
        return None
    weights, bias = (*constants, None)[:2]
    return Stem(transpose, convolution, weights, bias, quantizer) if weights is not None else None


def follow(model: "ModelProto", tensor: str, kinds: tuple[str, ...]) -> "list[NodeProto] | None":
    """Give the operators of these types that read a tensor one after the other, stepping over clamps."""
    nodes: list[NodeProto] = []
    while len(nodes) < len(kinds):
        node = only_reader(model, tensor)
        if node is None or node.op_type not in (kinds[len(nodes)], *CLAMPS):
            return None
        if node.op_type not in CLAMPS:
            nodes.append(node)
        tensor = node.output[0]
    return nodes


def attributes(node: "NodeProto") -> dict[str, Any]:
    """Attributes of an operator by name."""
    from onnx import helper

    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def is_groupable(stem: Stem, crop: TensorSpec) -> bool:
    """Whether groups of pixels fit the crop, and the convolution gives a pixel for each step of its stride."""
    found, width = attributes(stem.convolution), crop.shape[2]
    is_plain = found.get("group", 1) == 1 and set(found.get("dilations", (1,))) == {1}
    is_plain = is_plain and found.get("auto_pad", b"NOTSET") == b"NOTSET"
    if not is_plain or not {"kernel_shape", "strides", "pads"} <= found.keys():
        return False
    (_, left, _, right), across = found["pads"], found["strides"][1]
    pixels = (width + left + right - found["kernel_shape"][1]) // across + 1
    return bool(width % PIXELS == PIXELS % across == 0 and pixels == width // across)


def group_pixels(model: "ModelProto", stem: Stem, crop: TensorSpec) -> None:
    """Let, in place, a stem compute on groups of pixels."""
    from onnx import helper, numpy_helper

    graph, convolution, prefix = model.graph, stem.convolution, stem.convolution.name
    constants = {tensor.name: tensor for tensor in graph.initializer}
    found = attributes(convolution)
    (down, across), (top, left, bottom, _) = found["strides"], found["pads"]
    plain = numpy_helper.to_array(constants[stem.weights.input[0]])
    grouped = group_weights(plain, stride=across, pad=left, pixels=PIXELS)
    outputs = PIXELS // across

    def constant(name: str, values: Array) -> str:
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), f"{name}_grouped"))
        return f"{name}_grouped"

    for node in filter(None, (stem.weights, stem.bias)):
        for position, name in enumerate(node.input):
            values = grouped.weights if name == stem.weights.input[0] else numpy_helper.to_array(constants[name])
            is_tiled = values.ndim == 1
            node.input[position] = constant(name, np.tile(values, outputs) if is_tiled else values)
    _, height, width, channels = crop.shape
    sizes = constant(f"{prefix}_crop", np.array((1, height, width // PIXELS, PIXELS * channels), np.int64))
    rows = (height + top + bottom - plain.shape[2]) // down + 1
    pixels = constant(f"{prefix}_pixels", np.array((1, rows, width // across, plain.shape[0]), np.int64))
    del convolution.attribute[:]
    convolution.attribute.extend((
        helper.make_attribute("kernel_shape", grouped.weights.shape[2:]),
        helper.make_attribute("strides", (down, 1)),
        helper.make_attribute("pads", (top, grouped.before, bottom, grouped.after)),
    ))  # fmt: skip
    insert(model, stem.transpose, helper.make_node("Reshape", [crop.name, sizes], [f"{prefix}_groups"]), is_before=True)
    stem.transpose.input[0] = f"{prefix}_groups"
    ungroup(model, stem.quantizer, pixels)
    model.graph.ClearField("value_info")  # it tells shapes that are no more
    drop_unread(model)


def ungroup(model: "ModelProto", quantizer: "NodeProto", sizes: str) -> None:
    """Read, in place, the channels of a group behind a quantizer as the pixels that they are."""
    from onnx import helper

    name = quantizer.output[0]
    nodes = [
        helper.make_node("Transpose", [name], [f"{name}_rows"], perm=TO_PIXELS),
        helper.make_node("Reshape", [f"{name}_rows", sizes], [f"{name}_pixels"]),
        helper.make_node("Transpose", [f"{name}_pixels"], [f"{name}_planes"], perm=TO_PLANES),
    ]
    rename(model, name, f"{name}_planes")
    for node in reversed(nodes):
        insert(model, quantizer, node, is_before=False)


def feed_planes(model: "ModelProto", crop: TensorSpec) -> TensorSpec:
    """Take, in place, float32 planes instead of uint8 pixels, where a model begins by making them."""
    from onnx import TensorProto, helper

    moves, tensor = [], crop.name
    while (node := only_reader(model, tensor)) is not None and node.op_type in LAYOUT_OPS:
        moves.append(node)
        tensor = node.output[0]
    if sorted(node.op_type for node in moves) != ["Cast", "Transpose"]:
        return crop
    for node in moves:
        model.graph.node.remove(node)
    rename(model, tensor, crop.name)
    _, height, width, channels = crop.shape
    shape = (1, channels, height, width)
    entry = next(item for item in model.graph.input if item.name == crop.name)
    entry.CopyFrom(helper.make_tensor_value_info(crop.name, TensorProto.FLOAT, shape))
    return crop._replace(shape=shape, dtype="float32", layout="NCHW")


def insert(model: "ModelProto", beside: "NodeProto", node: "NodeProto", *, is_before: bool) -> None:
    """Put an operator in front of another one, or behind it."""
    position = next(at for at, other in enumerate(model.graph.node) if other.output[0] == beside.output[0])
    model.graph.node.insert(position if is_before else position + 1, node)


def rename(model: "ModelProto", tensor: str, other: str) -> None:
    """Let all readers of a tensor read another one."""
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            if name == tensor:
                node.input[position] = other
