"""The seam to the inference libraries: a Backend loads a model, a Session runs it."""

from collections.abc import Mapping
from importlib import import_module
from typing import Literal, NamedTuple, Protocol, cast, runtime_checkable

from siamedge.runtime.errors import BackendError
from siamedge.runtime.tensors import Array, TensorSpec

Format = Literal["onnx", "tflite", "openvino"]
Precision = Literal["fp32", "fp16", "int8", "bf16"]
FORMATS: tuple[Format, ...] = ("onnx", "tflite", "openvino")
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
"""Those that files are written in."""
ALL_PRECISIONS: tuple[Precision, ...] = (*PRECISIONS, "bf16")
"""bf16: the fp32 file, whose search graph OpenVINO computes in bfloat16 on a processor that has it."""
Mode = Literal["reference", "opencv"]
MODES: tuple[Mode, ...] = ("reference", "opencv")
"""Whose tracker runs on the network: the published one, or cv2.TrackerNano's."""


class Model(NamedTuple):
    """A model file in memory, already verified.

    Attributes:
        name: For messages, such as "models/onnx-int8/search.onnx".
        precision: What the file was exported as.
        content: Bytes of the model (ONNX or TFLite flatbuffer; OpenVINO XML).
        weights: Bytes of OpenVINO's .bin file, empty for the others.
        inputs: Its inputs.
        outputs: Its outputs.
    """

    name: str
    precision: Precision
    content: bytes
    weights: bytes
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class Session(Protocol):
    """A loaded model."""

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """Inputs by name."""

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """Outputs by name."""

    def run(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        """Compute all outputs; their memory may be reused by the next call."""

    def close(self) -> None:
        """Free what the session holds; it cannot run any more."""


@runtime_checkable
class LendingSession(Protocol):
    """A session whose inputs have memory of their own: what is written there need not be copied."""

    def memory(self, name: str) -> Array:
        """An input's memory, as in its spec; fed back to run as it is, it is not copied."""


class Backend(Protocol):
    """One inference library."""

    @property
    def name(self) -> str:
        """As on the command line."""

    @property
    def format(self) -> Format:
        """The model format it reads."""

    def unavailable(self, device: str) -> str | None:
        """Why the library or that device of it cannot be used here; None if it can."""

    def load(self, model: Model, *, device: str, threads: int) -> Session:
        """Load a model onto a device ("CPU", "GPU", "NPU" ...).

        Raises:
            BackendError: The library is missing, refuses the model or has no such device.
        """


@runtime_checkable
class SelectiveBackend(Protocol):
    """A backend whose devices do not all compute in every precision."""

    def lacks(self, precision: Precision, device: str) -> str | None:
        """Why a device that is there cannot compute in a precision; None if it can."""


BACKENDS: Mapping[str, str] = {
    "tflite": "siamedge.runtime.backends.litert_backend:LiteRTBackend",
    "openvino": "siamedge.runtime.backends.openvino_backend:OpenVINOBackend",
    "onnxruntime": "siamedge.runtime.backends.onnxruntime_backend:OnnxRuntimeBackend",
}
"""Name to implementation, in the order in which they are tried when nothing was measured."""


def reason_against(backend: Backend, precision: Precision, device: str) -> str | None:
    """Why a backend cannot run a precision on a device here; None if it can."""
    if reason := backend.unavailable(device):
        return reason
    return backend.lacks(precision, device) if isinstance(backend, SelectiveBackend) else None


def template_precision(precision: Precision) -> Precision:
    """What the template graph computes in; it runs once a target, and bf16 would cost it accuracy for nothing."""
    return "fp32" if precision == "bf16" else precision


def get_backend(name: str) -> Backend:
    """Give the backend of a name.

    Raises:
        BackendError: There is no such backend.
    """
    if name not in BACKENDS:
        raise BackendError(f"unknown backend {name!r}", hint=f"choose one of {', '.join(BACKENDS)}")
    module, attribute = BACKENDS[name].split(":")
    return cast(Backend, getattr(import_module(module), attribute)())
