"""A backend without a library: a session computed by a Python function, for tests."""

from collections.abc import Callable, Mapping

from siamedge.runtime.backends.backend import Format, Model
from siamedge.runtime.backends.feeds import DeclaredTensors, check_declared, check_feeds
from siamedge.runtime.errors import BackendError
from siamedge.runtime.tensors import Array

Compute = Callable[[Mapping[str, Array]], Mapping[str, Array]]


class FakeSession(DeclaredTensors):
    """Feeds a function; feeds and results are checked against the model's tensors as a real session does.

    Args:
        model: Its inputs, outputs and name; the content is not read.
        compute: feeds -> outputs.
    """

    def __init__(self, model: Model, compute: Compute) -> None:
        super().__init__(model)
        self._model = model
        self._compute = compute
        self._closed = False

    def run(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        """Call the function.

        Raises:
            BackendError: Feeds or results are not the model's tensors, or the session is closed.
        """
        if self._closed:
            raise BackendError(f"{self._model.name}: the session is closed")
        check_feeds(self._model.name, self._inputs, feeds)
        results = self._compute(feeds)
        found = {name: (result.shape, result.dtype.name) for name, result in results.items()}
        check_declared(self._model.name, "outputs", found, self._model.outputs)
        return results

    def close(self) -> None:
        """Refuse to run any more."""
        self._closed = True


class FakeBackend:
    """Loads every model as the same function, on a device named CPU.

    Args:
        compute: feeds -> outputs.
        format: The model format that it claims to read.
        missing: A reason why it cannot be used, or None.
    """

    name = "fake"

    def __init__(self, compute: Compute, *, format: Format = "onnx", missing: str | None = None) -> None:  # noqa: A002
        self._compute = compute
        self.format: Format = format
        self._missing = missing

    def unavailable(self, device: str) -> str | None:
        """The reason that was given; else None for CPU."""
        return self._missing or (None if device == "CPU" else f"no {device}; the fake has CPU")

    def load(self, model: Model, *, device: str, threads: int) -> FakeSession:
        """Wrap the function.

        Raises:
            BackendError: It is unavailable on that device.
        """
        if reason := self.unavailable(device):
            raise BackendError(f"{model.name}: {reason}")
        return FakeSession(model, self._compute)
