"""A trained network in PyTorch, as the exporters take it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn

from siamedge.runtime.errors import ExportError
from siamedge.runtime.tracking.params import TrackerParams

StateDict = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """What a file of trained weights holds.

    Attributes:
        state: Tensors by name.
        metadata: The notes of a safetensors file; empty for other files.
    """

    state: StateDict
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SourceNetwork:
    """A trained network in PyTorch, split into its two graphs.

    Attributes:
        family: Which tracker runs it, a key of siamedge.runtime.tracking.params.FAMILIES.
        arch: Its name, such as "nanotrack-v3".
        template: crop -> kernels and looks. Takes (1, 3, Z, Z) float32 in 0..255, returns a tuple of tensors.
        search: (crop, *kernels) -> outputs. Takes (1, 3, X, X) float32 in 0..255, returns a tuple of tensors.
        kernels: Names of the kernels.
        kernel_shapes: Their shapes, as in PyTorch: (1, P, C) matrices or (1, C, H, W) maps.
        outputs: Names of the outputs; the first is the classification score map.
        color: Channel order that the network was trained on; the crops of the runtime are BGR.
        params: What the tracker needs to know.
        looks: Names and shapes of what the template graph gives besides the kernels, by which two looks are compared;
            without any the kernels are.
    """

    family: str
    arch: str
    template: nn.Module
    search: nn.Module
    kernels: tuple[str, ...]
    kernel_shapes: tuple[tuple[int, ...], ...]
    outputs: tuple[str, ...]
    color: Literal["BGR", "RGB"]
    params: TrackerParams
    looks: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def first_mismatch(network: nn.Module, state: StateDict, ignored: tuple[str, ...] = ()) -> str | None:
    """Say which tensor of a checkpoint does not fit a network, or None if all do.

    Args:
        network: What the checkpoint should fill.
        state: Its tensors by name.
        ignored: Prefixes of tensors that may be there without being used.
    """
    wanted = network.state_dict()
    for name, tensor in wanted.items():
        if name not in state:
            return f"{name} is missing"
        if state[name].shape != tensor.shape:
            return f"{name} has shape {tuple(state[name].shape)}, expected {tuple(tensor.shape)}"
    extra = (name for name in state if name not in wanted and not name.startswith(ignored))
    return next((f"{name} is unknown" for name in extra), None)


def load_weights(network: nn.Module, state: StateDict, arch: str, ignored: tuple[str, ...] = ()) -> None:
    """Fill a network from a checkpoint and put it into evaluation mode.

    Raises:
        ExportError: A tensor is missing, unknown or has another shape; the message names the first.
    """
    if (mismatch := first_mismatch(network, state, ignored)) is not None:
        raise ExportError(
            f"not a {arch} checkpoint: {mismatch}", hint="name another --arch, or give another checkpoint"
        )
    network.load_state_dict({name: state[name] for name in network.state_dict()})
    network.eval()
