"""Dart, the default tracker: a dense, anchor-free Siamese network of convolutions, ReLU6, concat and one MatMul.

Dense 3x3 convolutions keep an int8 unit busy where depth-wise ones, squeeze-excite and hard-swish do not
(docs/default-model.md has the measurements). The graph ends before anything non-linear: sigmoid, the clamp at
`max_log` and `exp` are the host's.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from siamedge.export.families.correlation import pixelwise_correlation, pixelwise_kernel
from siamedge.runtime.errors import ExportError

METADATA_KEY = "dart_config"


@dataclass(frozen=True, slots=True)
class DartConfig:
    """The shape of a network and the numbers that the host needs to read its outputs.

    Args:
        layers: (channels, stride) of each 3x3 convolution of the backbone.
        channels: Features of the correlation.
        head: Width of the mix and of both towers.
        tower: 3x3 convolutions in each tower.
        box_widths: Of those of the box tower; (): each as wide as the head.
        template_px: Side of the template crop; its context square as in SiamFC.
        search_px: Side of the search crop, which covers search_px / template_px times the template's side.
        has_quality: Whether a third output estimates the overlap of each cell's box, as a logit.
        mean: Subtracted from every input value (0..255).
        scale: Divides the result.
        box_scale: Distances are box_scale * exp(log_ltrb) search-crop pixels.
        max_log: The host clamps log_ltrb here before exp.
        correlation_divisor: Divides the correlation; folded into the kernel.
        is_limited: Whether features are clipped to -1..1: no single one then decides a correlation.
    """

    layers: tuple[tuple[int, int], ...] = ((16, 2), (32, 2), (64, 2), (64, 1), (128, 2), (128, 1), (128, 1), (128, 1))
    channels: int = 64
    head: int = 64
    tower: int = 2
    box_widths: tuple[int, ...] = ()
    template_px: int = 112
    search_px: int = 224
    has_quality: bool = False
    mean: float = 114.0
    scale: float = 60.0
    box_scale: float = 4.0
    max_log: float = 4.2
    correlation_divisor: float = 8.0
    is_limited: bool = False

    @property
    def stride(self) -> int:
        """Search-crop pixels a cell; cell i has its centre at stride * i + stride / 2."""
        product = 1
        for _, stride in self.layers:
            product *= stride
        return product

    @property
    def cells(self) -> int:
        """Side S of the response."""
        return self.search_px // self.stride

    @property
    def positions(self) -> int:
        """Template positions P, the rows of the kernel."""
        return (self.template_px // self.stride) ** 2

    def to_json(self) -> str:
        """One line with sorted keys; from_json reads it back."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "DartConfig":
        """Read what to_json wrote.

        Raises:
            ExportError: A key is unknown or the text is no JSON object.
        """
        try:
            values = json.loads(text)
            values["layers"] = tuple((int(width), int(stride)) for width, stride in values["layers"])
            values["box_widths"] = tuple(int(width) for width in values.get("box_widths", ()))
            return cls(**values)
        except (TypeError, KeyError, ValueError) as error:
            hint = "the weights need a newer siamedge, or are no Dart weights"
            raise ExportError(f"{METADATA_KEY} in the weights cannot be read: {error}", hint=hint) from error


TRIAL = DartConfig(
    layers=((16, 2), (32, 2), (32, 1), (64, 2), (64, 1), (96, 2), (96, 1), (96, 1)), template_px=128, search_px=256
)


