"""What a pair of models gives for crops, and how far two such answers are apart."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from siamedge.runtime.backends.backend import Session
from siamedge.runtime.geometry import FloatArray
from siamedge.runtime.tensors import Array, TensorSpec
from siamedge.runtime.tracking.feeding import CropRunner, channels_first
from siamedge.runtime.tracking.params import AnchorFreeParams

Outputs = Mapping[str, FloatArray]
"""Kernels or maps by name, (C, H, W) or (C, P)."""


class CropPairs(Protocol):
    """Crops as the runtime cuts them; the target in search i is that of template pairs[i]."""

    @property
    def templates(self) -> NDArray[np.uint8]:
        """(N, Z, Z, 3) uint8, BGR."""

    @property
    def searches(self) -> NDArray[np.uint8]:
        """(M, X, X, 3) uint8, BGR."""

    @property
    def pairs(self) -> NDArray[np.int64]:
        """(M,)."""


def respond(template: Session, search: Session, crops: CropPairs) -> tuple[tuple[Outputs, ...], tuple[Outputs, ...]]:
    """Run a pair of sessions over crops, each search crop with the kernels of its own template.

    Returns:
        The kernels of each template, and the outputs of each search crop.
    """
    embed, locate = CropRunner(template), CropRunner(search)
    raw = [{name: value.copy() for name, value in embed.run(crop).items()} for crop in crops.templates]
    outputs = []
    for crop, pair in zip(crops.searches, crops.pairs, strict=True):
        locate.hold(raw[pair])
        outputs.append(_in_common_layout(locate.run(crop), search.outputs))
    kernels = tuple(_in_common_layout(kernel, template.outputs) for kernel in raw)
    return kernels, tuple(outputs)


def _in_common_layout(outputs: Mapping[str, Array], specs: Mapping[str, TensorSpec]) -> Outputs:
    return {name: channels_first(value, specs[name]).copy() for name, value in outputs.items()}


def score_map(outputs: Outputs) -> FloatArray:
    """Give the map whose highest cell is the target: the target's logit less the background's, where there are two."""
    first: FloatArray = next(iter(outputs.values()))
    target: FloatArray = first[1] - first[0] if len(first) == 2 else first[0]
    return target


def lost_at_peak(ours: Outputs, source: Outputs) -> float:
    """By how much the source ranks our best cell lower than its own, in units of its score map; 0: the same cell."""
    scores = score_map(source).ravel()
    return float(scores.max() - scores[int(score_map(ours).argmax())])


def edges_apart(ours: Outputs, source: Outputs, params: AnchorFreeParams) -> FloatArray:
    """Give the distances of the four box edges at the source's peak, (4,) search-crop pixels.

    No edge counts as farther off than the side of the crop, which is also the distance of an edge that is NaN.
    """
    peak = int(score_map(source).argmax())
    edges = [np.minimum(maps["log_ltrb"].reshape(4, -1)[:, peak], params.max_log_distance) for maps in (ours, source)]
    apart = params.distance_scale * np.abs(np.exp(edges[0]) - np.exp(edges[1]))
    distances: FloatArray = np.fmin(np.nan_to_num(apart, nan=np.inf), params.search_px)
    return distances
