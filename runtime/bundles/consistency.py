"""What a manifest says twice has to agree: the tracker's parameters, and the tensors of its graphs."""

import math
from collections.abc import Iterator, Mapping

from siamedge.runtime.bundles.manifest import Artifact, Manifest
from siamedge.runtime.tracking.params import AnchorFreeParams, TrackerParams

LARGEST_PX = 8192.0
SIDE, SHARE, COUNT, FACTOR = (1.0, LARGEST_PX), (0.0, 1.0), (1.0, 1024.0), (1e-3, 1e3)
RANGES: Mapping[str, tuple[float, float]] = {
    "template_px": SIDE,
    "search_px": SIDE,
    "stride": SIDE,
    "response_size": COUNT,
    "response_up": COUNT,
    "scale_num": COUNT,
    "scale_step": (1.0, 10.0),
    "scale_lr": SHARE,
    "scale_penalty": SHARE,
    "context": (0.0, 10.0),
    "first_cell_px": (-LARGEST_PX, LARGEST_PX),
    "window_influence": SHARE,
    "penalty_k": (0.0, 100.0),
    "lr": SHARE,
    "distance_scale": FACTOR,
    "max_log_distance": (-10.0, 20.0),
    "hold_below": SHARE,
    "edge_hold_below": SHARE,
    "turn_step_deg": (0.0, 180.0),
    "turn_below": SHARE,
    "size_fit": SHARE,
    "size_pull": SHARE,
    "center_spread": (0.0, 100.0),
    "online_share": SHARE,
}
"""Least and largest value of the tracker's parameters, as runtime/tracking/params.py explains them."""


def disagreement(manifest: Manifest) -> str | None:
    """What no tracker could work with: where, found and expected; None if there is nothing."""
    params = manifest.tracker.params
    for name, (least, most) in RANGES.items():
        if not least <= (value := getattr(params, name, least)) <= most:
            return f"tracker.params.{name}: expected {least:g} to {most:g}, found {value:g}"
    for artifact in manifest.artifacts:
        if (found := _tensor_of_other_size(artifact, params)) is not None:
            return f"the {artifact.format}-{artifact.precision} {artifact.role} model {found}"
    return next(_rows_without_models(manifest), None)


def _rows_without_models(manifest: Manifest) -> Iterator[str]:
    """What is said of models that the bundle does not have, and what is not said of those that it has."""
    have: dict[tuple[str, str], set[str]] = {
        (item.format, item.precision): {spec.name for spec in item.outputs}
        for item in manifest.artifacts
        if item.role == "search"
    }
    said = [(item.format, item.precision) for item in manifest.verification]
    chosen = [(name, item.precision) for name, item in manifest.recommended.items()]
    for format_name, precision in (*said, *chosen):
        if (format_name, precision) not in have:
            yield f"there is no {format_name}-{precision} search model, which is verified or recommended"
            return
    for item in manifest.verification:
        if missing := sorted(have[item.format, item.precision] - item.differences.keys()):
            yield f"the verification of {item.format}-{item.precision} says nothing of {missing[0]!r}"


def _tensor_of_other_size(artifact: Artifact, params: TrackerParams) -> str | None:
    side = params.search_px if artifact.role == "search" else params.template_px
    pictures = [math.prod(spec.shape) for spec in artifact.inputs if len(spec.shape) == 4 and 3 in spec.shape[1::2]]
    if not pictures:
        return None  # a tracker says so when it is made
    if 3 * side**2 not in pictures:
        return f"has no input for crops of {side} px, those of tracker.params.{artifact.role}_px"
    wanted, cells = outputs_of(params) if artifact.role == "search" else {}, params.response_size**2
    sizes = {spec.name: math.prod(spec.shape) for spec in artifact.outputs}
    for name, channels in wanted.items():
        if name not in sizes:
            return f"has no output {name!r}, which its tracker reads"
        if sizes[name] != channels * cells:
            return f"gives {sizes[name]} values as {name!r}, expected {channels * cells} of {cells} cells"
    return None


def outputs_of(params: TrackerParams) -> dict[str, int]:
    """The outputs of a search graph that a tracker reads, and how many values each has a cell."""
    if not isinstance(params, AnchorFreeParams):
        return {"response": 1}
    quality = {"quality": 1} if params.has_quality else {}
    return {"cls": 2 if params.score == "softmax" else 1, "log_ltrb": 4, **quality}
