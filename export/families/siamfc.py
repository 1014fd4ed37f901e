"""SiamFC with AlexNetV1 features and one cross-correlation.

Source: Bertinetto et al. 2016; module names are those of huanglianghua/siamfc-pytorch checkpoints.
"""

from torch import Tensor, nn

from siamedge.export.correlation import CrossCorrelation, pixelwise_kernel
from siamedge.export.families.source import Checkpoint, SourceNetwork, load_weights
from siamedge.runtime.params import SiamFCParams

KERNEL_SIZE = 6
WIDTH = 256
OUT_SCALE = 0.001
"""Factor on the response with which the port trains and tracks."""


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-6, momentum=0.05)


class AlexNetV1(nn.Module):
    """(N, 3, H, W) -> (N, 256, h, w) at stride 8; 127 px give 6 x 6, 255 px give 22 x 22. No padding anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(3, 96, 11, 2), _norm(96), nn.ReLU(), nn.MaxPool2d(3, 2))
        self.conv2 = nn.Sequential(nn.Conv2d(96, 256, 5, groups=2), _norm(256), nn.ReLU(), nn.MaxPool2d(3, 2))
        self.conv3 = nn.Sequential(nn.Conv2d(256, 384, 3), _norm(384), nn.ReLU())
        self.conv4 = nn.Sequential(nn.Conv2d(384, 384, 3, groups=2), _norm(384), nn.ReLU())
        self.conv5 = nn.Sequential(nn.Conv2d(384, WIDTH, 3, groups=2))

    def forward(self, x: Tensor) -> Tensor:
        """Embed a picture."""
        y: Tensor = self.conv5(self.conv4(self.conv3(self.conv2(self.conv1(x)))))
        return y


class SiamFC(nn.Module):
    """The backbone under the name that checkpoints give it; the head has no weights."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = AlexNetV1()


class TemplateGraph(nn.Module):
    """Template crop -> kernel, the response's scale folded in."""

    def __init__(self, network: SiamFC) -> None:
        super().__init__()
        self.backbone = network.backbone

    def forward(self, z: Tensor) -> tuple[Tensor, ...]:
        """(1, 3, 127, 127) float32 RGB 0..255 -> ((1, 36, 256),)."""
        return (pixelwise_kernel(self.backbone(z)) * OUT_SCALE,)


class SearchGraph(nn.Module):
    """Search crop and kernel -> response."""

    def __init__(self, network: SiamFC) -> None:
        super().__init__()
        self.backbone = network.backbone
        self.correlation = CrossCorrelation(KERNEL_SIZE)

    def forward(self, x: Tensor, kernel: Tensor) -> tuple[Tensor, ...]:
        """(1, 3, 255, 255) float32 RGB 0..255 and (1, 36, 256) -> ((1, 1, 17, 17),)."""
        return (self.correlation(kernel, self.backbone(x)),)


def build(checkpoint: Checkpoint) -> SourceNetwork:
    """Load a checkpoint's weights.

    Raises:
        ExportError: A tensor is missing or has another shape.
    """
    network = SiamFC()
    load_weights(network, checkpoint.state, "siamfc-alexnet")
    return SourceNetwork(
        family="siamfc",
        arch="siamfc-alexnet",
        template=TemplateGraph(network).eval(),
        search=SearchGraph(network).eval(),
        kernels=("kernel",),
        kernel_shapes=((1, KERNEL_SIZE * KERNEL_SIZE, WIDTH),),
        outputs=("response",),
        color="RGB",
        params=SiamFCParams(),
    )
