"""ONNX Runtime."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from siamedge.runtime.backends import Format, Model
from siamedge.runtime.errors import BackendError
from siamedge.runtime.feeds import DeclaredTensors, check_declared, check_feeds
from siamedge.runtime.tensors import Array

PROVIDERS: Mapping[str, str] = {
    "CPU": "CPUExecutionProvider",
    "GPU": "CUDAExecutionProvider",
    "TENSORRT": "TensorrtExecutionProvider",
}
"""Device name to the provider that executes on it."""

DTYPES: Mapping[str, str] = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int8)": "int8"}
HINT_INSTALL = "pip install 'siamedge[onnx]'"
ERROR_ONLY = 3
"""Log severity of ONNX Runtime: errors and worse."""


def import_onnxruntime() -> ModuleType:
    """Import the library.

    Raises:
        BackendError: It is not installed, or cannot be loaded here.
    """
    try:
        import onnxruntime  # type: ignore[import-untyped]
    except ImportError as error:
        raise BackendError(f"onnxruntime is not installed ({error})", hint=HINT_INSTALL) from error
    module: ModuleType = onnxruntime
    return module


class OnnxRuntimeSession(DeclaredTensors):
    """A model in ONNX Runtime; feeds on the CPU are read where they lie, outputs are written to fixed memory."""

    def __init__(self, model: Model, runtime: ModuleType, provider: str, threads: int) -> None:
        super().__init__(model)
        self._session = open_session(model, runtime, provider, threads)
        self._refusals = refusals(runtime)
        check_declared(model.name, "inputs", declared(self._session.get_inputs()), model.inputs)
        check_declared(model.name, "outputs", declared(self._session.get_outputs()), model.outputs)
        self._bound: dict[str, Array] = {}
        self._own: dict[str, Array] = {}
        self._results = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in model.outputs}
        self._binding = self._session.io_binding()
        for name, result in self._results.items():
            self._binding.bind_output(name, "cpu", 0, result.dtype, result.shape, result.ctypes.data)

    def run(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        """Compute all outputs; their memory is reused by the next call.

        Raises:
            BackendError: The feeds are not the model's inputs, the session is closed, or the library fails.
        """
        if self._session is None:
            raise BackendError(f"{self._name}: the session is closed")
        check_feeds(self._name, self._inputs, feeds)
        try:
            for name, feed in feeds.items():
                if (bound := self._bound.get(name)) is not feed:
                    self._take(name, feed, bound)
            self._session.run_with_iobinding(self._binding)
        except self._refusals as error:
            raise BackendError(f"{self._name}: onnxruntime failed: {error}") from error
        return self._results

    def close(self) -> None:
        """Free the model."""
        self._binding = self._session = None
        self._bound.clear()

    def _take(self, name: str, feed: Array, bound: Array | None) -> None:
        """Read the first array of a name where it lies; when others follow, copy them into memory of our own.

        Trackers that share a session take turns with their arrays, and binding one costs more than copying it.
        """
        if bound is None:
            self._bind(name, np.ascontiguousarray(feed))
            return
        if name not in self._own:
            self._own[name] = np.empty(feed.shape, feed.dtype)
            self._bind(name, self._own[name])
        np.copyto(self._own[name], feed)

    def _bind(self, name: str, memory: Array) -> None:
        self._binding.bind_cpu_input(name, memory)
        self._bound[name] = memory


def open_session(model: Model, runtime: ModuleType, provider: str, threads: int) -> Any:
    """Load a model and make sure that the wanted provider executes it.

    Raises:
        BackendError: The model is refused, or another provider took it.
    """
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = ERROR_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if provider != PROVIDERS["CPU"]:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        session = runtime.InferenceSession(model.content, options, providers=[provider])
    except refusals(runtime) as error:
        raise BackendError(f"{model.name}: onnxruntime refuses the model: {error}") from error
    if (executing := session.get_providers()[0]) != provider:
        raise BackendError(f"{model.name}: {executing} executes the model, {provider} was asked for")
    return session


def refusals(runtime: ModuleType) -> tuple[type[Exception], ...]:
    """The exceptions by which ONNX Runtime refuses a model; its own ones have no common base but Exception."""
    state = runtime.capi.onnxruntime_pybind11_state
    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented", "RuntimeException")
    return (RuntimeError, ValueError, *(getattr(state, name) for name in names))


def declared(arguments: list[Any]) -> dict[str, tuple[tuple[int, ...], str]]:
    """Name to shape and type of a session's inputs or outputs."""
    return {item.name: (tuple(item.shape), DTYPES.get(item.type, item.type)) for item in arguments}


class OnnxRuntimeBackend:
    """Runs ONNX files."""

    name = "onnxruntime"
    format: Format = "onnx"

    def unavailable(self, device: str) -> str | None:
        """Why ONNX Runtime or a device of it cannot be used here; None if it can."""
        try:
            runtime = import_onnxruntime()
        except BackendError as error:
            return f"{error} ({error.hint})"
        available = runtime.get_available_providers()
        if PROVIDERS.get(device.upper()) in available:
            return None
        known = [name for name, provider in PROVIDERS.items() if provider in available]
        return f"no {device}; this onnxruntime {runtime.__version__} has {', '.join(known)}"

    def load(self, model: Model, *, device: str, threads: int) -> OnnxRuntimeSession:
        """Load a model.

        Raises:
            BackendError: The library is missing, refuses the model or has no such device.
        """
        if reason := self.unavailable(device):
            raise BackendError(f"{model.name}: {reason}")
        return OnnxRuntimeSession(model, import_onnxruntime(), PROVIDERS[device.upper()], threads)
