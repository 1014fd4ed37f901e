"""The source network behind the runtime's Session seam: the same trackers run it, as the truth for every export."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch

from siamedge.export.families.source import SourceNetwork
from siamedge.runtime.bundles.manifest import Role
from siamedge.runtime.tensors import Array, TensorSpec


class TorchSession:
    """One graph of a source network, fed as the exported models are: a BGR uint8 NHWC crop and kernels.

    Args:
        network: Trained.
        role: Which of its two graphs.
    """

    def __init__(self, network: SourceNetwork, role: Role) -> None:
        self._network, self._role = network, role
        params = network.params
        side = params.template_px if role == "template" else params.search_px
        crop = TensorSpec(role, (1, side, side, 3), "uint8", "NHWC")
        kernels = specs_of(zip(network.kernels, network.kernel_shapes, strict=True))
        self.inputs: Mapping[str, TensorSpec] = {
            spec.name: spec for spec in ((crop,) if role == "template" else (crop, *kernels))
        }
        outputs = (*kernels, *specs_of(network.looks.items())) if role == "template" else self._maps()
        self.outputs: Mapping[str, TensorSpec] = {spec.name: spec for spec in outputs}

    def _maps(self) -> tuple[TensorSpec, ...]:
        """The search graph's outputs, whose shapes are learnt by running it once on zeros."""
        side = self._network.params.search_px
        with torch.inference_mode():
            kernels = [torch.zeros(shape) for shape in self._network.kernel_shapes]
            maps = self._network.search(torch.zeros(1, 3, side, side), *kernels)
        return specs_of(zip(self._network.outputs, (tuple(value.shape) for value in maps), strict=True))

    def run(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        """Compute all outputs."""
        crop = feeds[self._role]
        channels = crop if self._network.color == "BGR" else crop[..., ::-1]
        image = torch.from_numpy(np.ascontiguousarray(channels.transpose(0, 3, 1, 2), dtype=np.float32))
        graph = self._network.template if self._role == "template" else self._network.search
        kernels = [torch.tensor(feeds[name]) for name in self.inputs if name != self._role]
        with torch.inference_mode():
            outputs = graph(image, *kernels)
        return {name: output.numpy() for name, output in zip(self.outputs, outputs, strict=True)}

    def close(self) -> None:
        """Nothing to free."""


def specs_of(shapes: Iterable[tuple[str, tuple[int, ...]]]) -> tuple[TensorSpec, ...]:
    """Kernels, looks and maps as PyTorch has them."""
    return tuple(TensorSpec(name, shape, "float32", "NPC" if len(shape) == 3 else "NCHW") for name, shape in shapes)


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Run PyTorch on one thread: these graphs are too small for more, and waiting threads would spin."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