class Dart(nn.Module):
    """The network. Convolutions may be wrapped (training adds batch norm); `load_dart` gives the plain form.

    Args:
        config: Its shape.
    """

    def __init__(self, config: DartConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = _backbone(config)
        self.mix = nn.Conv2d(config.positions + config.channels, config.head, 1)
        widths = (config.head,) * config.tower
        box_widths = config.box_widths or widths
        self.cls_tower = _tower(config.head, widths)
        self.box_tower = _tower(config.head, box_widths)
        self.cls = nn.Conv2d(config.head, 1, 1)
        box_width = (config.head, *box_widths)[-1]
        self.box = nn.Conv2d(box_width, 4, 1)
        if config.has_quality:
            self.quality = nn.Conv2d(box_width, 1, 1)

    def features(self, image: Tensor) -> Tensor:
        """Turn a crop (N, 3, H, W), float32 0..255, BGR, into features (N, channels, H / stride, W / stride)."""
        features: Tensor = self.backbone[-1](self.hidden(image, len(self.backbone) - 1))
        return functional.hardtanh(features) if self.config.is_limited else features

    def hidden(self, image: Tensor, layers: int) -> Tensor:
        """What the first layers make of a crop, (N, channels, H / stride so far, W / stride so far), 0..6."""
        x = (image - self.config.mean) * (1.0 / self.config.scale)
        for layer in self.backbone[:layers]:
            x = functional.relu6(layer(x))
        return x

    def template(self, z: Tensor) -> Tensor:
        """Turn a template crop (N, 3, template_px, template_px) into the kernel (N, positions, channels)."""
        return pixelwise_kernel(self.features(z)) * (1.0 / self.config.correlation_divisor)

    def search(self, kernel: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        """Look for the template in a search crop.

        Args:
            kernel: (N, positions, channels) from `template`.
            x: (N, 3, search_px, search_px) float32 0..255, BGR.

        Returns:
            cls (N, 1, S, S) logits; log_ltrb (N, 4, S, S), the natural log of the distances left, top, right, bottom
            from the cell's centre, in units of box_scale search-crop pixels, not clamped; and, with has_quality,
            quality (N, 1, S, S) logits of the overlap of that box with the target.
        """
        return self.head(kernel, self.features(x))

    def head(self, kernel: Tensor, features: Tensor) -> tuple[Tensor, ...]:
        """Look for the template in the features of a search crop, (N, channels, S, S); returns as `search`."""
        mixed = torch.cat([pixelwise_correlation(kernel, features), features], dim=1)
        cls_features, box_features = self.towers(functional.relu6(self.mix(mixed)))
        outputs: tuple[Tensor, ...] = (self.cls(cls_features), self.box(box_features))
        return (*outputs, self.quality(box_features)) if self.config.has_quality else outputs

    def towers(self, shared: Tensor) -> tuple[Tensor, Tensor]:
        """From what the mix gives, (N, head, S, S), to what the score and what the box is read from, (N, ., S, S)."""
        return _run(self.cls_tower, shared), _run(self.box_tower, shared)

    def forward(self, z: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        """Template and search in one go, as training uses them."""
        return self.search(self.template(z), x)


def _backbone(config: DartConfig) -> nn.ModuleList:
    inputs = (3, *(width for width, _ in config.layers))
    layers = [nn.Conv2d(i, o, 3, stride, 1) for i, (o, stride) in zip(inputs, config.layers, strict=False)]
    return nn.ModuleList([*layers, nn.Conv2d(inputs[-1], config.channels, 1)])


def _tower(inputs: int, widths: Sequence[int]) -> nn.ModuleList:
    return nn.ModuleList(nn.Conv2d(i, o, 3, 1, 1) for i, o in pairwise((inputs, *widths)))


def _run(tower: nn.ModuleList, x: Tensor) -> Tensor:
    for layer in tower:
        x = functional.relu6(layer(x))
    return x


def save_dart(network: Dart, path: Path, *, half: bool = False, notes: dict[str, str] | None = None) -> None:
    """Write a plain network (batch norm folded) as safetensors with its config in the metadata.

    Args:
        network: Without wrapped convolutions.
        path: The file, replaced at once when complete.
        half: Store fp16; loading gives float32 again.
        notes: More metadata, such as the recipe.
    """
    dtype = torch.float16 if half else torch.float32
    state = {name: value.detach().to("cpu", dtype).contiguous() for name, value in network.state_dict().items()}
    part = path.with_name(path.name + ".part")
    save_file(state, part, metadata={**(notes or {}), METADATA_KEY: network.config.to_json()})
    part.replace(path)


def load_dart(path: Path) -> Dart:
    """Read weights that save_dart wrote; a file without a config is taken for the trial's layout.

    Returns:
        The network in eval mode, float32.

    Raises:
        ExportError: The file is missing, is no safetensors file, or its tensors do not fit its config.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ExportError(f"{path}: not readable as safetensors: {error}", hint="export or train it again") from error
    config = DartConfig.from_json(metadata[METADATA_KEY]) if METADATA_KEY in metadata else TRIAL
    network = Dart(config)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ExportError(f"{path}: tensors do not fit the config: {error}", hint="export or train it again") from error
    return network.eval()
