"""MobileNetV3-Small up to stride 16, the backbone of the NanoTrack family.

Source: Howard et al. 2019, "Searching for MobileNetV3", table 2; module names are those of the published checkpoints.
"""

from typing import NamedTuple

from torch import Tensor, nn


class Stage(NamedTuple):
    """One inverted residual block."""

    kernel: int
    hidden: int
    width: int
    squeezed: bool
    hard_swish: bool
    stride: int


SMALL_TO_STRIDE_16 = (
    Stage(3, 16, 16, True, False, 2),
    Stage(3, 72, 24, False, False, 2),
    Stage(3, 88, 24, False, False, 1),
    Stage(5, 96, 40, True, True, 2),
    Stage(5, 240, 40, True, True, 1),
    Stage(5, 240, 40, True, True, 1),
    Stage(5, 120, 48, True, True, 1),
    Stage(5, 144, 48, True, True, 1),
)
WIDE_LAST_STAGE = Stage(5, 288, 96, True, True, 1)


class SqueezeExcite(nn.Module):
    """Channel attention from the mean over positions (Hu et al. 2018), with a hard sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = max(8, (channels // 4 + 4) // 8 * 8)
        self.fc = nn.Sequential(
            nn.Linear(channels, squeezed), nn.ReLU(), nn.Linear(squeezed, channels), nn.Hardsigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of (N, C, H, W)."""
        attention: Tensor = self.fc(x.mean((2, 3)))
        return x * attention[:, :, None, None]


def _activation(stage: Stage) -> nn.Module:
    return nn.Hardswish() if stage.hard_swish else nn.ReLU()


def _attention(stage: Stage) -> nn.Module:
    return SqueezeExcite(stage.hidden) if stage.squeezed else nn.Identity()


class InvertedResidual(nn.Module):
    """Expand, depth-wise convolution, attention, project; the first block of the network does not expand."""

    def __init__(self, width_in: int, stage: Stage) -> None:
        super().__init__()
        kernel, hidden, width, _, _, stride = stage
        self.has_shortcut = stride == 1 and width_in == width
        depthwise = nn.Conv2d(hidden, hidden, kernel, stride, kernel // 2, groups=hidden, bias=False)
        project = [nn.Conv2d(hidden, width, 1, bias=False), nn.BatchNorm2d(width)]
        spatial: list[nn.Module] = [depthwise, nn.BatchNorm2d(hidden)]
        if width_in == hidden:
            layers = [*spatial, _activation(stage), _attention(stage), *project]
        else:
            expand = [nn.Conv2d(width_in, hidden, 1, bias=False), nn.BatchNorm2d(hidden), _activation(stage)]
            layers = [*expand, *spatial, _attention(stage), _activation(stage), *project]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to (N, C, H, W)."""
        y: Tensor = self.conv(x)
        return x + y if self.has_shortcut else y


class MobileNetV3Small(nn.Module):
    """(N, 3, H, W) -> (N, C, ceil(H/16), ceil(W/16)), C being the width of the last stage."""

    def __init__(self, stages: tuple[Stage, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.Hardswish())
        ]
        width = 16
        for stage in stages:
            layers.append(InvertedResidual(width, stage))
            width = stage.width
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Embed a picture."""
        y: Tensor = self.features(x)
        return y
