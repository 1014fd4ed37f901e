"""LiteRT (TensorFlow Lite): ai-edge-litert, or its predecessor tflite-runtime where that one still works."""

import ctypes
import struct
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import numpy as np

from siamedge.runtime.backends.absence import import_failure, is_absence
from siamedge.runtime.backends.backend import Format, Model
from siamedge.runtime.backends.cache import CacheKey, CompiledCache, model_sha256
from siamedge.runtime.backends.feeds import DeclaredTensors, check_declared, check_feeds, is_frozen
from siamedge.runtime.backends.pixel_groups import AMX, X86, Tile
from siamedge.runtime.errors import BackendError
from siamedge.runtime.native_stderr import quiet_native_stderr
from siamedge.runtime.tensors import Array

LIBRARIES: tuple[tuple[str, str], ...] = (
    ("ai-edge-litert", "ai_edge_litert.interpreter"),
    ("tflite-runtime", "tflite_runtime.interpreter"),
)
"""Distribution name and module, the preferred one first."""

SIGNATURE = "serving_default"
HINT_INSTALL = "pip install 'siamedge[tflite]'"

UNREADABLE = (struct.error, ValueError, TypeError, IndexError, KeyError, AttributeError)
"""What flatbuffers raises where bytes are no model."""

MakeInterpreter = Callable[..., Any]


def find_interpreter() -> MakeInterpreter:
    """Give the Interpreter class of the first library that is there.

    Raises:
        BackendError: None can be imported.
    """
    reasons = []
    for distribution, module in LIBRARIES:
        try:
            make: MakeInterpreter = import_module(module).Interpreter
        except ImportError as error:
            reasons.append(import_failure(distribution, module, error))
        except AttributeError as error:
            reasons.append(f"{distribution} does not load: {error}")
        else:
            return make
    broken = [reason for reason in reasons if not is_absence(reason)]
    raise BackendError("; ".join(broken) or import_failure("LiteRT", "", None), hint=HINT_INSTALL)


def build_interpreter(model: Model, threads: int) -> Any:
    """Load a model into an interpreter with its memory allocated.

    Raises:
        BackendError: No library is installed, it is broken (tflite-runtime with numpy 2 dies here), or it refuses
            the model.
    """
    make = find_interpreter()
    try:
        with quiet_native_stderr():
            interpreter = make(model_content=model.content, num_threads=threads)
            interpreter.allocate_tensors()
    except (RuntimeError, ValueError, AttributeError, SystemError) as error:
        raise BackendError(f"{model.name}: {make.__module__} refuses the model: {error}", hint=HINT_INSTALL) from error
    return interpreter


