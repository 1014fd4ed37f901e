"""What is fed to a model: checks against its TensorSpecs and its file, and the memory that a library reads."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from siamedge.runtime.backends.backend import Model
from siamedge.runtime.errors import BackendError
from siamedge.runtime.tensors import Array, TensorSpec

Declared = Mapping[str, tuple[tuple[int, ...], str]]
"""Tensor name to (shape, dtype name), as the inference library reads it from the model file."""


def describe(tensors: Declared) -> str:
    """One line of tensors in the order of their names: "cls float32 (1, 2, 16, 16), ..."."""
    return ", ".join(f"{name} {dtype} {shape}" for name, (shape, dtype) in sorted(tensors.items())) or "nothing"


def by_name(specs: Sequence[TensorSpec]) -> dict[str, TensorSpec]:
    """Tensors by name, in their order."""
    return {spec.name: spec for spec in specs}


class DeclaredTensors:
    """What every session says of its model: its name, and its tensors as the manifest declares them."""

    def __init__(self, model: Model) -> None:
        self._name = model.name
        self._inputs = by_name(model.inputs)
        self._outputs = by_name(model.outputs)

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """Inputs by name."""
        return self._inputs

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """Outputs by name."""
        return self._outputs


class BoundInputs:
    """Inputs that a library reads where they lie.

    Args:
        model: Name for messages.
        specs: Of the inputs, by name.
    """

    def __init__(self, model: str, specs: Mapping[str, TensorSpec]) -> None:
        self._model, self._specs = model, specs
        self._bound: dict[str, Array] = {}
        self._own: dict[str, Array] = {}

    def take(self, feeds: Mapping[str, Array], bind: Callable[[str, Array], None]) -> None:
        """Let the library read these feeds.

        Args:
            feeds: By name; those that it reads already are not checked again.
            bind: Lets the library read an input, by its name, from a contiguous array from now on; one that nobody can
                write to it may copy.

        Raises:
            BackendError: See check_feeds.
        """
        bound = self._bound
        if len(feeds) == len(self._specs):
            for name, feed in feeds.items():
                if bound.get(name) is not feed:
                    break
            else:
                return
        check_feeds(self._model, self._specs, feeds)
        for name, feed in feeds.items():
            if (known := bound.get(name)) is not feed:
                self._take_one(name, feed, known, bind)

    def forget(self) -> None:
        """Let go of what was fed."""
        self._bound.clear()
        self._own.clear()

    def _take_one(self, name: str, feed: Array, bound: Array | None, bind: Callable[[str, Array], None]) -> None:
        """Read the first array of a name where it lies; when others follow, copy them into memory of our own.

        Trackers that share a session take turns with their arrays, and binding one costs more than copying it.
        """
        if bound is None and (feed.flags.writeable or is_frozen(feed)):
            self._bound[name] = np.ascontiguousarray(feed)
            bind(name, self._bound[name])
            return
        if name not in self._own:
            self._bound[name] = self._own[name] = np.empty(feed.shape, feed.dtype)
            bind(name, self._own[name])
        np.copyto(self._own[name], feed)


def is_frozen(feed: Array) -> bool:
    """Whether nobody can write to an array: it is read-only and no view of memory that is not."""
    return bool(feed.flags.owndata and not feed.flags.writeable)


def check_declared(model: str, role: str, found: Declared, specs: Sequence[TensorSpec]) -> None:
    """Refuse a model file whose tensors are not those that its manifest promises.

    Args:
        model: Name for the message.
        role: "inputs" or "outputs".
        found: What the library reads from the file.
        specs: What is promised.

    Raises:
        BackendError: A name, shape or type differs.
    """
    expected: Declared = {spec.name: (spec.shape, spec.dtype) for spec in specs}
    if found != expected:
        raise BackendError(
            f"{model}: {role} are {describe(found)}; the manifest says {describe(expected)}",
            hint="export the bundle again",
        )


def check_feeds(model: str, specs: Mapping[str, TensorSpec], feeds: Mapping[str, Array]) -> None:
    """Refuse feeds that lack a tensor or have one of another shape or type.

    Raises:
        BackendError: A name, shape or type differs from the model's inputs.
    """
    if feeds.keys() == specs.keys() and all(
        feeds[name].shape == spec.shape and feeds[name].dtype == spec.dtype for name, spec in specs.items()
    ):
        return
    found: Declared = {name: (feed.shape, feed.dtype.name) for name, feed in feeds.items()}
    expected: Declared = {name: (spec.shape, spec.dtype) for name, spec in specs.items()}
    raise BackendError(f"{model}: fed with {describe(found)}; it takes {describe(expected)}")
