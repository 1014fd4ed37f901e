"""A small random network with everything that the real ones have: three correlations, hard-swish, squeeze-excite."""

import numpy as np
import torch
from torch import Tensor, nn

from siamedge.export.calibration.crop_sets import CalibrationSet
from siamedge.export.families.correlation import (
    CrossCorrelation,
    depthwise_correlation,
    pixelwise_correlation,
    pixelwise_kernel,
)
from siamedge.export.families.source import SourceNetwork
from siamedge.runtime.tracking.params import AnchorFreeParams

WIDTH = 16
TEMPLATE_PX, SEARCH_PX = 32, 64


class SqueezeExcite(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.narrow, self.widen = nn.Conv2d(width, width // 4, 1), nn.Conv2d(width // 4, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.relu(self.narrow(x.mean((2, 3), keepdim=True)))
        return x * nn.functional.hardsigmoid(self.widen(pooled))


class Backbone(nn.Module):
    def __init__(self, mean: tuple[float, float, float]) -> None:
        super().__init__()
        self.mean: Tensor
        self.register_buffer("mean", torch.tensor(mean).reshape(1, 3, 1, 1))
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish(),
            nn.Conv2d(8, 8, 3, 2, 1, groups=8), SqueezeExcite(8), nn.Hardswish(), nn.Conv2d(8, WIDTH, 3, 2, 1),
        )  # fmt: skip

    def forward(self, crop: Tensor) -> Tensor:
        features: Tensor = self.layers((crop - self.mean) * (1 / 60))
        return features


class TemplateModule(nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        features = self.backbone(z)
        return pixelwise_kernel(features), features[:, :, 1:3, 1:3]


class SearchModule(nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.correlation = CrossCorrelation(4)
        self.cls, self.box = nn.Conv2d(2 * WIDTH, 2, 1), nn.Conv2d(WIDTH, 4, 1)

    def forward(self, x: Tensor, matrix: Tensor, window: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.backbone(x)
        mixed = torch.cat((pixelwise_correlation(matrix, features), features), 1)
        return self.cls(mixed), self.box(depthwise_correlation(window, features)), self.correlation(matrix, features)


def make_network(color: str = "RGB", mean: tuple[float, float, float] = (114.0, 114.0, 114.0)) -> SourceNetwork:
    """Random weights, seeded; batch norm with statistics that are not the identity."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = Backbone(mean)
        template, search = TemplateModule(backbone).eval(), SearchModule(backbone).eval()
        norm = backbone.layers[1]
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
    params = AnchorFreeParams(
        template_px=TEMPLATE_PX, search_px=SEARCH_PX, stride=8, response_size=8, first_cell_px=-28.0, score="softmax",
        window_influence=0.4, penalty_k=0.1, lr=0.4,
    )  # fmt: skip
    return SourceNetwork(
        "anchor-free", "small", template, search, ("matrix", "window"), ((1, 16, WIDTH), (1, WIDTH, 2, 2)),
        ("cls", "log_ltrb", "response"), color, params,
    )  # fmt: skip


def make_calibration(count: int = 16) -> CalibrationSet:
    """Smooth random pictures: noise at a quarter of the size, enlarged."""
    rng = np.random.default_rng(0)

    def pictures(side: int) -> np.ndarray:
        coarse = rng.integers(0, 256, (count, side // 4, side // 4, 3), dtype=np.uint8)
        return coarse.repeat(4, axis=1).repeat(4, axis=2)

    return CalibrationSet(pictures(TEMPLATE_PX), pictures(SEARCH_PX), np.arange(count))


def run_source(network: SourceNetwork, template: np.ndarray, search: np.ndarray) -> dict[str, np.ndarray]:
    """Kernels and outputs in PyTorch, NCHW, for one pair of (side, side, 3) uint8 BGR crops."""
    order = slice(None, None, -1 if network.color == "RGB" else 1)
    z, x = (
        torch.from_numpy(np.ascontiguousarray(crop[..., order].transpose(2, 0, 1)[None])).float()
        for crop in (template, search)
    )
    with torch.no_grad():
        kernels = network.template(z)
        outputs = network.search(x, *kernels)
    names = (*network.kernels, *network.outputs)
    return {name: value.numpy() for name, value in zip(names, (*kernels, *outputs), strict=True)}
