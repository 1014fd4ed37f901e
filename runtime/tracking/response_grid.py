"""From a head's maps to the best cell's box: the arithmetic of a search frame, in memory that is kept."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from siamedge.runtime.geometry import FloatArray
from siamedge.runtime.tensors import Array, TensorSpec
from siamedge.runtime.tracking.crops import context_side
from siamedge.runtime.tracking.feeding import as_chw
from siamedge.runtime.tracking.params import AnchorFreeParams

LARGEST_LOGIT = np.float32(80.0)
"""exp of it is finite in float32; the sigmoid of anything larger is 0 or 1 all the same."""

SMALLEST_LOG = -30.0
"""No log distance counts as smaller: a box of exactly 0 pixels has no aspect."""

SMALLEST_SIDE = 1e-9
"""Crop pixels; what is divided by a side is divided by this at least."""

OUTWARDS = np.array([[-1], [-1], [1], [1]], np.float32)
"""Signs of the distances left, top, right, bottom."""


class Peak(NamedTuple):
    """The best cell of a response.

    Attributes:
        dx: Centre of its box relative to the search crop's centre, crop pixels.
        dy: See dx.
        w: Width of its box, crop pixels.
        h: Height.
        score: The network's probability that the target is there, 0..1.
        penalty: Factor for the change of size and aspect, 0..1.
        confidence: What the cell was chosen by, 0..1: the score, or a mean of it and of what was learnt while tracking.
    """

    dx: float
    dy: float
    w: float
    h: float
    score: float
    penalty: float
    confidence: float


NOWHERE = Peak(0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0)
"""What a response without a single number gives: score 0, so that the box stays and counts as lost."""


def cosine_window(params: AnchorFreeParams) -> FloatArray:
    """Give the (S*S,) window that pulls the peak towards the last position, 0..1."""
    size = params.response_size
    hann = np.hanning(size) if params.window == "hann" else np.hanning(size + 2)[1:-1]
    return np.outer(hann, hann).ravel().astype(np.float32)


class ResponseGrid:
    """Ranks the cells of a response and gives the best one.

    A cell's rank is penalty * confidence * (1 - influence) + window * influence; the confidence is the score, unless
    what was learnt online has a share in it. The penalty is at most 1, so the rank without it is a bound: cells are
    looked at from the highest bound down, and those whose bound is under the best rank found are never decoded. One to
    five cells of 256 are, on real sequences.

    Args:
        outputs: Of the search graph: "cls", "log_ltrb" and with params.has_quality "quality".
        params: From the bundle's manifest.

    Attributes:
        size_factors: By which all widths and heights are multiplied.

    Source: Li et al. 2018 (SiamRPN), equation 13 and section 4.3, for penalty and window; Tian et al. 2019 (FCOS) for
        boxes as distances left, top, right, bottom from a cell's centre.
    """

    def __init__(self, outputs: Mapping[str, TensorSpec], params: AnchorFreeParams) -> None:
        self._outputs, self._params = outputs, params
        self._share = np.float32(1 - params.window_influence)
        shape = (params.response_size, params.response_size)
        self._window = (cosine_window(params) * np.float32(params.window_influence)).reshape(shape)
        self._scores, self._quality, self._bounds = (np.empty(shape, np.float32) for _ in range(3))
        self._online_share = np.float32(params.online_share)
        self._mixed = np.empty(shape, np.float32)
        self._confidence = self._scores
        rows, columns = np.indices(shape, np.float32).reshape(2, -1) * params.stride + params.first_cell_px
        self._cells = np.stack([columns, rows, columns, rows])
        self._edges, self._apart = np.empty((2, *self._cells.shape), np.float32)
        self._largest_log = np.float32(params.max_log_distance)
        self._outwards = OUTWARDS * np.float32(params.distance_scale)
        self.size_factors = (1.0, 1.0)

    def best(self, maps: Mapping[str, Array], w: float, h: float, online: FloatArray | None = None) -> Peak:
        """Give the best cell.

        Args:
            maps: What the search graph gave.
            w: Width of the last box, crop pixels.
            h: Its height.
            online: (S, S) likeness to the target as learnt while tracking, 0..1; it has params.online_share in the
                confidence.
        """
        self._read_scores(maps)
        self._confidence = self._confidences(online)
        bounds, window = self._bounds, self._window
        np.multiply(self._confidence, self._share, out=bounds)
        np.add(bounds, window, out=bounds)
        log_ltrb = as_chw(maps["log_ltrb"], self._outputs["log_ltrb"])
        last_side, share = context_side(w, h, 0.5), float(self._share)
        best, best_rank, best_cell = NOWHERE, -1.0, 0
        for _ in range(bounds.size):
            cell = int(bounds.argmax())
            if bounds.item(cell) <= best_rank:
                break
            bounds.put(cell, -1.0)
            peak = self._decode(cell, log_ltrb, last_side, w / h)
            rank = peak.penalty * peak.confidence * share + window.item(cell)
            if rank > best_rank:
                best, best_rank, best_cell = peak, rank, cell
        if self._params.center_spread and best is not NOWHERE:
            return self._centered(best, best_cell, log_ltrb)
        return best

    def strongest(self, maps: Mapping[str, Array], w: float, h: float, online: FloatArray | None = None) -> Peak:
        """Give the cell with the highest confidence, whatever its place and size; arguments as in best."""
        self._read_scores(maps)
        self._confidence = self._confidences(online)
        cell = int(self._confidence.argmax())
        log_ltrb = as_chw(maps["log_ltrb"], self._outputs["log_ltrb"])
        return self._decode(cell, log_ltrb, context_side(w, h, 0.5), w / h)

    def _centered(self, peak: Peak, cell: int, log_ltrb: FloatArray) -> Peak:
        """The peak with the mean centre of all boxes like its own, weighted by the squares of their confidence.

        A box is like it if its four edges are off by less than params.center_spread together, in widths and heights.
        Neighbouring cells see the same target and err differently.
        """
        edges, apart = self._edges, self._apart
        np.minimum(log_ltrb.reshape(edges.shape), self._largest_log, out=edges)
        np.exp(edges, out=edges)
        np.multiply(edges, self._outwards, out=edges)
        np.add(edges, self._cells, out=edges)
        own = edges[:, cell, None]
        np.abs(np.subtract(edges, own, out=apart), out=apart)
        left, top, right, bottom = own[:, 0].tolist()
        across, down = 1 / max(right - left, SMALLEST_SIDE), 1 / max(bottom - top, SMALLEST_SIDE)
        spread = np.array((across, down, across, down), np.float32) @ apart
        weights = self._confidence.reshape(-1) * (spread < self._params.center_spread)
        weights *= weights
        total = float(weights.sum())
        if total == 0:
            return peak
        left, top, right, bottom = (edges @ weights / total).tolist()
        x, y = (left + right) / 2, (top + bottom) / 2
        return peak._replace(dx=x, dy=y) if math.isfinite(x + y) else peak

    def _confidences(self, online: FloatArray | None) -> FloatArray:
        if online is None:
            return self._scores
        mixed = np.subtract(online, self._scores, out=self._mixed)
        np.multiply(mixed, self._online_share, out=mixed)
        return np.add(mixed, self._scores, out=mixed)

    def _read_scores(self, maps: Mapping[str, Array]) -> None:
        outputs, scores = self._outputs, self._scores
        cls = as_chw(maps["cls"], outputs["cls"])
        if self._params.score == "softmax":
            np.subtract(cls[0], cls[1], out=scores)
        else:
            np.negative(cls[0], out=scores)
        sigmoid_of_negative(scores)
        if self._params.has_quality:
            np.negative(as_chw(maps["quality"], outputs["quality"])[0], out=self._quality)
            np.multiply(scores, sigmoid_of_negative(self._quality), out=scores)

    def _decode(self, cell: int, log_ltrb: FloatArray, last_side: float, last_aspect: float) -> Peak:
        params = self._params
        row, column = divmod(cell, params.response_size)
        left, top, right, bottom = (
            params.distance_scale * math.exp(max(SMALLEST_LOG, min(value, params.max_log_distance)))
            for value in log_ltrb[:, row, column].tolist()
        )
        w, h = (left + right) * self.size_factors[0], (top + bottom) * self.size_factors[1]
        scale, aspect = context_side(w, h, 0.5) / last_side, last_aspect * h / w
        change = max(scale, 1 / scale) * max(aspect, 1 / aspect)
        return Peak(
            params.first_cell_px + params.stride * column + (right - left) / 2,
            params.first_cell_px + params.stride * row + (bottom - top) / 2,
            w,
            h,
            self._scores.item(cell),
            math.exp(-(change - 1) * params.penalty_k),
            self._confidence.item(cell),
        )


def sigmoid_of_negative(values: FloatArray) -> FloatArray:
    """Replace x by 1 / (1 + exp(x)), the sigmoid of -x, in place."""
    np.minimum(values, LARGEST_LOGIT, out=values)
    np.exp(values, out=values)
    np.add(values, np.float32(1), out=values)
    return np.reciprocal(values, out=values)
