"""Dart as the exporters take it: its two graphs and what its tracker needs to know."""

import json
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from siamedge.export.families.dart import METADATA_KEY, TRIAL, Dart, DartConfig
from siamedge.export.families.source import Checkpoint, SourceNetwork, load_weights
from siamedge.runtime.errors import ExportError
from siamedge.runtime.tracking.anchor_free import LOOK
from siamedge.runtime.tracking.online import FEATURES
from siamedge.runtime.tracking.params import AnchorFreeParams

TRACKER_KEY = "dart_tracker"
"""Where the weights' metadata keep the tuned tracker parameters, as a JSON object."""
TRIAL_TRACKER = {"window_influence": 0.42, "penalty_k": 0.10, "lr": 0.4}


class TemplateGraph(nn.Module):
    """Template crop -> the matrix that the search graph multiplies with, and the look of the target.

    Between the correlation with the template's features K and the 1x1 mix behind it nothing is, so that both are one
    matrix: mix([K f, f]) = A K f + B f + b = (A K + B) f + b, where A and B are the mix's weights for the correlation
    and for the search features f.

    Args:
        network: Plain.
    """

    direct: Tensor

    def __init__(self, network: Dart) -> None:
        super().__init__()
        self.network, positions = network, network.config.positions
        weights = network.mix.weight.detach()[:, :, 0, 0]
        self.correlated = nn.Linear(positions, len(weights), bias=False)
        self.correlated.weight = nn.Parameter(weights[:, :positions].clone())
        self.register_buffer("direct", weights[:, positions:].T.clone())

    def forward(self, z: Tensor) -> tuple[Tensor, ...]:
        """(1, 3, Z, Z) float32 BGR 0..255 -> ((1, C, H), (1, P, C))."""
        look = self.network.template(z)
        return self.correlated(look.transpose(1, 2)) + self.direct, look


class SearchGraph(nn.Module):
    """Search crop and mixer -> logit, log distances and quality of each cell, and features if they are wanted.

    What is a convolution of one pixel in training, the mix and the last layers, is a product of cells here, for which
    runtimes need fewer calls.

    Args:
        network: Plain.
        gives_features: Whether the tracker learns from the features of the search crop.
    """

    def __init__(self, network: Dart, *, gives_features: bool) -> None:
        super().__init__()
        assert network.mix.bias is not None, "convolutions of Dart have one"
        self.network, self.bias, self._gives_features = network, network.mix.bias, gives_features
        self.score = as_product(network.cls)
        boxes = (network.box, network.quality) if network.config.has_quality else (network.box,)
        self.boxes = nn.ModuleList(as_product(layer) for layer in boxes)

    def forward(self, x: Tensor, mixer: Tensor) -> tuple[Tensor, ...]:
        """(1, 3, X, X) float32 BGR 0..255 and (1, C, H) -> cells (1, S * S, .) of 1, 4[, 1]; features (1, C, S, S)."""
        features = self.network.features(x)
        mixed = functional.relu6(torch.matmul(cells_of(features), mixer.squeeze(0)) + self.bias)
        shared = mixed.reshape(1, *features.shape[2:], -1).permute(0, 3, 1, 2)
        score_cells, box_cells = (cells_of(maps) for maps in self.network.towers(shared))
        outputs = (self.score(score_cells)[None], *(product(box_cells)[None] for product in self.boxes))
        return (*outputs, features) if self._gives_features else outputs


def cells_of(maps: Tensor) -> Tensor:
    """(1, C, S, S) -> (S * S, C); unlike pixelwise_kernel with channels last at once, as runtimes compute in int8."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def as_product(convolution: nn.Conv2d) -> nn.Linear:
    """Give a convolution of one pixel as a product of cells."""
    product = nn.Linear(convolution.in_channels, convolution.out_channels)
    product.load_state_dict({name: value.reshape(value.shape[:2]) for name, value in convolution.state_dict().items()})
    return product


def tuned_params(metadata: Mapping[str, str]) -> dict[str, float]:
    """Read the tuned tracker parameters from a file's notes.

    Raises:
        ExportError: They are no JSON object of numbers.
    """
    try:
        tuned = json.loads(metadata[TRACKER_KEY]) if TRACKER_KEY in metadata else TRIAL_TRACKER
        return {str(name): float(value) for name, value in tuned.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ExportError(f"{TRACKER_KEY} in the weights cannot be read: {error}", hint="train it again") from error


def tracker_params(config: DartConfig, tuned: dict[str, float]) -> AnchorFreeParams:
    """Join a network's geometry and the tuned parameters of its tracker.

    Raises:
        ExportError: A tuned parameter is unknown.
    """
    try:
        return AnchorFreeParams(
            template_px=config.template_px,
            search_px=config.search_px,
            stride=config.stride,
            response_size=config.cells,
            first_cell_px=config.stride / 2 - config.search_px / 2,
            score="sigmoid",
            has_quality=config.has_quality,
            distance_scale=config.box_scale,
            max_log_distance=config.max_log,
            window="hann_inner",
            has_true_squares=True,
            **tuned,
        )
    except TypeError as error:
        raise ExportError(f"{TRACKER_KEY} in the weights: {error}", hint="the weights need a newer siamedge") from error


def build(checkpoint: Checkpoint) -> SourceNetwork:
    """Load Dart weights of any size; without metadata they are taken for the first trial's layout.

    Raises:
        ExportError: A tensor is missing or has another shape, or the metadata do not fit.
    """
    metadata = checkpoint.metadata
    config = DartConfig.from_json(metadata[METADATA_KEY]) if METADATA_KEY in metadata else TRIAL
    network = Dart(config)
    load_weights(network, checkpoint.state, "dart")
    params = tracker_params(config, tuned_params(metadata))
    outputs = ("cls", "log_ltrb", *(("quality",) if config.has_quality else ()))
    learns = params.online_share > 0
    return SourceNetwork(
        family="anchor-free",
        arch="dart",
        template=TemplateGraph(network).eval(),
        search=SearchGraph(network, gives_features=learns).eval(),
        kernels=("mixer",),
        kernel_shapes=((1, config.channels, config.head),),
        looks={LOOK: (1, config.positions, config.channels)},
        outputs=(*outputs, FEATURES) if learns else outputs,
        color="BGR",
        params=params,
    )
