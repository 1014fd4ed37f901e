"""OpenVINO."""

import io
import json
import platform
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from siamedge.runtime.backends.absence import import_failure
from siamedge.runtime.backends.backend import Format, Model, Precision
from siamedge.runtime.backends.cache import CacheKey, CompiledCache, model_sha256
from siamedge.runtime.backends.feeds import BoundInputs, DeclaredTensors, check_declared
from siamedge.runtime.backends.openvino_tiles import REVISION, fit_tiles
from siamedge.runtime.backends.processor import has_amx
from siamedge.runtime.backends.telemetry import telemetry_blocked
from siamedge.runtime.errors import BackendError
from siamedge.runtime.logs import warn
from siamedge.runtime.tensors import Array

INFERENCE_PRECISION: Mapping[Precision, str] = {"fp32": "f32", "fp16": "f32", "int8": "f32", "bf16": "bf16"}
"""Type in which float operators compute, by the precision of the file. Without it a CPU with bf16 or f16 uses that."""
ARM_CPU: Mapping[str, str | int] = {"LP_TRANSFORMS_MODE": False}
"""On ARM an int8 graph computes in float what it quantizes; its weights stay int8 in the file. The default model's
scales are such that it gives the same as with integers (siamedge.export.quantization.exact_scales).

OpenVINO 2026 has int8 kernels there for two of the default model's convolutions. Of the others it computes four in
float16 by its reference code, with outputs further from x86-64's, and on a core without the dot product it refuses the
graph (docs/devices.md).
"""

DTYPES: Mapping[str, str] = {"f32": "float32", "u8": "uint8", "i8": "int8"}
HINT_INSTALL = "pip install 'siamedge[openvino]'"
PRECISION_HINT = "INFERENCE_PRECISION_HINT"


def import_openvino() -> ModuleType:
    """Import the library, without letting it report its use.

    Raises:
        BackendError: It is not installed, or cannot be loaded here.
    """
    try:
        with telemetry_blocked():
            import openvino  # type: ignore[import-untyped]
            from openvino import Core  # noqa: F401 - the folder that a removed library leaves has none
    except ImportError as error:
        raise BackendError(import_failure("openvino", "openvino", error), hint=HINT_INSTALL) from error
    module: ModuleType = openvino
    return module


