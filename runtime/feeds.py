"""Checks that what is fed to a model, and what a model file declares, is what its TensorSpecs say."""

from collections.abc import Mapping, Sequence

from siamedge.runtime.backends import Model
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
