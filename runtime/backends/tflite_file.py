"""Reads and writes TFLite files by their schema."""

import math
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from siamedge.runtime.tensors import Array

ALIGNMENT_BYTES = 16
"""Of a tensor's constant data; the runtime maps it where it lies."""


def schema() -> ModuleType:
    """The classes of TFLite's schema.

    Raises:
        ImportError: ai-edge-litert is not installed.
    """
    from ai_edge_litert import schema_py_generated  # type: ignore[import-untyped]

    module: ModuleType = schema_py_generated
    return module


def read_flatbuffer(content: bytes) -> Any:
    """Read a TFLite file into the schema's object tree, with all constant data inside."""
    model = schema().ModelT.InitFromObj(schema().Model.GetRootAs(bytearray(content), 0))
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


def constant_of(model: Any, index: int, kind: type[np.generic]) -> Array | None:
    """A tensor's values if it is a constant of that type; None if it is not."""
    tensor = model.subgraphs[0].tensors[index]
    stored, shape = model.buffers[tensor.buffer].data, [int(size) for size in tensor.shape]
    if stored is None or len(stored) != math.prod(shape) * np.dtype(kind).itemsize:
        return None
    return np.frombuffer(bytes(stored), kind).reshape(shape)


def only_reader(model: Any, tensor: int) -> Any:
    """The operator that reads a tensor; None if it is not exactly one."""
    readers = [operator for operator in model.subgraphs[0].operators if tensor in operator.inputs]
    return readers[0] if len(readers) == 1 else None


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
    return {code: name for name, code in vars(schema().BuiltinOperator).items() if isinstance(code, int)}
