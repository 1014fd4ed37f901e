"""Lets an int8 ONNX model compute on the uint8 crop itself: no cast, no standardisation, no quantization at its border.

A network begins with (crop - mean) * factor. That is how a uint8 tensor with zero point `mean` and scale `factor` is
read, so the first convolution can take the crop as it is, without any rounding.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

LAYOUT_OPS = ("Cast", "Transpose")


@dataclass(frozen=True, slots=True)
class CropChain:
    """What a graph does with its crop before the first real operator.

    Attributes:
        nodes: Names of the operators, in order.
        tensor: What the last of them gives.
        scale: tensor = scale * (crop - zero_point).
        zero_point: 0..255.
    """

    nodes: tuple[str, ...]
    tensor: str
    scale: float
    zero_point: int

    def override(self, quantization: Any) -> dict[str, list[dict[str, Any]]]:
        """The tensor's fixed quantization, as ONNX Runtime's TensorQuantOverrides."""
        scale, zero_point = np.array(self.scale, np.float32), np.array(self.zero_point, np.uint8)
        entry = {"quant_type": quantization.QuantType.QUInt8, "scale": scale, "zero_point": zero_point}
        return {self.tensor: [entry]}


def find_crop_chain(model: "ModelProto", crop: str) -> CropChain | None:
    """Follow a crop through cast, transposition, subtraction of a mean and scaling.

    Args:
        model: fp32 model.
        crop: Name of its uint8 input.

    Returns:
        None if the mean is no grey level, or an operator of the chain has more than one reader.
    """
    names: list[str] = []
    tensor, scale, mean = crop, 1.0, 0.0
    while (node := only_reader(model, tensor)) is not None:
        constant = scalar(model, node)
        if node.op_type == "Sub" and constant is not None and scale == 1.0 and node.input[0] == tensor:
            mean += constant
        elif node.op_type in ("Mul", "Div") and constant is not None and node.input[0] == tensor:
            scale *= constant if node.op_type == "Mul" else 1 / constant
        elif node.op_type not in LAYOUT_OPS:
            break
        names.append(node.name)
        tensor = node.output[0]
    is_grey_level = float(mean).is_integer() and 0 <= mean <= 255
    return CropChain(tuple(names), tensor, scale, int(mean)) if names and is_grey_level and scale > 0 else None


def only_reader(model: "ModelProto", tensor: str) -> "NodeProto | None":
    """The operator that reads a tensor, None if it is not exactly one."""
    readers = [node for node in model.graph.node if tensor in node.input]
    return readers[0] if len(readers) == 1 else None


def scalar(model: "ModelProto", node: "NodeProto") -> float | None:
    """The constant that an operator takes second, if all its elements (one a channel at most) are equal."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    if len(node.input) != 2 or node.input[1] not in constants:
        return None
    values = numpy_helper.to_array(constants[node.input[1]])
    return float(values.flat[0]) if values.size in (1, 3) and values.min() == values.max() else None


def feed_integers(model: "ModelProto", crop: str, chain: CropChain) -> None:
    """Replace, in place, a chain and the quantization behind it by a transposition of the uint8 crop.

    Args:
        model: Quantized model whose chain was left in float, its last tensor quantized as chain.override says.
        crop: Name of the input.
        chain: What was found in the fp32 model.
    """
    quantizer = only_reader(model, chain.tensor)
    if quantizer is None or quantizer.op_type != "QuantizeLinear":
        return
    kept = [node for node in model.graph.node if node.name not in chain.nodes and node.name != quantizer.name]
    moves = [node for node in model.graph.node if node.name in chain.nodes and node.op_type == "Transpose"]
    source = crop
    for move in moves:
        move.input[0], source = source, move.output[0]
    for node in kept:
        for position, name in enumerate(node.input):
            if name == quantizer.output[0]:
                node.input[position] = source
    model.graph.ClearField("value_info")  # it says float32 for what is uint8 now; a runtime infers types itself
    nodes = [*moves, *kept]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    drop_unread(model)


def drop_unread(model: "ModelProto") -> None:
    """Remove, in place, constants that nothing reads."""
    read = {name for node in model.graph.node for name in node.input}
    constants = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(constants)
