"""ONNX Runtime."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from siamedge.runtime.backends.absence import import_failure
from siamedge.runtime.backends.backend import Format, Model
from siamedge.runtime.backends.cache import CacheKey, CompiledCache, model_sha256
from siamedge.runtime.backends.feeds import BoundInputs, DeclaredTensors, check_declared
from siamedge.runtime.backends.onnxruntime_providers import PROVIDERS, provider_options
from siamedge.runtime.backends.processor import cpu_signature
from siamedge.runtime.errors import BackendError
from siamedge.runtime.logs import warn
from siamedge.runtime.tensors import Array

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
        from onnxruntime import InferenceSession  # noqa: F401 - the folder that a removed library leaves has none
    except ImportError as error:
        raise BackendError(import_failure("onnxruntime", "onnxruntime", error), hint=HINT_INSTALL) from error
    module: ModuleType = onnxruntime
    return module


class OnnxRuntimeSession(DeclaredTensors):
    """A model in ONNX Runtime; feeds on the CPU are read where they lie, outputs are written to fixed memory."""

    def __init__(self, model: Model, runtime: ModuleType, session: Any) -> None:
        super().__init__(model)
        self._session = session
        self._refusals = refusals(runtime)
        check_declared(model.name, "inputs", declared(self._session.get_inputs()), model.inputs)
        check_declared(model.name, "outputs", declared(self._session.get_outputs()), model.outputs)
        self._fed = BoundInputs(model.name, self._inputs)
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
        try:
            self._fed.take(feeds, self._binding.bind_cpu_input)
            self._session.run_with_iobinding(self._binding)
        except self._refusals as error:
            raise BackendError(f"{self._name}: onnxruntime failed: {error}") from error
        return self._results

    def close(self) -> None:
        """Free the model."""
        self._binding = self._session = None
        self._fed.forget()


def session_options(runtime: ModuleType, device: str, threads: int) -> Any:
    """Options of a session: no spinning, and nothing but the device's provider executes."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1 if device == "XNNPACK" else threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = ERROR_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if device != "CPU":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def open_session(
    model: Model, runtime: ModuleType, device: str, options: Any, settings: Mapping[str, str] | None = None
) -> Any:
    """Load a model and make sure that the wanted provider executes it.

    Args:
        model: What to load.
        runtime: The library.
        device: A key of PROVIDERS.
        options: From session_options.
        settings: From provider_options.

    Raises:
        BackendError: The model is refused, or another provider took it.
    """
    provider = PROVIDERS[device]
    try:
        session = runtime.InferenceSession(model.content, options, providers=[(provider, dict(settings or {}))])
    except refusals(runtime) as error:
        raise BackendError(f"{model.name}: onnxruntime refuses the model: {error}") from error
    if (executing := session.get_providers()[0]) != provider:
        raise BackendError(f"{model.name}: {executing} executes the model, {provider} was asked for")
    return session


def open_optimised(model: Model, runtime: ModuleType, threads: int, cache: CompiledCache) -> Any:
    """Load a model on the CPU as it was optimised before, or optimise it and keep the result.

    Raises:
        BackendError: See open_session.
    """
    key = cache_key(model, runtime, "CPU", {"threads": threads})
    options = session_options(runtime, "CPU", threads)
    if (kept := cache.read(key)) is not None:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            return open_session(model._replace(content=kept), runtime, "CPU", options)
        except BackendError as error:
            warn(__name__, "%s; what was optimised before is made again", error)
            options = session_options(runtime, "CPU", threads)
    import tempfile

    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "optimised.onnx"
            options.optimized_model_filepath = str(path)
            session = open_session(model, runtime, "CPU", options)
            cache.write(key, path.read_bytes())
    except (BackendError, OSError) as error:  # also where the folder for temporary files is full
        session = open_session(model, runtime, "CPU", session_options(runtime, "CPU", threads))
        warn(__name__, "compiled models are not kept: %s", error)
    return session


def cache_key(model: Model, runtime: ModuleType, device: str, options: Mapping[str, object]) -> CacheKey:
    """All that a compiled model depends on; an optimised one is made for the processor's instructions."""
    library, hardware = f"onnxruntime {runtime.__version__}", f"{device} {cpu_signature()}"
    return CacheKey(model_sha256(model), library, hardware, json.dumps(dict(options), sort_keys=True))


def refusals(runtime: ModuleType) -> tuple[type[Exception], ...]:
    """The exceptions by which ONNX Runtime refuses a model; its own ones have no common base but Exception."""
    state = runtime.capi.onnxruntime_pybind11_state
    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented", "RuntimeException")
    return (RuntimeError, ValueError, *(getattr(state, name) for name in names))


def declared(arguments: list[Any]) -> dict[str, tuple[tuple[int, ...], str]]:
    """Name to shape and type of a session's inputs or outputs."""
    return {item.name: (tuple(item.shape), DTYPES.get(item.type, item.type)) for item in arguments}


class OnnxRuntimeBackend:
    """Runs ONNX files.

    Args:
        cache: Where optimised models and TensorRT's engines are kept; None: nowhere.
    """

    name = "onnxruntime"
    format: Format = "onnx"

    def __init__(self, cache: CompiledCache | None = None) -> None:
        self._cache = cache

    def with_cache(self, cache: CompiledCache) -> "OnnxRuntimeBackend":
        """The same backend, keeping what it compiles."""
        return OnnxRuntimeBackend(cache)

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
        runtime, device = import_onnxruntime(), device.upper()
        if device == "CPU" and self._cache is not None:
            return OnnxRuntimeSession(model, runtime, open_optimised(model, runtime, threads, self._cache))
        settings = provider_options(device, model.precision, threads, self._engines(model, runtime, device))
        options = session_options(runtime, device, threads)
        return OnnxRuntimeSession(model, runtime, open_session(model, runtime, device, options, settings))

    def _engines(self, model: Model, runtime: ModuleType, device: str) -> Path | None:
        """The folder for a model's TensorRT engines; TensorRT itself looks after its version and the GPU."""
        if device != "TENSORRT" or self._cache is None:
            return None
        key = cache_key(model, runtime, device, {"precision": model.precision})
        folder = self._cache.folder / key.name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder
