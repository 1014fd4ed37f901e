"""A classifier of the target against what is around it, learnt while tracking: ridge regression on features.

The network compares with the first look alone; it has never seen what is beside this target. A linear function of its
features that tells the two apart costs a product of a few thousand numbers a frame, and keeps up as the target turns,
bends and changes its light.
"""

import math
from collections.abc import Mapping

import cv2
import numpy as np

from siamedge.runtime.geometry import FloatArray
from siamedge.runtime.tensors import Array, TensorSpec
from siamedge.runtime.tracking.feeding import CellMaps
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
NONE, ALL = np.float32(0), np.float32(1)
"""Least and most of a likeness."""
ON_ONE_THREAD = 2**18
"""A product of two matrices of more multiplications numpy's library (OpenBLAS) spreads over threads, which then spin;
that of a matrix and a vector from 9216 on. A response, of two rows, stays on one up to 131072 features of all cells."""


def block_of(count: int, products: int) -> int:
    """The largest part of so many rows, each of so many multiplications, that divides them and stays on one thread."""
    parts = (part for part in range(1, count + 1) if count % part == 0)
    return max(part for part in parts if part == 1 or part * products <= ON_ONE_THREAD)


def in_blocks(rows: FloatArray, size: int) -> FloatArray:
    """View (R, S * S) as (blocks, R, size)."""
    return rows.reshape(len(rows), -1, size).transpose(1, 0, 2)


class OnlineClassifier:
    """Gives each cell of a response its likeness to the target, 0..1.

    Minimises the mean over cells of (x . weights - label)^2 with a ridge, target and surroundings counting half each,
    over the first frame and an average of those since that forgets exponentially. Products are taken in blocks, each of
    which stays on one thread. Features are read where the session left them: of a crop that is not learnt from nothing
    is copied.

    Args:
        spec: Of the features, (1, C, S, S) or (1, S, S, C).
        params: From the bundle's manifest.

    Source: Hoerl and Kennard 1970 for ridge regression; Bolme et al. 2010 (MOSSE) for an average that forgets;
        Danelljan et al. 2019 (ATOM) for a linear classifier of features beside a box regressor.
    """

    def __init__(self, spec: TensorSpec, params: AnchorFreeParams) -> None:
        self._maps, cells = CellMaps(spec), params.response_size**2
        channels = spec.shape[1 if spec.layout == "NCHW" else 3]
        width = channels + 1  # the last one is 1 everywhere
        self._places = (params.first_cell_px + params.stride * np.arange(params.response_size)).astype(np.float32)
        self._rows: FloatArray = np.ones((width + 1, cells), np.float32)  # features, 1, labels
        self._weighted = np.empty((width, cells), np.float32)
        block = block_of(cells, width * (width + 1))
        self._factors = in_blocks(self._weighted, block), in_blocks(self._rows, block).transpose(0, 2, 1)
        self._features: FloatArray = np.zeros((channels, cells), np.float32)
        self._weights: FloatArray = np.zeros((2, channels), np.float32)  # two rows are a matrix; the second stays 0
        self._products: FloatArray = np.zeros((2, cells), np.float32)
        self._likeness: FloatArray = self._products[0]
        self._offset = np.float32(0)
        self._first = self._since = np.zeros((width, width + 1), np.float32)
        self._frames = 0

    def start(self, maps: Mapping[str, Array], place: Place) -> None:
        """Learn from the first frame: what the search graph gave for a crop of it, and where the target is in that."""
        self._features = self._maps.view(maps[FEATURES])
        if (taught := self._lesson(place)) is not None:
            self._first = self._since = taught
            self._solve()

    def response(self, maps: Mapping[str, Array]) -> FloatArray:
        """Give the (S * S,) likeness for a search crop, 0..1, in memory that the next call uses again.

        Where the features are is remembered for `learn`, which is to be called while they are there.
        """
        self._features = features = self._maps.view(maps[FEATURES])
        likeness = self._likeness
        np.dot(self._weights, features, out=self._products)
        np.add(likeness, self._offset, out=likeness)
        np.maximum(likeness, NONE, out=likeness)
        np.minimum(likeness, ALL, out=likeness)
        return likeness

    def is_due(self, confidence: float) -> bool:
        """Count a frame; whether it is time to learn from it, and the target was found for sure."""
        self._frames += 1
        return self._frames % LEARN_EVERY == 0 and confidence > LEARN_ABOVE

    def learn(self, place: Place) -> None:
        """Learn where the target was found in the last crop."""
        if (taught := self._lesson(place)) is not None:
            self._since = mixed(self._since, taught, 1 - (1 - RATE) ** LEARN_EVERY)
            self._solve()

    def _lesson(self, place: Place) -> FloatArray | None:
        """What one crop teaches: X' C X and beside it X' C y, (D, D + 1), D = channels + 1; None if not all is finite.

        X are the cells' features and 1, y their labels, C the cells' weights, which sum to 1.
        """
        rows, label = self._rows, self._labels(place)
        rows[:-2], rows[-1] = self._features, label
        outside, inside = max(1, label.size - int(np.count_nonzero(label))), float(np.add.reduce(label))
        counts = np.where(label, label * np.float32(0.5 / inside), np.float32(0.5 / outside))
        np.multiply(rows[:-1], counts, out=self._weighted)
        taught: FloatArray = np.add.reduce(np.matmul(*self._factors), axis=0)
        return taught if math.isfinite(np.add.reduce(taught, axis=None)) else None

    def _labels(self, place: Place) -> FloatArray:
        """How far each cell is the target, (S * S,), 0..1; the one nearest to its centre is, however small it is."""
        x = (self._places - np.float32(place.dx)) / np.float32(max(place.w, SMALLEST_PX))
        y = (self._places - np.float32(place.dy)) / np.float32(max(place.h, SMALLEST_PX))
        radius = np.sqrt(x * x + (y * y)[:, None]).reshape(-1)
        label: FloatArray = (np.float32(UNSURE) - radius) / np.float32(UNSURE - SURE)
        np.minimum(np.maximum(label, NONE, out=label), ALL, out=label)
        label[radius.argmin()] = 1.0
        return label

    def _solve(self) -> None:
        """Find the weights, by Cholesky: OpenCV's takes half the time of LAPACK's elimination for so few equations."""
        sums = mixed(self._since, self._first, FIRST_SHARE)
        products, diagonal = sums[:, :-1], sums.reshape(-1)[:: sums.shape[1] + 1]
        diagonal += np.float32(RIDGE / len(sums)) * np.add.reduce(diagonal)
        is_solved, weights = cv2.solve(products, sums[:, -1:], flags=cv2.DECOMP_CHOLESKY)
        if is_solved:
            solved = np.asarray(weights, np.float32).reshape(-1)
            self._weights[0], self._offset = solved[:-1], solved[-1]


def mixed(old: FloatArray, new: FloatArray, share: float) -> FloatArray:
    """(1 - share) * old + share * new."""
    moved: FloatArray = new - old
    moved *= np.float32(share)
    moved += old
    return moved
