"""Changes of an int8 TFLite model as it is loaded on x86-64.

XNNPACK pads the channels that a convolution reads and those that it writes, with AMX both to 64: of the first layers of
a network, with 3 to 32 channels, 2 to 80 times what has to be multiplied; without AMX it is the three colours that
become eight. On groups of pixels (pixel_groups) the same sums take fewer tiles. No bit of the outputs changes.
"""

from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np

from siamedge.runtime.backends.pixel_groups import GroupedWeights, Tile, group_for_tiles, group_weights
from siamedge.runtime.backends.tflite_file import (
    constant_of,
    only_reader,
    operator_name,
    read_flatbuffer,
    schema,
    write_flatbuffer,
)
from siamedge.runtime.tensors import Array

REVISION = 2
"""Of what is changed; a model that is kept is one of it."""


class Edges(NamedTuple):
    """Padding of a picture; pixels, or groups of them, on each side."""

    top: int
    bottom: int
    left: int
    right: int


class Stage(NamedTuple):
    """A convolution that takes fewer tiles on groups of pixels.

    Attributes:
        convolution: Its operator.
        pad: The padding in front of it, which nothing else reads; None if there is none.
        source: Tensor in front of both.
        edges: Pixels around it that fill whole groups and all that the grouped weights read.
        pixels: In a group.
        outputs: Pixels of the result in a group of it.
        grouped: The weights.
    """

    convolution: Any
    pad: Any
    source: int
    edges: Edges
    pixels: int
    outputs: int
    grouped: GroupedWeights


def fit_tiles(content: bytes, tile: Tile) -> bytes:
    """Group the pixels of all int8 convolutions that take fewer tiles so.

    Args:
        content: A TFLite model.
        tile: Of XNNPACK's kernels on this processor.

    Returns:
        The changed model, or the content itself where there is nothing to change.
    """
    model = read_flatbuffer(content)
    stages = [stage for operator in model.subgraphs[0].operators if (stage := find_stage(model, operator, tile))]
    if not stages:
        return content
    Grouping(model).apply(stages)
    return write_flatbuffer(model)


