"""Turns a calibration set into the feeds of the two exported graphs."""

import hashlib
from collections.abc import Iterator

import numpy as np
import torch

from siamedge.export.calibration.crop_sets import CalibrationSet
from siamedge.export.graphs.branches import ExportGraph
from siamedge.runtime.tensors import Array, encode_crop

Feeds = dict[str, Array]


def make_feeds(
    template: ExportGraph, search: ExportGraph, calibration: CalibrationSet
) -> tuple[list[Feeds], list[Feeds]]:
    """Give the feeds of the template graph and those of the search graph.

    The kernels are those of the source network, whatever the precision of the template graph will be.

    Raises:
        ExportError: The crops have other sides than the network's.
    """
    calibration.check_sizes(side_px(template), side_px(search))
    templates = [encode(template, crop) for crop in calibration.templates]
    taken = {spec.name for spec in search.inputs}
    given = (compute(template, feeds) for feeds in templates)
    kernels = [{name: value for name, value in found.items() if name in taken} for found in given]
    searches = [
        encode(search, crop) | kernels[pair] for crop, pair in zip(calibration.searches, calibration.pairs, strict=True)
    ]
    return templates, searches


def side_px(graph: ExportGraph) -> int:
    """Side of the crop that a graph takes."""
    return max(graph.inputs[0].shape)


def encode(graph: ExportGraph, crop: Array) -> Feeds:
    """The crop as a graph's first input."""
    spec = graph.inputs[0]
    out = np.empty(spec.shape, spec.dtype)
    encode_crop(crop, spec, out)
    return {spec.name: out}


def compute(graph: ExportGraph, feeds: Feeds) -> Feeds:
    """Run a graph in PyTorch."""
    with torch.no_grad():
        results = graph(**{name: torch.from_numpy(feed) for name, feed in feeds.items()})
    return {name: np.ascontiguousarray(result.numpy()) for name, result in results.items()}


def digest(feeds: list[Feeds]) -> str:
    """SHA-256 of feeds: what was observed on them can be used again for the same ones."""
    found = hashlib.sha256()
    for item in feeds:
        for name, value in sorted(item.items()):
            found.update(f"{name} {value.shape} {value.dtype}\n".encode())
            found.update(np.ascontiguousarray(value).data)
    return found.hexdigest()


class FeedReader:
    """Hands out feeds one by one, as ONNX Runtime's calibrator asks for them."""

    def __init__(self, feeds: list[Feeds]) -> None:
        self._all = feeds
        self._feeds: Iterator[Feeds] = iter(feeds)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._all)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Hand out these only."""
        self._feeds = iter(self._all[start_index:end_index])

    def get_next(self) -> Feeds | None:
        """The next feeds, None at the end."""
        return next(self._feeds, None)