class OpenVINOSession(DeclaredTensors):
    """A compiled model; feeds are read where they lie, outputs are views of the request's memory."""

    def __init__(self, model: Model, openvino: ModuleType, compiled: Any) -> None:
        super().__init__(model)
        self._tensor = openvino.Tensor
        self._request: Any = compiled.create_infer_request()
        self._fed = BoundInputs(model.name, self._inputs)
        self._results = {name: self._request.get_tensor(name).data for name in self._outputs}

    def run(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        """Compute all outputs; their memory is reused by the next call.

        Raises:
            BackendError: The feeds are not the model's inputs, the session is closed, or the library fails.
        """
        if self._request is None:
            raise BackendError(f"{self._name}: the session is closed")
        try:
            self._fed.take(feeds, self._bind)
            self._request.infer(share_outputs=True)  # start_async hands over to another thread and back
        except RuntimeError as error:
            raise BackendError(f"{self._name}: OpenVINO failed: {error}") from error
        return self._results

    def close(self) -> None:
        """Free the model."""
        self._results = {}
        self._request = None
        self._fed.forget()

    def _bind(self, name: str, memory: Array) -> None:
        self._request.set_tensor(name, self._tensor(memory, shared_memory=memory.flags.writeable))


def compile_model(
    model: Model, openvino: ModuleType, device: str, config: Mapping[str, str | int], *, fits_tiles: bool = False
) -> Any:
    """Compile a model and make sure that the wanted device executes it.

    Args:
        model: What to compile.
        openvino: The library.
        device: Its name of the device.
        config: Of the device.
        fits_tiles: Whether the processor multiplies tiles of int8, for which the graph is changed first.

    Raises:
        BackendError: The model is refused, has other tensors, or another device took it.
    """
    core = openvino.Core()
    try:
        network = core.read_model(model=model.content, weights=model.weights)
        check_declared(model.name, "inputs", declared(network.inputs), model.inputs)
        check_declared(model.name, "outputs", declared(network.outputs), model.outputs)
        if fits_tiles:
            fit_tiles(network)
        compiled = core.compile_model(network, device, dict(config))
    except RuntimeError as error:
        raise BackendError(f"{model.name}: OpenVINO refuses the model on {device}: {error}") from error
    check_device(model, compiled, device)
    check_arithmetic(model, compiled)
    return compiled


def check_device(model: Model, compiled: Any, device: str) -> None:
    """Make sure that the wanted device executes a compiled model.

    Raises:
        BackendError: Another one does.
    """
    executing = list(compiled.get_property("EXECUTION_DEVICES"))
    if any(base_name(name) != base_name(device) for name in executing):
        raise BackendError(f"{model.name}: {', '.join(executing)} executes the model, {device} was asked for")


def check_arithmetic(model: Model, compiled: Any) -> None:
    """Make sure that a model that was verified in bf16 computes in it; OpenVINO takes f32 where a processor lacks it.

    Raises:
        BackendError: It does not.
    """
    if model.precision != "bf16":
        return
    if (executing := compiled.get_property(PRECISION_HINT).get_type_name()) != "bf16":
        raise BackendError(
            f"{model.name}: OpenVINO computes in {executing} here, bf16 was asked for", hint="--precision fp32"
        )


def compile_or_import(
    model: Model,
    openvino: ModuleType,
    device: str,
    config: Mapping[str, str | int],
    cache: CompiledCache,
    *,
    fits_tiles: bool = False,
) -> Any:
    """Compile a model, or take what was compiled before from a cache; arguments as in compile_model.

    Raises:
        BackendError: See compile_model.
    """
    key = cache_key(model, openvino, device, {**config, "tiles": REVISION} if fits_tiles else config)
    if (blob := cache.read(key)) is not None:
        try:
            compiled = openvino.Core().import_model(io.BytesIO(blob), device, dict(config))
            check_device(model, compiled, device)
        except RuntimeError as error:
            warn(__name__, "%s: OpenVINO refuses what it compiled before, it compiles again: %s", model.name, error)
        else:
            return compiled
    compiled = compile_model(model, openvino, device, config, fits_tiles=fits_tiles)
    exported = io.BytesIO()
    compiled.export_model(exported)
    cache.write(key, exported.getvalue())
    return compiled


def cache_key(model: Model, openvino: ModuleType, device: str, config: Mapping[str, str | int]) -> CacheKey:
    """All that a compiled model depends on; the processor's name decides which instructions are in it."""
    core = openvino.Core()
    name = core.get_property(device, "FULL_DEVICE_NAME")
    capabilities = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
    hardware = f"{device} {name} {platform.machine()} {','.join(capabilities)}"
    return CacheKey(model_sha256(model), f"openvino {openvino.__version__}", hardware, json.dumps(dict(config)))


def exact_on_arm(model: Model) -> Model:
    """A model of which int8 convolutions add up exactly in float; others stay as they are."""
    if model.precision != "int8":
        return model
    from siamedge.runtime.backends.openvino_ir import with_plain_products

    return model._replace(content=with_plain_products(model.content))


def base_name(device: str) -> str:
    """A device without its number: "GPU" of "GPU.0"."""
    return device.partition(".")[0]


def declared(ports: list[Any]) -> dict[str, tuple[tuple[int, ...], str]]:
    """Name to shape and type of a network's inputs or outputs; a dimension that is not fixed reads -1."""
    found = {}
    for port in ports:
        shape = tuple(size.get_length() if size.is_static else -1 for size in port.get_partial_shape())
        kind = port.get_element_type().get_type_name()
        found[min(port.get_names(), default="(unnamed)")] = (shape, DTYPES.get(kind, kind))
    return found


class OpenVINOBackend:
    """Runs OpenVINO IR.

    Args:
        inference_precision: Type in which float operators compute, by the precision of the file: "f32", "f16", "bf16".
        cache: Where compiled models are kept; None: nowhere.
    """

    name = "openvino"
    format: Format = "openvino"

    def __init__(
        self,
        inference_precision: Mapping[Precision, str] = INFERENCE_PRECISION,
        cache: CompiledCache | None = None,
    ) -> None:
        self._inference_precision = inference_precision
        self._cache = cache

    def with_cache(self, cache: CompiledCache) -> "OpenVINOBackend":
        """The same backend, keeping what it compiles."""
        return OpenVINOBackend(self._inference_precision, cache)

    def unavailable(self, device: str) -> str | None:
        """Why OpenVINO or a device of it cannot be used here; None if it can."""
        try:
            available = import_openvino().Core().available_devices
        except BackendError as error:
            return f"{error} ({error.hint})"
        if device in available or device in map(base_name, available):
            return None
        return f"no {device}; OpenVINO sees {', '.join(available)}"

    def lacks(self, precision: Precision, device: str) -> str | None:
        """Why a device cannot compute in bf16; None if it can, and for every other precision."""
        if precision != "bf16":
            return None
        capabilities = import_openvino().Core().get_property(device, "OPTIMIZATION_CAPABILITIES")
        return None if "BF16" in capabilities else f"{device} has no bf16; OpenVINO sees {', '.join(capabilities)}"

    def load(self, model: Model, *, device: str, threads: int) -> OpenVINOSession:
        """Load a model.

        Raises:
            BackendError: The library is missing, refuses the model or has no such device.
        """
        if reason := self.unavailable(device):
            raise BackendError(f"{model.name}: {reason}")
        config: dict[str, str | int] = {"PERFORMANCE_HINT": "LATENCY"}
        if device == "CPU":
            config["INFERENCE_NUM_THREADS"] = threads
            if platform.machine() == "aarch64":
                config |= ARM_CPU
                model = exact_on_arm(model)
        if base_name(device) in ("CPU", "GPU"):
            config[PRECISION_HINT] = self._inference_precision[model.precision]
        openvino, fits_tiles = import_openvino(), device == "CPU" and model.precision == "int8" and has_amx()
        if self._cache is None:
            compiled = compile_model(model, openvino, device, config, fits_tiles=fits_tiles)
        else:
            compiled = compile_or_import(model, openvino, device, config, self._cache, fits_tiles=fits_tiles)
        return OpenVINOSession(model, openvino, compiled)
