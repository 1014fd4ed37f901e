"""A TFLite model on groups of pixels gives the same bytes as on single ones, and takes fewer tiles."""

import platform
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from tflite_parts import operator_code, signature_of

from siamedge.runtime.backends import litert_backend, processor
from siamedge.runtime.backends.backend import Model
from siamedge.runtime.backends.cache import CompiledCache
from siamedge.runtime.backends.litert_backend import LiteRTBackend
from siamedge.runtime.backends.litert_tiles import fit_tiles
from siamedge.runtime.backends.pixel_groups import AMX, X86, Tile
from siamedge.runtime.backends.tflite_file import operator_name, read_flatbuffer, write_flatbuffer
from siamedge.runtime.errors import BackendError
from siamedge.runtime.tensors import TensorSpec

schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
pytest.importorskip("flatbuffers")


class Layer(NamedTuple):
    """A convolution with ReLU behind, and the padding in front of it.

    Attributes:
        outputs: Channels.
        kernel: Side.
        stride: Of both axes.
        pad: Pixels on every side by a PAD of its own; None: SAME.
        groups: So many parts of the outputs each read a part of the inputs.
    """

    outputs: int
    kernel: int
    stride: int
    pad: int | None
    groups: int = 1


class Builder:
    """An int8 TFLite model of convolutions, one after the other, with random weights."""

    def __init__(self, side: int) -> None:
        self._random = np.random.default_rng(side)
        self._model, self._graph = schema.ModelT(), schema.SubGraphT()
        self._model.version, self._model.subgraphs, self._model.buffers = 3, [self._graph], [schema.BufferT()]
        self._model.operatorCodes = [operator_code("CONV_2D", 3), operator_code("PAD", 2)]
        self._graph.tensors, self._graph.operators = [], []
        self._last = self._tensor((1, side, side, 3), [0.5], -3)
        self._graph.inputs = [self._last]

    def add(self, layer: Layer) -> None:
        _, rows, columns, channels = self._graph.tensors[self._last].shape
        if layer.pad:
            sizes = np.array(((0, 0), (layer.pad, layer.pad), (layer.pad, layer.pad), (0, 0)), np.int32)
            rows, columns = rows + 2 * layer.pad, columns + 2 * layer.pad
            padded = self._tensor((1, rows, columns, channels), [self._scale(self._last)], -3)
            self._operator(1, schema.PadOptionsT(), (self._last, self._constant(sizes, None)), padded)
            self._last = padded
        options = schema.Conv2DOptionsT()
        options.strideH = options.strideW = layer.stride
        options.dilationHFactor = options.dilationWFactor = 1
        options.padding = schema.Padding.SAME if layer.pad is None else schema.Padding.VALID
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU
        lost = 0 if layer.pad is None else layer.kernel - 1
        size = tuple(-(-(count - lost) // layer.stride) for count in (rows, columns))
        shape = (layer.outputs, layer.kernel, layer.kernel, channels // layer.groups)
        scales = self._random.uniform(0.002, 0.01, layer.outputs)
        weights = self._constant(self._random.integers(-127, 128, shape).astype(np.int8), scales)
        bias = self._constant(
            self._random.integers(-999, 999, layer.outputs).astype(np.int32), scales * self._scale(self._last)
        )
        result = self._tensor((1, *size, layer.outputs), [0.4], -3)
        self._operator(0, options, (self._last, weights, bias), result)
        self._last = result

    def finish(self) -> Model:
        self._graph.outputs = [self._last]
        ends = [
            tuple(int(n) for n in self._graph.tensors[index].shape) for index in (self._graph.inputs[0], self._last)
        ]
        self._model.signatureDefs = [signature_of({"x": self._graph.inputs[0]}, {"y": self._last})]
        specs = [
            TensorSpec(name, shape, "int8", "NHWC", scale, -3)
            for name, shape, scale in zip("xy", ends, (0.5, 0.4), strict=True)
        ]
        return Model("layers.tflite", "int8", write_flatbuffer(self._model), b"", (specs[0],), (specs[1],))

    def _scale(self, tensor: int) -> float:
        return float(self._graph.tensors[tensor].quantization.scale[0])

    def _operator(self, code: int, options: Any, inputs: tuple[int, ...], output: int) -> None:
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.builtinOptions = code, options
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array((output,), np.int32)
        self._graph.operators.append(operator)

    def _tensor(self, shape: tuple[int, ...], scales: Any, zero_point: int, kind: str = "INT8", buffer: int = 0) -> int:
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer = np.array(shape, np.int32), getattr(schema.TensorType, kind), buffer
        tensor.name = f"t{len(self._graph.tensors)}".encode()
        if scales is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = np.array(scales, np.float32)
            tensor.quantization.zeroPoint = np.full(len(scales), zero_point, np.int64)
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _constant(self, values: Any, scales: Any) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        kind = "INT8" if values.dtype == np.int8 else "INT32"
        return self._tensor(values.shape, scales, 0, kind, len(self._model.buffers) - 1)


def model_of(side: int, *layers: Layer) -> Model:
    builder = Builder(side)
    for layer in layers:
        builder.add(layer)
    return builder.finish()


def outputs(model: Model) -> np.ndarray:
    picture = np.random.default_rng(1).integers(-128, 128, model.inputs[0].shape).astype(np.int8)
    session = LiteRTBackend().load(model._replace(precision="fp32"), device="CPU", threads=1)
    return session.run({"x": picture})["y"].copy()


def operators(content: bytes) -> list[tuple[str, tuple[int, ...]]]:
    """Type of each operator and shape of its result."""
    model = read_flatbuffer(content)
    tensors = model.subgraphs[0].tensors
    return [
        (operator_name(model, operator), tuple(int(n) for n in tensors[operator.outputs[0]].shape))
        for operator in model.subgraphs[0].operators
    ]


CASES = {
    "even, stride 2": (model_of, 32, (Layer(8, 3, 2, 1),)),
    "odd, stride 2": (model_of, 31, (Layer(16, 3, 2, 1),)),
    "odd, without padding": (model_of, 33, (Layer(16, 3, 2, 0),)),
    "one after the other": (model_of, 32, (Layer(8, 3, 2, 1), Layer(32, 3, 2, 1), Layer(64, 3, 1, 1))),
    "same": (model_of, 16, (Layer(8, 3, 1, None), Layer(16, 5, 1, None))),
    "1x1": (model_of, 12, (Layer(24, 1, 1, None), Layer(48, 1, 1, 0))),
    "wide kernel": (model_of, 31, (Layer(8, 11, 2, 0),)),
    "even kernel": (model_of, 16, (Layer(8, 4, 2, 1), Layer(8, 2, 1, None))),
}


@pytest.mark.parametrize("tile", [AMX, X86], ids=["AMX", "without"])
@pytest.mark.parametrize("case", CASES)
def test_no_byte_changes(case: str, tile: Tile) -> None:
    make, side, layers = CASES[case]
    model = make(side, *layers)
    fitted = fit_tiles(model.content, tile)
    assert operators(fitted) != operators(model.content)
    plain = outputs(model)
    assert len(np.unique(plain)) > 20, "or nothing is compared"
    np.testing.assert_array_equal(outputs(model._replace(content=fitted)), plain)


def test_convolutions_that_follow_one_another_hand_over_their_groups() -> None:
    """8, 4 and 2 pixels: 24, 64 and 64 channels for the tiles, and no copy of what lies between."""
    model = model_of(64, Layer(16, 3, 2, 1), Layer(32, 3, 2, 1), Layer(64, 3, 2, 1))
    assert operators(fit_tiles(model.content, AMX)) == [
        ("RESHAPE", (1, 64, 8, 24)),
        ("PAD", (1, 66, 9, 24)),
        ("CONV_2D", (1, 32, 8, 64)),
        ("PAD", (1, 34, 9, 64)),
        ("CONV_2D", (1, 16, 8, 64)),
        ("PAD", (1, 18, 9, 64)),
        ("CONV_2D", (1, 8, 8, 64)),
    ]


def test_what_else_reads_a_result_reads_it_in_pixels() -> None:
    """The result of the first layer is an output, too; the second one reads it in groups."""
    tree = read_flatbuffer(model_of(64, Layer(16, 3, 2, 1), Layer(32, 3, 2, 1)).content)
    graph = tree.subgraphs[0]
    first = next(operator for operator in graph.operators if operator_name(tree, operator) == "CONV_2D").outputs[0]
    graph.outputs, tree.signatureDefs = [int(first), *graph.outputs], None
    plain = write_flatbuffer(tree)
    fitted = fit_tiles(plain, AMX)
    assert ("RESHAPE", (1, 32, 32, 16)) in operators(fitted)
    interpreter_of = pytest.importorskip("ai_edge_litert.interpreter").Interpreter
    found = []
    for content in (plain, fitted):
        interpreter = interpreter_of(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
        picture = np.random.default_rng(1).integers(-128, 128, (1, 64, 64, 3)).astype(np.int8)
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture)
        interpreter.invoke()
        found.append([interpreter.get_tensor(item["index"]) for item in interpreter.get_output_details()])
    assert [value.shape for value in found[0]] == [(1, 32, 32, 16), (1, 16, 16, 32)]
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_takes_no_fewer_tiles_or_cannot_be_read_in_groups_stays() -> None:
    wide = model_of(16, Layer(64, 3, 1, 1), Layer(64, 3, 1, 1)).content
    assert operators(fit_tiles(wide, AMX))[-2:] == operators(wide)[-2:]
    strided = model_of(15, Layer(64, 3, 2, None)).content
    assert fit_tiles(strided, AMX) is strided, "its padding hangs on the picture's side"


def test_a_convolution_of_groups_of_channels_stays() -> None:
    """Its weights have the channels of one group, so that pixels cannot be told from groups in its input."""
    model = model_of(32, Layer(8, 1, 1, 0), Layer(16, 3, 2, 1, groups=2))
    assert operators(fit_tiles(model.content, AMX))[-1] == ("CONV_2D", (1, 16, 16, 16))
    np.testing.assert_array_equal(outputs(model._replace(content=fit_tiles(model.content, AMX))), outputs(model))


@pytest.mark.parametrize(
    ("machine", "amx", "tile"), [("aarch64", False, None), ("x86_64", False, X86), ("AMD64", True, AMX)]
)
def test_the_tile_of_a_processor(machine: str, amx: bool, tile: Tile | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(processor, "has_amx", lambda: amx)
    assert litert_backend.tile_here() == tile


def test_each_processor_gets_its_groups_and_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, cache = model_of(32, Layer(8, 3, 2, 1)), CompiledCache(tmp_path / "compiled")

    def on(tile: Tile | None) -> Model:
        monkeypatch.setattr(litert_backend, "tile_here", lambda: tile)
        return litert_backend.fitted(model, cache)

    assert on(None) is model
    assert not cache.folder.exists()
    assert on(X86).content == fit_tiles(model.content, X86) != model.content
    first = on(AMX)
    assert first.content == fit_tiles(model.content, AMX) != fit_tiles(model.content, X86)
    paths = {path: path.read_bytes() for path in cache.folder.iterdir()}
    assert len(paths) == 2
    assert on(AMX) == first
    for path, kept in paths.items():
        path.write_bytes(kept[:-9])
    assert on(AMX) == first
    assert sum(path.read_bytes() == kept for path, kept in paths.items()) == 1
    assert litert_backend.fitted(model._replace(precision="fp32"), cache).content == model.content
    session = LiteRTBackend(cache).load(model, device="CPU", threads=1)
    picture = np.random.default_rng(1).integers(-128, 128, model.inputs[0].shape).astype(np.int8)
    np.testing.assert_array_equal(session.run({"x": picture})["y"], outputs(model))


def test_of_a_model_that_stays_only_that_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, cache = model_of(15, Layer(64, 3, 2, None)), CompiledCache(tmp_path / "compiled")
    monkeypatch.setattr(litert_backend, "tile_here", lambda: AMX)
    for _ in range(2):
        assert litert_backend.fitted(model, cache) is model
        (path,) = cache.folder.iterdir()
        assert path.stat().st_size < len(model.content)


@pytest.mark.parametrize("content", [b"", b"no model", model_of(32, Layer(8, 3, 2, 1)).content[:900]])
def test_what_is_no_model_stays_for_litert_to_refuse(content: bytes) -> None:
    model = model_of(32, Layer(8, 3, 2, 1))._replace(content=content)
    assert litert_backend.fitted(model, None) is model
    with pytest.raises(BackendError, match=r"layers\.tflite: .* refuses the model"):
        LiteRTBackend().load(model, device="CPU", threads=1)