def find_stage(model: Any, convolution: Any, tile: Tile) -> Stage | None:
    """How an operator is to be grouped; None where it is no such convolution or as cheap on single pixels."""
    graph = model.subgraphs[0]
    if operator_name(model, convolution) != "CONV_2D" or not is_plain(graph, convolution):
        return None
    options, stored = convolution.builtinOptions, constant_of(model, int(convolution.inputs[1]), np.int8)
    if stored is None or {options.dilationHFactor, options.dilationWFactor} != {1}:
        return None
    weights = stored.transpose(0, 3, 1, 2)
    strides = (options.strideH, options.strideW)
    pad, source, edges = find_padding(model, convolution, (weights.shape[2], weights.shape[3]), strides)
    if edges is None:
        return None
    columns, results = (int(graph.tensors[index].shape[2]) for index in (source, convolution.outputs[0]))
    pixels = group_for_tiles(weights.shape, tile, stride=options.strideW, pad=edges.left, width=results)
    outputs = pixels // options.strideW
    if pixels == 1:
        return None
    grouped = group_weights(weights, stride=options.strideW, pad=edges.left, pixels=pixels)
    left, read = grouped.before * pixels, (results // outputs + grouped.before + grouped.after) * pixels
    if read < left + columns:  # what lies behind the last pixel that is read would have to be cut off
        return None
    edges = edges._replace(left=left, right=read - left - columns)
    return Stage(convolution, pad, source, edges, pixels, outputs, grouped)


def is_plain(graph: Any, operator: Any) -> bool:
    """Whether an operator with a bias reads and writes one int8 picture, each output all of its channels."""
    tensors = [graph.tensors[int(index)] for index in (*operator.inputs[:2], *operator.outputs)]
    has_bias = len(operator.inputs) == 3 and int(operator.inputs[2]) >= 0
    is_one = int(tensors[0].shape[0]) == 1
    reads_all = int(tensors[0].shape[3]) == int(tensors[1].shape[3])  # else groups of channels do, each its own
    return has_bias and is_one and reads_all and {tensor.type for tensor in tensors} == {schema().TensorType.INT8}


def find_padding(
    model: Any, convolution: Any, kernel: tuple[int, int], strides: tuple[int, int]
) -> tuple[Any, int, Edges | None]:
    """The PAD in front of a convolution or None, the tensor in front of both, and the padding; None where unknown."""
    source = int(convolution.inputs[0])
    if convolution.builtinOptions.padding == schema().Padding.SAME:
        if strides != (1, 1):  # it hangs on the picture's size
            return None, source, None
        (top, left), (bottom, right) = ((size - 1) // 2 for size in kernel), (size // 2 for size in kernel)
        return None, source, Edges(top, bottom, left, right)
    before = next((operator for operator in model.subgraphs[0].operators if source in operator.outputs), None)
    if before is None or operator_name(model, before) != "PAD":
        return None, source, Edges(0, 0, 0, 0)
    sizes = constant_of(model, int(before.inputs[1]), np.int32)
    if only_reader(model, source) is None or sizes is None or sizes[[0, 3]].any():
        return None, source, Edges(0, 0, 0, 0)
    (top, bottom), (left, right) = sizes[1:3].tolist()
    return before, int(before.inputs[0]), Edges(top, bottom, left, right)


class Grouping:
    """Edits a model in place.

    Args:
        model: The object tree.
    """

    def __init__(self, model: Any) -> None:
        self._model, self._graph = model, model.subgraphs[0]
        self._operators: list[Any] = []
        self._views: list[Any] = []
        self._groups: dict[int, int] = {}

    def apply(self, stages: list[Stage]) -> None:
        """Replace the stages' operators by those on groups of pixels."""
        found = {id(stage.convolution): stage for stage in stages}
        dropped = {id(stage.pad) for stage in stages}
        for operator in self._graph.operators:
            if (stage := found.get(id(operator))) is not None:
                self._add_stage(stage)
            elif id(operator) not in dropped:
                self._operators.append(operator)
        read = {int(index) for operator in self._operators for index in operator.inputs} | set(self._graph.outputs)
        unread = {id(view) for view in self._views if int(view.outputs[0]) not in read}
        self._graph.operators = [operator for operator in self._operators if id(operator) not in unread]

    def _add_stage(self, stage: Stage) -> None:
        """The padding, the convolution of groups, and its result read as the pixels that it is."""
        convolution, outputs = deepcopy(stage.convolution), stage.outputs
        _, weights, bias = (int(index) for index in convolution.inputs)
        result = int(convolution.outputs[0])
        _, rows, columns, channels = self._shape(result)
        inputs = (
            self._read(stage),
            self._constant(weights, stage.grouped.weights.transpose(0, 2, 3, 1), outputs),
            self._constant(bias, np.tile(self._values(bias), outputs), outputs),
        )
        groups = result
        if outputs > 1:
            groups = self._groups[result] = self._tensor(result, (1, rows, columns // outputs, outputs * channels))
        convolution.inputs, convolution.outputs = np.array(inputs, np.int32), np.array((groups,), np.int32)
        convolution.builtinOptions.padding, convolution.builtinOptions.strideW = schema().Padding.VALID, 1
        self._operators.append(convolution)
        if outputs > 1:
            self._reshape(groups, result)
            self._views.append(self._operators[-1])

    def _read(self, stage: Stage) -> int:
        """The stage's input, padded, in groups of pixels."""
        (top, bottom, left, right), pixels = stage.edges, stage.pixels
        if self._shape(stage.source)[2] % pixels or right % pixels:
            return self._view(self._padded(stage.source, stage.edges), pixels)
        edges = Edges(top, bottom, left // pixels, right // pixels)
        return self._padded(self._view(stage.source, pixels), edges)

    def _padded(self, source: int, edges: Edges) -> int:
        if not any(edges):
            return source
        _, rows, columns, channels = self._shape(source)
        top, bottom, left, right = edges
        padded = self._tensor(source, (1, rows + top + bottom, columns + left + right, channels))
        sizes = np.array(((0, 0), (top, bottom), (left, right), (0, 0)), np.int32)
        self._add("PAD", schema().PadOptionsT(), (source, self._integers(sizes)), padded)
        return padded

    def _view(self, source: int, pixels: int) -> int:
        """A tensor's groups of pixels; what a convolution wrote in the same groups is taken as it stands."""
        _, rows, columns, channels = self._shape(source)
        shape = (1, rows, columns // pixels, pixels * channels)
        known = self._groups.get(source)
        if known is not None and self._shape(known) == shape:
            return known
        view = self._tensor(source, shape)
        self._reshape(source, view)
        return view

    def _reshape(self, source: int, target: int) -> None:
        options = schema().ReshapeOptionsT()
        options.newShape = np.array(self._shape(target), np.int32)
        self._add("RESHAPE", options, (source, self._integers(options.newShape)), target)

    def _add(self, name: str, options: Any, inputs: tuple[int, int], output: int) -> None:
        operator = schema().OperatorT()
        operator.opcodeIndex = self._code(name)
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array((output,), np.int32)
        operator.builtinOptions = options
        operator.builtinOptionsType = getattr(schema().BuiltinOptions, type(options).__name__.removesuffix("T"))
        self._operators.append(operator)

    def _code(self, name: str) -> int:
        """Index of an operator's type in the model, which is added where it has none such."""
        wanted = getattr(schema().BuiltinOperator, name)
        for index, code in enumerate(self._model.operatorCodes):
            if code.builtinCode == wanted:
                return index
        code = schema().OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = wanted
        code.version = 1
        self._model.operatorCodes.append(code)
        return len(self._model.operatorCodes) - 1

    def _shape(self, tensor: int) -> tuple[int, ...]:
        return tuple(int(size) for size in self._graph.tensors[tensor].shape)

    def _values(self, tensor: int) -> Array:
        values = constant_of(self._model, tensor, np.int32)
        assert values is not None, "a bias of int8 convolutions is a constant"
        return values

    def _tensor(self, like: int, shape: tuple[int, ...]) -> int:
        """A tensor that is computed, quantized as another one."""
        tensor = deepcopy(self._graph.tensors[like])
        tensor.shape, tensor.shapeSignature, tensor.buffer = np.array(shape, np.int32), None, 0
        return self._append(tensor)

    def _constant(self, like: int, values: Array, outputs: int) -> int:
        """A constant, its scales those of another one for each output pixel of a group."""
        tensor = deepcopy(self._graph.tensors[like])
        tensor.shape, tensor.shapeSignature = np.array(values.shape, np.int32), None
        quantization = tensor.quantization
        if len(quantization.scale) > 1:
            quantization.scale = np.tile(quantization.scale, outputs)
            quantization.zeroPoint = np.tile(quantization.zeroPoint, outputs)
            quantization.min = quantization.max = None
        return self._store(tensor, values)

    def _integers(self, values: Array) -> int:
        """A constant of int32 without a scale."""
        tensor = schema().TensorT()
        tensor.shape, tensor.type = np.array(values.shape, np.int32), schema().TensorType.INT32
        return self._store(tensor, values)

    def _store(self, tensor: Any, values: Array) -> int:
        buffer = schema().BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        tensor.buffer = len(self._model.buffers) - 1
        return self._append(tensor)

    def _append(self, tensor: Any) -> int:
        tensor.name = f"tiles/{len(self._graph.tensors)}".encode()
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1
