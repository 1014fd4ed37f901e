"""SiamFC with AlexNetV1 features of any width and one cross-correlation.

Source: Bertinetto et al. 2016; module names are those of huanglianghua/siamfc-pytorch checkpoints.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn

from siamedge.export.families.correlation import CrossCorrelation, pixelwise_kernel
from siamedge.export.families.source import Checkpoint, SourceNetwork, load_weights
from siamedge.runtime.errors import ExportError
from siamedge.runtime.tracking.params import SiamFCParams

KERNEL_SIZE = 6
METADATA_KEY = "siamfc_config"
"""Where the weights' metadata keep the widths; a file without it is taken for the published size."""
ARCH = "siamfc-alexnet"


@dataclass(frozen=True, slots=True)
class SiamFCConfig:
    """Widths of a SiamFC; everything else is as published. The defaults are the published size.

    Args:
        widths: Channels after each of the five convolutions; even, since the second, fourth and fifth have two groups.
        response_scale: Factor on the correlation with which the network is trained and tracks.
    """

    widths: tuple[int, int, int, int, int] = (96, 256, 384, 384, 256)
    response_scale: float = 0.001

    @property
    def template_px(self) -> int:
        """Side of the template crop."""
        return SiamFCParams().template_px

    @property
    def search_px(self) -> int:
        """Side of the search crop."""
        return SiamFCParams().search_px

    def to_json(self) -> str:
        """One line with sorted keys; from_json reads it back."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "SiamFCConfig":
        """Read what to_json wrote.

        Raises:
            ExportError: A key is unknown, the widths are not five even numbers, or the text is no JSON object.
        """
        try:
            values = json.loads(text)
            widths = tuple(int(width) for width in values["widths"])
            if len(widths) != 5 or any(width < 2 or width % 2 for width in widths):
                raise ValueError(f"widths {list(widths)} are not five even numbers")
            return cls(**{**values, "widths": widths})
        except (TypeError, KeyError, ValueError) as error:
            hint = "the weights need a newer siamedge, or are no SiamFC weights"
            raise ExportError(f"{METADATA_KEY} in the weights cannot be read: {error}", hint=hint) from error


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-6, momentum=0.05)


class AlexNetV1(nn.Module):
    """(N, 3, H, W) -> (N, C, h, w) at stride 8; 127 px give 6 x 6, 255 px give 22 x 22. No padding anywhere.

    Args:
        widths: Of the five convolutions; C is the last.
    """

    def __init__(self, widths: tuple[int, int, int, int, int]) -> None:
        super().__init__()
        a, b, c, d, e = widths
        self.conv1 = nn.Sequential(nn.Conv2d(3, a, 11, 2), _norm(a), nn.ReLU(), nn.MaxPool2d(3, 2))
        self.conv2 = nn.Sequential(nn.Conv2d(a, b, 5, groups=2), _norm(b), nn.ReLU(), nn.MaxPool2d(3, 2))
        self.conv3 = nn.Sequential(nn.Conv2d(b, c, 3), _norm(c), nn.ReLU())
        self.conv4 = nn.Sequential(nn.Conv2d(c, d, 3, groups=2), _norm(d), nn.ReLU())
        self.conv5 = nn.Sequential(nn.Conv2d(d, e, 3, groups=2))

    def forward(self, x: Tensor) -> Tensor:
        """Embed a picture."""
        y: Tensor = self.conv5(self.conv4(self.conv3(self.conv2(self.conv1(x)))))
        return y


class SiamFC(nn.Module):
    """The backbone under the name that checkpoints give it; the head has no weights.

    Args:
        config: Its widths.
    """

    def __init__(self, config: SiamFCConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = AlexNetV1(config.widths)
        self.correlation = CrossCorrelation(KERNEL_SIZE)

    def kernel(self, features: Tensor) -> Tensor:
        """Turn template features (N, C, 6, 6) into the kernel (N, 36, C), the response's scale folded in."""
        return pixelwise_kernel(features) * self.config.response_scale


class TemplateGraph(nn.Module):
    """Template crop -> kernel, the response's scale folded in."""

    def __init__(self, network: SiamFC) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Tensor) -> tuple[Tensor, ...]:
        """(1, 3, 127, 127) float32 RGB 0..255 -> ((1, 36, C),)."""
        return (self.network.kernel(self.network.backbone(z)),)


class SearchGraph(nn.Module):
    """Search crop and kernel -> response."""

    def __init__(self, network: SiamFC) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, kernel: Tensor) -> tuple[Tensor, ...]:
        """(1, 3, 255, 255) float32 RGB 0..255 and (1, 36, C) -> ((1, 1, 17, 17),)."""
        return (self.network.correlation(kernel, self.network.backbone(x)),)


def save_siamfc(network: SiamFC, path: Path, *, notes: dict[str, str] | None = None) -> None:
    """Write a network as safetensors with its config in the metadata.

    Args:
        network: Batch norm and all.
        path: The file, replaced at once when complete.
        notes: More metadata, such as the recipe.
    """
    state = {name: value.detach().to("cpu").contiguous() for name, value in network.state_dict().items()}
    part = path.with_name(path.name + ".part")
    save_file(state, part, metadata={**(notes or {}), METADATA_KEY: network.config.to_json()})
    part.replace(path)


def read_siamfc(checkpoint: Checkpoint) -> SiamFC:
    """Load a checkpoint's weights, in evaluation mode; without metadata it is taken for the published size.

    Raises:
        ExportError: A tensor is missing or has another shape, or the metadata do not fit.
    """
    metadata = checkpoint.metadata
    config = SiamFCConfig.from_json(metadata[METADATA_KEY]) if METADATA_KEY in metadata else SiamFCConfig()
    network = SiamFC(config)
    load_weights(network, checkpoint.state, ARCH)
    return network


def build(checkpoint: Checkpoint) -> SourceNetwork:
    """Load a checkpoint's weights as the exporters take them.

    Raises:
        ExportError: A tensor is missing or has another shape, or the metadata do not fit.
    """
    network = read_siamfc(checkpoint)
    return SourceNetwork(
        family="siamfc",
        arch=ARCH,
        template=TemplateGraph(network).eval(),
        search=SearchGraph(network).eval(),
        kernels=("kernel",),
        kernel_shapes=((1, KERNEL_SIZE * KERNEL_SIZE, network.config.widths[-1]),),
        outputs=("response",),
        color="RGB",
        params=SiamFCParams(),
    )
