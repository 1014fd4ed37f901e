"""Edits TFLite files by their schema."""

from functools import cache
from typing import Any

import numpy as np

from siamedge.runtime.errors import ExportError

ALIGNMENT_BYTES = 16
"""Of a tensor's constant data; the runtime maps it where it lies."""


def read_flatbuffer(content: bytes) -> Any:
    """Read a TFLite file into the schema's object tree, with all constant data inside."""
    from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(content), 0))
    for buffer in model.buffers:
        if buffer.size:
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def write_flatbuffer(model: Any) -> bytes:
    """Write an object tree as a TFLite file, its constant data aligned behind the flatbuffer.

    The tree is emptied of its constant data.
    """
    chunks = [b"" if buffer.data is None else bytes(buffer.data) for buffer in model.buffers]
    for buffer, chunk in zip(model.buffers, chunks, strict=True):
        buffer.data, buffer.size, buffer.offset = None, len(chunk), min(len(chunk), 1)
    end = aligned(len(pack(model)))
    for buffer, chunk in zip(model.buffers, chunks, strict=True):
        if chunk:
            buffer.offset, end = end, aligned(end + len(chunk))
    result = bytearray(pack(model))
    for chunk in filter(None, chunks):
        result += bytes(aligned(len(result)) - len(result)) + chunk
    return bytes(result)


def aligned(size: int) -> int:
    """The next multiple of ALIGNMENT_BYTES."""
    return -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def pack(model: Any) -> bytes:
    """Serialize an object tree."""
    import flatbuffers  # type: ignore[import-untyped]

    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def operator_names(content: bytes) -> list[str]:
    """Types of the operators of a TFLite file's first subgraph, in order of execution."""
    model = read_flatbuffer(content)
    return [operator_name(model, op) for op in model.subgraphs[0].operators]


def operator_name(model: Any, operator: Any) -> str:
    """Type of an operator of an object tree, such as "CONV_2D"."""
    return _builtin_names()[model.operatorCodes[operator.opcodeIndex].builtinCode]


def operator_scope(model: Any, operator: Any) -> str:
    """The names of what an operator writes, each with a semicolon behind it, by which ai-edge-quantizer finds it."""
    tensors = model.subgraphs[0].tensors
    return "".join(f"{tensors[index].name.decode()};" for index in operator.outputs)


def operator_label(model: Any, operator: Any) -> str:
    """A short name of an operator: the last two modules of its path, without their packages."""
    name = model.subgraphs[0].tensors[int(operator.outputs[0])].name.decode()
    parts = [part.rpartition(".")[2] for part in name.partition(";")[0].split("/")[-2:]]
    numbers = [part for part in name.split(";")[1:] if part.isdigit()]
    return ";".join(("/".join(parts), *numbers))


@cache
def _builtin_names() -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    return {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}


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
