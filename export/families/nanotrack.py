"""NanoTrack v1, v2 and v3: MobileNetV3 features, pixel-wise (v3: also depth-wise) correlation, anchor-free head.

Source: the published checkpoints and configurations of HonglinChu/SiamTrackers @ 248663f; module names are theirs.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from siamedge.export.families.correlation import depthwise_correlation, pixelwise_correlation, pixelwise_kernel
from siamedge.export.families.mobilenet import SMALL_TO_STRIDE_16, WIDE_LAST_STAGE, MobileNetV3Small, Stage
from siamedge.export.families.source import Checkpoint, SourceNetwork, load_weights
from siamedge.runtime.tracking.params import AnchorFreeParams

TEMPLATE_POSITIONS = 64
"""8 x 8 template features."""


class ChannelAttention(nn.Module):
    """Channel attention over correlation channels, with a sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels, 1)
        self.fc2 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of (N, C, H, W)."""
        pooled = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.fc2(functional.relu(self.fc1(pooled))))


def _pointwise(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, width, 1), nn.BatchNorm2d(width))


class PixelwiseBranch(nn.Module):
    """Pixel-wise correlation with attention; v2 and v3 adapt both sides first, v3 shrinks the map to 15 x 15.

    Args:
        width: Channels of the features.
        is_adapted: Whether there are 1x1 convolutions on both sides (v2, v3).
        is_shrunk: Whether a 2x2 depth-wise convolution follows (v3).
    """

    def __init__(self, width: int, *, is_adapted: bool = True, is_shrunk: bool = False) -> None:
        super().__init__()
        channels = TEMPLATE_POSITIONS
        self.CA_layer = ChannelAttention(channels)
        self.conv_kernel: nn.Module = _pointwise(width) if is_adapted else nn.Identity()
        self.conv_search: nn.Module = _pointwise(width) if is_adapted else nn.Identity()
        shrink = nn.Conv2d(channels, channels, 2, groups=channels, bias=False)
        layers = (shrink, nn.BatchNorm2d(channels), nn.ReLU6(), *_pointwise(channels))
        self.conv: nn.Module = nn.Sequential(*layers) if is_shrunk else nn.Identity()

    def kernel(self, z: Tensor) -> Tensor:
        """Template features (N, C, 8, 8) -> kernel (N, 64, C)."""
        return pixelwise_kernel(self.conv_kernel(z))

    def forward(self, kernel: Tensor, x: Tensor) -> Tensor:
        """Kernel and search features (N, C, 16, 16) -> (N, 64, S, S)."""
        correlation = pixelwise_correlation(kernel, self.conv_search(x))
        y: Tensor = self.conv(self.CA_layer(correlation))
        return y


class DepthwiseBranch(nn.Module):
    """Depth-wise correlation with the inner 4x4 template features, padded by one cell (v3)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_kernel = _pointwise(width)
        self.conv_search = _pointwise(width)

    def kernel(self, z: Tensor) -> Tensor:
        """Template features (N, C, 8, 8) -> kernel (N, C, 4, 4)."""
        y: Tensor = self.conv_kernel(z[:, :, 2:6, 2:6])
        return y

    def forward(self, kernel: Tensor, x: Tensor) -> Tensor:
        """Kernel and search features (1, C, 16, 16) -> (1, C, 15, 15)."""
        return depthwise_correlation(kernel, functional.pad(self.conv_search(x), (1, 1, 1, 1)))


