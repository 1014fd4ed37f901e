"""A classifier of the target against what is around it, learnt while tracking: ridge regression on features.

The network compares with the first look alone; it has never seen what is beside this target. A linear function of its
features that tells the two apart costs a product of a few thousand numbers a frame, and keeps up as the target turns,
bends and changes its light.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from siamedge.runtime.geometry import FloatArray
from siamedge.runtime.tensors import Array, TensorSpec
from siamedge.runtime.tracking.params import AnchorFreeParams
from siamedge.runtime.tracking.views import Place

FEATURES = "features"
"""The search graph's output that is learnt from."""
RATE = 0.03
"""Share of the newest view in what is learnt from, besides the first frame."""
FIRST_SHARE = 0.3
"""Of the first frame, for good: a classifier that drifted comes back."""
RIDGE = 0.05
"""Of the mean square of a feature."""
LEARN_ABOVE = 0.3
"""Nothing is learnt from a frame whose confidence is lower."""
LEARN_EVERY = 5
"""Frames from one lesson to the next."""
SURE, UNSURE = 0.25, 0.5
"""A cell is the target within so much of the box's size from its centre, and is not beyond; between, less and less."""
SMALLEST_PX = 16.0
"""A box side counts as no shorter: one cell."""
ON_ONE_THREAD = 2**18
"""Products of more multiplications than this numpy's library (OpenBLAS) spreads over threads, which then spin."""


class Moments(NamedTuple):
    """What one crop teaches: X' C X, (D, D), and X' C y, (D,), D = C + 1, C the cells' weights, which sum to 1."""

    products: FloatArray
    labels: FloatArray

    def mixed(self, other: "Moments", share: float) -> "Moments":
        """(1 - share) * self + share * other."""
        rate = np.float32(share)
        return Moments(
            self.products + rate * (other.products - self.products), self.labels + rate * (other.labels - self.labels)
        )


def block_of(cells: int, width: int) -> int:
    """Into blocks of how many cells a response divides whose products (width x width) are on one thread."""
    return max(
        part for part in range(1, cells + 1) if cells % part == 0 and (part == 1 or part * width**2 <= ON_ONE_THREAD)
    )


class OnlineClassifier:
    """Gives each cell of a response its likeness to the target, 0..1.

    Minimises the mean over cells of (x . weights - label)^2 with a ridge, target and surroundings counting half each,
    over the first frame and an average of those since that forgets exponentially. Products are taken block by block of
    the response's cells, so that each stays on one thread.

    Args:
        spec: Of the features, (1, C, S, S) or (1, S, S, C).
        params: From the bundle's manifest.

    Source: Hoerl and Kennard 1970 for ridge regression; Bolme et al. 2010 (MOSSE) for an average that forgets;
        Danelljan et al. 2019 (ATOM) for a linear classifier of features beside a box regressor.
    """

    def __init__(self, spec: TensorSpec, params: AnchorFreeParams) -> None:
        self._is_nchw, self._size = spec.layout == "NCHW", params.response_size
        self._channels = spec.shape[1] if self._is_nchw else spec.shape[3]
        self._cells = (params.first_cell_px + params.stride * np.arange(self._size)).astype(np.float32)
        width = self._channels + 1  # the last one is 1 everywhere
        self._rows: FloatArray = np.ones((self._size, self._size, width), np.float32)
        block = block_of(self._size**2, width)
        self._blocks = self._rows.reshape(-1, block, width)
        self._first = self._since = Moments(np.zeros((width, width), np.float32), np.zeros(width, np.float32))
        self._weights: FloatArray = np.zeros(width, np.float32)
        self._frames = 0

    def start(self, maps: Mapping[str, Array], place: Place) -> None:
        """Learn from the first frame: what the search graph gave for a crop of it, and where the target is in that."""
        self._take(maps)
        self._first = self._since = self._lesson(place)
        self._solve()

    def response(self, maps: Mapping[str, Array]) -> FloatArray:
        """Give the (S, S) likeness for a search crop, 0..1; the crop is remembered for `learn`."""
        self._take(maps)
        likeness: FloatArray = (self._blocks @ self._weights).reshape(self._size, self._size)
        return np.clip(likeness, 0.0, 1.0, out=likeness)

    def learn(self, place: Place, confidence: float) -> None:
        """Learn where the target was found in the last crop, if it was found for sure and it is time."""
        self._frames += 1
        if not confidence > LEARN_ABOVE or self._frames % LEARN_EVERY:
            return
        self._since = self._since.mixed(self._lesson(place), 1 - (1 - RATE) ** LEARN_EVERY)
        self._solve()

    def _take(self, maps: Mapping[str, Array]) -> None:
        features = maps[FEATURES][0]
        self._rows[..., :-1] = features.transpose(1, 2, 0) if self._is_nchw else features

    def _lesson(self, place: Place) -> Moments:
        x = (self._cells - place.dx) / max(place.w, SMALLEST_PX)
        y = (self._cells - place.dy) / max(place.h, SMALLEST_PX)
        radius = np.sqrt(x * x + (y * y)[:, None])
        label = np.clip((UNSURE - radius) / (UNSURE - SURE), 0.0, 1.0)
        label.put(int(radius.argmin()), 1.0)
        around = label == 0
        outside = max(1, int(np.count_nonzero(around)))
        counts = (np.where(around, 1 / outside, label / label.sum()) / 2).astype(np.float32)
        blocks = self._blocks
        weighted = blocks * counts.reshape(*blocks.shape[:2], 1)
        labels = label.astype(np.float32).reshape(len(blocks), 1, -1) @ weighted
        return Moments((blocks.transpose(0, 2, 1) @ weighted).sum(axis=0), labels.sum(axis=0)[0])

    def _solve(self) -> None:
        products, labels = self._since.mixed(self._first, FIRST_SHARE)
        products.flat[:: len(products) + 1] += np.float32(RIDGE * np.trace(products) / len(products))
        self._weights = np.linalg.solve(products, labels)
