"""The two graphs of a tracker as they are exported: named tensors, the crop as the runtime cuts it, fixed layouts."""

import copy
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from siamedge.export.families.source import SourceNetwork
from siamedge.runtime.tensors import DType, Layout, TensorSpec

Role = Literal["template", "search"]
MapLayout = Literal["NHWC", "NCHW"]


@dataclass(frozen=True, slots=True)
class TensorStyle:
    """How a format wants its tensors.

    Attributes:
        crop_dtype: Type of the crop at the model's border.
        crop_layout: Layout of the crop.
        map_layout: Layout of four-dimensional kernels and of the outputs.
    """

    crop_dtype: DType
    crop_layout: MapLayout
    map_layout: MapLayout


class ExportGraph(nn.Module):
    """One graph with named inputs and outputs.

    Attributes:
        role: Which of the two.
        inputs: The crop first, then the kernels.
        outputs: Kernels and looks of the template graph, maps of the search graph.
    """

    def __init__(
        self, role: Role, network: nn.Module, inputs: tuple[TensorSpec, ...], outputs: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.role: Role = role
        self.inputs = inputs
        self._network = network
        self._output_names = outputs
        self._map_layout: MapLayout = "NCHW"
        self.outputs: tuple[TensorSpec, ...] = ()

    def declare_outputs(self, map_layout: MapLayout) -> None:
        """Fix the layout of the outputs and learn their shapes by running the graph once on zeros."""
        self._map_layout = map_layout
        with torch.no_grad():
            results = self(**self.sample())
        self.outputs = tuple(
            TensorSpec(name, tuple(result.shape), "float32", map_layout if result.ndim == 4 else "NPC")
            for name, result in results.items()
        )

    def sample(self) -> dict[str, Tensor]:
        """Zeros for every input, by name."""
        return {spec.name: torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in self.inputs}

    def forward(self, **feeds: Tensor) -> dict[str, Tensor]:
        """Compute the outputs by name; float32 whatever the type of the crop."""
        values = [to_channels_first(feeds[spec.name], spec) for spec in self.inputs]
        results = self._network(*values)
        if self._map_layout == "NHWC":
            results = [result.permute(0, 2, 3, 1) if result.ndim == 4 else result for result in results]
        return dict(zip(self._output_names, results, strict=True))


def to_channels_first(feed: Tensor, spec: TensorSpec) -> Tensor:
    """Turn an input of the exported graph into what the network takes: float32, NCHW or NPC."""
    value = feed if feed.dtype == torch.float32 else feed.to(torch.float32)
    return value.permute(0, 3, 1, 2) if spec.layout == "NHWC" else value


def make_graphs(network: SourceNetwork, style: TensorStyle) -> tuple[ExportGraph, ExportGraph]:
    """Wrap a network's two modules for export; the network itself is not changed.

    Returns:
        Template graph and search graph; the kernels that one gives are those that the other takes, looks are not.
    """
    template = ExportGraph(
        "template",
        fold_color_order(network.template, network, random_feeds(network, "template")),
        (crop_spec("template", network.params.template_px, style),),
        (*network.kernels, *network.looks),
    )
    template.declare_outputs(style.map_layout)
    search = ExportGraph(
        "search",
        fold_color_order(network.search, network, random_feeds(network, "search")),
        (crop_spec("search", network.params.search_px, style), *template.outputs[: len(network.kernels)]),
        network.outputs,
    )
    search.declare_outputs(style.map_layout)
    return template.eval(), search.eval()


def crop_spec(name: str, side_px: int, style: TensorStyle) -> TensorSpec:
    """The input for a square BGR crop."""
    layout: Layout = style.crop_layout
    shape = (1, side_px, side_px, 3) if layout == "NHWC" else (1, 3, side_px, side_px)
    return TensorSpec(name, shape, style.crop_dtype, layout)


class ReverseColors(nn.Module):
    """Turns BGR into RGB in front of a network whose first convolution cannot take it over."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._network = network

    def forward(self, crop: Tensor, *kernels: Tensor) -> object:
        """Reverse the channels of the crop."""
        return self._network(torch.flip(crop, dims=(1,)), *kernels)


def fold_color_order(module: nn.Module, network: SourceNetwork, feeds: tuple[Tensor, ...]) -> nn.Module:
    """Give a copy of a module that takes BGR crops.

    A network trained on RGB has the input channels of its first convolution reversed, which costs nothing at run
    time. That is right only if everything in front of it treats the channels alike, so it is tried.

    Args:
        module: The network's template or search module.
        network: Says which channel order the module takes.
        feeds: What to try it on.
    """
    plain = fuse_norms(copy.deepcopy(module).eval())
    if network.color == "BGR":
        return plain
    folded, reversing = copy.deepcopy(plain), ReverseColors(plain)
    first = next((layer for layer in folded.modules() if isinstance(layer, nn.Conv2d) and layer.in_channels == 3), None)
    if first is None:
        return reversing
    with torch.no_grad():
        first.weight.copy_(first.weight.flip(1))
        pairs = list(zip(folded(*feeds), reversing(*feeds), strict=True))
    alike = all(torch.allclose(a, b, rtol=1e-3, atol=1e-3 * float(b.abs().max())) for a, b in pairs)
    return folded if alike else reversing


def fuse_norms(module: nn.Module) -> nn.Module:
    """Fold, in place, every batch norm that follows a convolution inside an nn.Sequential; others stay as they are.

    The converters would do it too, but take minutes for a graph full of decomposed batch norms.
    """
    for block in list(module.modules()):
        if not isinstance(block, nn.Sequential):
            continue
        for index, (first, second) in enumerate(pairwise(block)):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                block[index] = fuse_conv_bn_eval(first, second)
                block[index + 1] = nn.Identity()
    return module


def random_feeds(network: SourceNetwork, role: Role) -> tuple[Tensor, ...]:
    """A random crop, 0..255, and for the search graph random kernels; NCHW, seeded."""
    generator = torch.Generator().manual_seed(0)
    side = network.params.template_px if role == "template" else network.params.search_px
    crop = torch.rand((1, 3, side, side), generator=generator) * 255
    shapes = () if role == "template" else network.kernel_shapes
    return (crop, *(torch.rand(shape, generator=generator) for shape in shapes))