def _tower(width_in: int, width: int, kernels: tuple[int, ...]) -> nn.Sequential:
    """Separable convolutions of v1 and v2: depth-wise, point-wise, norm, ReLU6."""
    layers: list[nn.Module] = []
    for kernel in kernels:
        layers.append(nn.Conv2d(width_in, width_in, kernel, padding=kernel // 2, groups=width_in, bias=False))
        layers += [nn.Conv2d(width_in, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU6()]
        width_in = width
    return nn.Sequential(*layers)


def _tower_v3(width: int, depth: int) -> nn.Sequential:
    """Separable convolutions of v3: depth-wise, norm, ReLU6, point-wise, norm."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False), nn.BatchNorm2d(width), nn.ReLU6()]
        layers += [nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width)]
    return nn.Sequential(*layers)


def _predictor(width: int, channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, channels, 1))


class HeadV1(nn.Module):
    """One shared correlation, two towers."""

    def __init__(self) -> None:
        super().__init__()
        self.corr_pw = PixelwiseBranch(48, is_adapted=False)
        self.cls_tower = _tower(64, 128, (5, 5, 3))
        self.bbox_tower = _tower(64, 96, (3, 3, 5, 5))
        self.cls_logits = _predictor(128, 2)
        self.bbox_pred = _predictor(96, 4)

    def kernels(self, z: Tensor) -> tuple[Tensor, ...]:
        """Template features -> ((N, 64, 48),)."""
        return (self.corr_pw.kernel(z),)

    def forward(self, x: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor]:
        """Search features -> logits (N, 2, 16, 16), log distances (N, 4, 16, 16)."""
        correlation = self.corr_pw(kernel, x)
        return self.cls_logits(self.cls_tower(correlation)), self.bbox_pred(self.bbox_tower(correlation))


class HeadV2(nn.Module):
    """A correlation for each of the two towers."""

    def __init__(self) -> None:
        super().__init__()
        self.corr_pw_cls = PixelwiseBranch(48)
        self.corr_pw_reg = PixelwiseBranch(48)
        self.cls_pw_tower = _tower(64, 96, (3,) * 6)
        self.bbox_pw_tower = _tower(64, 96, (3,) * 6)
        self.cls_pred = _predictor(96, 2)
        self.bbox_pred = _predictor(96, 4)

    def kernels(self, z: Tensor) -> tuple[Tensor, ...]:
        """Template features -> two kernels (N, 64, 48): scores, boxes."""
        return self.corr_pw_cls.kernel(z), self.corr_pw_reg.kernel(z)

    def forward(self, x: Tensor, cls_kernel: Tensor, box_kernel: Tensor) -> tuple[Tensor, Tensor]:
        """Search features -> logits (N, 2, 16, 16), log distances (N, 4, 16, 16)."""
        logits: Tensor = self.cls_pred(self.cls_pw_tower(self.corr_pw_cls(cls_kernel, x)))
        return logits, self.bbox_pred(self.bbox_pw_tower(self.corr_pw_reg(box_kernel, x)))


class HeadV3(nn.Module):
    """Pixel-wise and depth-wise correlation side by side, for each of the two towers."""

    def __init__(self) -> None:
        super().__init__()
        width = 96
        self.corr_dw_cls, self.corr_dw_reg = DepthwiseBranch(width), DepthwiseBranch(width)
        self.corr_pw_cls = PixelwiseBranch(width, is_shrunk=True)
        self.corr_pw_reg = PixelwiseBranch(width, is_shrunk=True)
        self.down_cls = nn.Sequential(nn.Conv2d(width + 64, width, 1))
        self.down_reg = nn.Sequential(nn.Conv2d(width + 64, width, 1))
        self.cls_tower, self.bbox_tower = _tower_v3(width, 6), _tower_v3(width, 6)
        self.cls_logits = _predictor(width, 2)
        self.bbox_pred = _predictor(width, 4)

    def kernels(self, z: Tensor) -> tuple[Tensor, ...]:
        """Template features -> pixel-wise (N, 64, 96) and depth-wise (N, 96, 4, 4) kernels: scores, then boxes."""
        branches = (self.corr_pw_cls, self.corr_dw_cls, self.corr_pw_reg, self.corr_dw_reg)
        return tuple(branch.kernel(z) for branch in branches)

    def forward(
        self, x: Tensor, cls_pixelwise: Tensor, cls_depthwise: Tensor, box_pixelwise: Tensor, box_depthwise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Search features -> logits (1, 2, 15, 15), log distances (1, 4, 15, 15)."""
        cls = torch.cat((self.corr_pw_cls(cls_pixelwise, x), self.corr_dw_cls(cls_depthwise, x)), 1)
        box = torch.cat((self.corr_pw_reg(box_pixelwise, x), self.corr_dw_reg(box_depthwise, x)), 1)
        logits: Tensor = self.cls_logits(self.cls_tower(self.down_cls(cls)))
        return logits, self.bbox_pred(self.bbox_tower(self.down_reg(box)))


class NanoTrack(nn.Module):
    """Backbone and head under the names of the published checkpoints."""

    def __init__(self, version: "Version") -> None:
        super().__init__()
        self.backbone = MobileNetV3Small(version.stages)
        self.ban_head = version.head()


class TemplateGraph(nn.Module):
    """Template crop -> kernels."""

    def __init__(self, network: NanoTrack) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Tensor) -> tuple[Tensor, ...]:
        """(1, 3, 127, 127) float32 BGR 0..255 -> kernels of the head."""
        kernels: tuple[Tensor, ...] = self.network.ban_head.kernels(self.network.backbone(z))
        return kernels


class SearchGraph(nn.Module):
    """Search crop and kernels -> logits and log distances."""

    def __init__(self, network: NanoTrack) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, *kernels: Tensor) -> tuple[Tensor, Tensor]:
        """(1, 3, 255, 255) float32 BGR 0..255 and kernels -> (1, 2, S, S), (1, 4, S, S)."""
        outputs: tuple[Tensor, Tensor] = self.network.ban_head(self.network.backbone(x), *kernels)
        return outputs


@dataclass(frozen=True, slots=True)
class Version:
    """What differs between the three publications."""

    arch: str
    head: Callable[[], HeadV1 | HeadV2 | HeadV3]
    stages: tuple[Stage, ...]
    response_size: int
    window_influence: float
    penalty_k: float
    lr: float
    kernels: tuple[tuple[str, tuple[int, ...]], ...]


V1 = Version("nanotrack-v1", HeadV1, SMALL_TO_STRIDE_16, 16, 0.462, 0.148, 0.390, (("kernel", (1, 64, 48)),))
V2 = Version(
    "nanotrack-v2", HeadV2, SMALL_TO_STRIDE_16, 16, 0.490, 0.150, 0.385,
    (("cls_kernel", (1, 64, 48)), ("box_kernel", (1, 64, 48))),
)  # fmt: skip
V3 = Version(
    "nanotrack-v3", HeadV3, (*SMALL_TO_STRIDE_16, WIDE_LAST_STAGE), 15, 0.455, 0.138, 0.348,
    (("cls_pixelwise", (1, 64, 96)), ("cls_depthwise", (1, 96, 4, 4)),
     ("box_pixelwise", (1, 64, 96)), ("box_depthwise", (1, 96, 4, 4))),
)  # fmt: skip


def tracker_params(version: Version) -> AnchorFreeParams:
    """Give the published tracker parameters of a version."""
    return AnchorFreeParams(
        template_px=127,
        search_px=255,
        stride=16,
        response_size=version.response_size,
        first_cell_px=-16.0 * (version.response_size // 2),
        score="softmax",
        window_influence=version.window_influence,
        penalty_k=version.penalty_k,
        lr=version.lr,
    )


def build(checkpoint: Checkpoint, version: Version) -> SourceNetwork:
    """Load a published checkpoint's weights.

    Args:
        checkpoint: The unused neck may be in it.
        version: Which publication they belong to.

    Raises:
        ExportError: A tensor is missing or has another shape.
    """
    network = NanoTrack(version)
    load_weights(network, checkpoint.state, version.arch, ignored=("neck.",))
    names, shapes = zip(*version.kernels, strict=True)
    return SourceNetwork(
        family="anchor-free",
        arch=version.arch,
        template=TemplateGraph(network).eval(),
        search=SearchGraph(network).eval(),
        kernels=names,
        kernel_shapes=shapes,
        outputs=("cls", "log_ltrb"),
        color="BGR",
        params=tracker_params(version),
    )
