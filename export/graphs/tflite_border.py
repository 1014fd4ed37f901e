"""Lets an int8 TFLite model take the bytes of the crop and compute on them.

The quantizer leaves the crop in float32 in front of a QUANTIZE; and it leaves the standardisation, (crop - mean) *
factor, in the graph, two passes over the whole crop and two roundings, where it can be the bytes' scale and zero point.
"""

from typing import Any, NamedTuple

import numpy as np

from siamedge.runtime.backends.tflite_file import (
    constant_of,
    only_reader,
    operator_name,
    read_flatbuffer,
    write_flatbuffer,
)
from siamedge.runtime.errors import ExportError

INTEGER_WITHIN = 1e-3
"""A mean was rounded when it was stored as a constant; its zero point is an integer to so much."""
STANDARDISATION = ("SUB", "MUL")


class Chain(NamedTuple):
    """What a graph does with its crop before the first convolution.

    Attributes:
        operators: Subtractions of and products with a constant.
        readers: The padding, if there is one, and the convolution.
        scale: What the convolution reads is scale * (stored - zero_point).
        zero_point: -128..127.
    """

    operators: list[Any]
    readers: list[Any]
    scale: float
    zero_point: int


def fold_standardisation(content: bytes, crop: str) -> bytes:
    """Give the model with the standardisation of its int8 crop folded into the crop's quantization.

    Args:
        content: A model whose crop is int8, a step a grey level.
        crop: Name of the input in the signature.

    Returns:
        The edited model; as it was where its crop is not standardised by constants in front of a convolution.
    """
    model = read_flatbuffer(content)
    graph = model.subgraphs[0]
    index = next(item.tensorIndex for item in model.signatureDefs[0].inputs if item.name.decode() == crop)
    chain = find_chain(model, index)
    if chain is None:
        return content
    for operator in chain.operators:
        graph.operators.remove(operator)
    chain.readers[0].inputs[0] = index
    before = float(graph.tensors[chain.operators[-1].outputs[0]].quantization.scale[0])
    for tensor in (index, *(int(reader.outputs[0]) for reader in chain.readers[:-1])):
        set_quantization(graph.tensors[tensor], chain)
    rescale_bias(model, chain.readers[-1], before / chain.scale)
    return write_flatbuffer(model)


def find_chain(model: Any, tensor: int) -> Chain | None:
    """Follow an int8 crop through its standardisation to the first convolution."""
    operators: list[Any] = []
    scale, zero_point = 1.0, -128.0
    while (reader := only_reader(model, tensor)) is not None and operator_name(model, reader) in STANDARDISATION:
        constant = scalar(model, int(reader.inputs[1]))
        if constant is None or int(reader.inputs[0]) != tensor:
            return None
        if operator_name(model, reader) == "SUB":
            zero_point += constant / scale
        else:
            scale *= constant
        operators.append(reader)
        tensor = int(reader.outputs[0])
    readers = [reader] if reader is not None else []
    if readers and operator_name(model, readers[0]) == "PAD":
        readers.append(only_reader(model, int(readers[0].outputs[0])))
    is_known = bool(readers) and readers[-1] is not None and operator_name(model, readers[-1]) == "CONV_2D"
    is_integer = abs(zero_point - round(zero_point)) < INTEGER_WITHIN and -128 <= round(zero_point) <= 127
    if not operators or not is_known or not is_integer or scale <= 0:
        return None
    return Chain(operators, readers, scale, round(zero_point))


def scalar(model: Any, index: int) -> float | None:
    """The value of a quantized constant with one element; None for anything else."""
    tensor, stored = model.subgraphs[0].tensors[index], constant_of(model, index, np.int8)
    if stored is None or stored.size != 1 or tensor.quantization is None or tensor.quantization.scale is None:
        return None
    step = int(stored.item()) - int(tensor.quantization.zeroPoint[0])
    return float(step) * float(tensor.quantization.scale[0])


def set_quantization(tensor: Any, chain: Chain) -> None:
    """Give a tensor the quantization behind a chain."""
    tensor.quantization.scale = np.array([chain.scale], np.float32)
    tensor.quantization.zeroPoint = np.array([chain.zero_point], np.int64)
    tensor.quantization.min = tensor.quantization.max = None


def rescale_bias(model: Any, convolution: Any, ratio: float) -> None:
    """Express a convolution's bias in steps of another input scale: ratio = old scale / new scale."""
    tensor = model.subgraphs[0].tensors[int(convolution.inputs[2])]
    buffer = model.buffers[tensor.buffer]
    steps = np.frombuffer(bytes(buffer.data), np.int32).astype(np.float64) * ratio
    buffer.data = np.frombuffer(np.rint(steps).astype(np.int32).tobytes(), np.uint8)
    tensor.quantization.scale = (np.asarray(tensor.quantization.scale, np.float64) / ratio).astype(np.float32)


def make_crop_int8(content: bytes, crop: str) -> bytes | None:
    """Let a quantized model take its crop in int8 instead of float32.

    The quantizer can leave all inputs in float32 or none. It leaves them, and this removes the QUANTIZE operator
    behind the crop, so that the crop's int8 tensor becomes the input.

    Args:
        content: Model whose crop is float32.
        crop: Name of the input in the signature.

    Returns:
        The edited model, or None where an operator reads the crop in float: its first layer was not quantized.

    Raises:
        ExportError: The crop is not quantized with one step a grey level.
    """
    model = read_flatbuffer(content)
    graph = model.subgraphs[0]
    entry = next(item for item in model.signatureDefs[0].inputs if item.name.decode() == crop)
    users = [operator for operator in graph.operators if entry.tensorIndex in operator.inputs]
    if len(users) != 1 or operator_name(model, users[0]) != "QUANTIZE":
        return None
    quantized = int(users[0].outputs[0])
    check_steps(graph.tensors[quantized])
    graph.operators.remove(users[0])
    graph.inputs = [quantized if index == entry.tensorIndex else index for index in graph.inputs]
    entry.tensorIndex = quantized
    return write_flatbuffer(model)


def check_steps(tensor: Any) -> None:
    """Make sure that a tensor is int8 with scale 1 and zero point -128.

    Raises:
        ExportError: It is not.
    """
    quantization = tensor.quantization
    scale = None if quantization is None or quantization.scale is None else float(quantization.scale[0])
    zero_point = None if scale is None else int(quantization.zeroPoint[0])
    if (scale, zero_point) != (1.0, -128):
        raise ExportError(f"TFLite int8: the crop has scale {scale} and zero point {zero_point}, expected 1.0 and -128")