class LiteRTSession(DeclaredTensors):
    """A model in LiteRT; tensors are addressed by the names of the file's signature."""

    def __init__(self, model: Model, threads: int) -> None:
        super().__init__(model)
        self._interpreter = build_interpreter(model, threads)
        inputs, outputs = signature_tensors(model.name, self._interpreter)
        check_declared(model.name, "inputs", declared(inputs), model.inputs)
        check_declared(model.name, "outputs", declared(outputs), model.outputs)
        self._input_indices = {name: int(tensor["index"]) for name, tensor in inputs.items()}
        self._output_indices = {name: int(tensor["index"]) for name, tensor in outputs.items()}
        self._lent: dict[str, Array] = {}
        self._there: dict[str, Array] = {}  # feeds whose values are in the interpreter: lent memory, or frozen
        self._results: dict[str, Array] | None = None

    def run(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        """Compute all outputs; their memory is reused by the next call.

        Raises:
            BackendError: The feeds are not the model's inputs, the session is closed, or the library fails.
        """
        interpreter = self._interpreter
        if interpreter is None:
            raise BackendError(f"{self._name}: the session is closed")
        check_feeds(self._name, self._inputs, feeds)
        try:
            for name, feed in feeds.items():
                if self._there.get(name) is not feed:
                    self._copy(name, feed)
            interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise BackendError(f"{self._name}: LiteRT failed: {error}") from error
        if self._results is None:  # what a delegate computes may move when it runs first
            self._results = {name: borrow_tensor(interpreter, at) for name, at in self._output_indices.items()}
        return self._results

    def _copy(self, name: str, feed: Array) -> None:
        """Copy a feed into the interpreter, and remember one that is frozen: it need not be copied again."""
        self._interpreter.set_tensor(self._input_indices[name], feed)
        if name in self._lent:
            return
        if is_frozen(feed):
            self._there[name] = feed
        else:
            self._there.pop(name, None)

    def memory(self, name: str) -> Array:
        """An input's memory in the interpreter, which it keeps alive."""
        if name not in self._lent:
            self._lent[name] = self._there[name] = borrow_tensor(self._interpreter, self._input_indices[name])
        return self._lent[name]

    def close(self) -> None:
        """Free the model."""
        self._interpreter = self._results = None
        self._lent.clear()
        self._there.clear()


def borrow_tensor(interpreter: Any, index: int) -> Array:
    """Give a tensor's memory.

    The interpreter refuses to run while a view that it made itself is held, lest its memory moves. Here it is allocated
    once and never resized, and the array keeps the interpreter alive.
    """
    view = interpreter.tensor(index)()
    address, shape, dtype, size = view.ctypes.data, view.shape, view.dtype, view.nbytes
    del view
    memory = (ctypes.c_byte * size).from_address(address)
    memory.owner = interpreter
    return np.frombuffer(memory, dtype).reshape(shape)


def signature_tensors(model: str, interpreter: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs and outputs of the signature, by name.

    Raises:
        BackendError: The file has no signature of the expected name.
    """
    try:
        runner = interpreter.get_signature_runner(SIGNATURE)
    except ValueError as error:
        raise BackendError(
            f"{model}: no signature {SIGNATURE!r} in the file", hint="export the bundle again"
        ) from error
    return dict(runner.get_input_details()), dict(runner.get_output_details())


def declared(tensors: Mapping[str, Any]) -> dict[str, tuple[tuple[int, ...], str]]:
    """Name to shape and type of a signature's inputs or outputs."""
    return {
        name: (tuple(int(size) for size in tensor["shape"]), tensor["dtype"].__name__)
        for name, tensor in tensors.items()
    }


def fitted(model: Model, cache: CompiledCache | None) -> Model:
    """A model as XNNPACK computes it fastest on this processor; one with the same outputs to the last bit."""
    if model.precision != "int8" or (tile := tile_here()) is None:
        return model
    from siamedge.runtime.backends.litert_tiles import REVISION, fit_tiles

    key = CacheKey(model_sha256(model), f"siamedge fit_tiles {REVISION}", "x86-64", f"{tile.inputs}x{tile.outputs}")
    content = cache.read(key) if cache is not None else None
    if content is None:
        try:
            content = fit_tiles(model.content, tile)
        except (ImportError, *UNREADABLE):  # tflite-runtime brings no schema; what is wrong with a model LiteRT says
            return model
        if content is model.content:
            content = b""  # nothing to change
        if cache is not None:
            cache.write(key, content)
    return model._replace(content=content) if content else model


def tile_here() -> Tile | None:
    """Channels that XNNPACK's int8 kernels take at once on this processor; None where they suit any number."""
    import platform

    from siamedge.runtime.backends.processor import has_amx

    if platform.machine() not in ("x86_64", "AMD64"):
        return None
    return AMX if has_amx() else X86


class LiteRTBackend:
    """Runs TFLite files on the CPU (XNNPACK).

    Args:
        cache: Where models that were changed for this processor are kept; None: nowhere.
    """

    name = "tflite"
    format: Format = "tflite"

    def __init__(self, cache: CompiledCache | None = None) -> None:
        self._cache = cache

    def with_cache(self, cache: CompiledCache) -> "LiteRTBackend":
        """The same backend, keeping what it changes."""
        return LiteRTBackend(cache)

    def unavailable(self, device: str) -> str | None:
        """Why LiteRT cannot be used here, or not on that device; None if it can."""
        try:
            find_interpreter()
        except BackendError as error:
            return f"{error} ({error.hint})"
        return None if device.upper() == "CPU" else f"no {device}; siamedge runs LiteRT on CPU"

    def load(self, model: Model, *, device: str, threads: int) -> LiteRTSession:
        """Load a model.

        Raises:
            BackendError: The library is missing, refuses the model or the device is not the CPU.
        """
        if reason := self.unavailable(device):
            raise BackendError(f"{model.name}: {reason}")
        return LiteRTSession(fitted(model, self._cache), threads)
