"""The tracker families that can be exported: adding one is a module and a row."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from siamedge.runtime.params import TrackerParams

StateDict = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class SourceNetwork:
    """A trained network in PyTorch, split into its two graphs.

    Attributes:
        family: Which tracker runs it, a key of siamedge.runtime.params.FAMILIES.
        arch: Its name, such as "nanotrack-v3".
        template: crop -> kernels. Takes (1, 3, Z, Z) float32 in 0..255, returns a tuple of tensors.
        search: (crop, *kernels) -> outputs. Takes (1, 3, X, X) float32 in 0..255, returns a tuple of tensors.
        kernels: Names of the kernels.
        kernel_shapes: Their shapes, as in PyTorch: (1, P, C) matrices or (1, C, H, W) maps.
        outputs: Names of the outputs; the first is the classification score map.
        color: Channel order that the network was trained on; the crops of the runtime are BGR.
        params: What the tracker needs to know.
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
