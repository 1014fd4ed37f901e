"""From a head's maps to the best cell's box: the arithmetic of a search frame, in memory that is kept."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from siamedge.runtime.geometry import FloatArray
from siamedge.runtime.tensors import Array, TensorSpec
from siamedge.runtime.tracking.crops import context_side
from siamedge.runtime.tracking.feeding import CellMaps
from siamedge.runtime.tracking.params import AnchorFreeParams

LARGEST_LOGIT = np.float32(80.0)
"""exp of it is finite in float32; the sigmoid of anything larger is 0 or 1 all the same."""

SMALLEST_SIDE = 1e-9
"""Crop pixels; no side counts as smaller: a box of exactly 0 pixels has no aspect, and nothing is divided by it."""

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

    What an update does here it does in few calls, in memory that is kept: right after a network has run neither the
    code nor the data of a call are in the processor's nearest cache, which costs three times as much as the call.

    Args:
        outputs: Of the search graph: "cls", "log_ltrb" and with params.has_quality "quality".
        params: From the bundle's manifest.

    Attributes:
        size_factors: By which all widths and heights are multiplied.

    Source: Li et al. 2018 (SiamRPN), equation 13 and section 4.3, for penalty and window; Tian et al. 2019 (FCOS) for
        boxes as distances left, top, right, bottom from a cell's centre.
    """

    def __init__(self, outputs: Mapping[str, TensorSpec], params: AnchorFreeParams) -> None:
        self._params, cells = params, params.response_size**2
        self._cls, self._log_ltrb = CellMaps(outputs["cls"]), CellMaps(outputs["log_ltrb"])
        self._quality = CellMaps(outputs["quality"]) if params.has_quality else None
        self._share = np.float32(1 - params.window_influence)
        self._window = cosine_window(params) * np.float32(params.window_influence)
        self._factors = np.empty((2 if params.has_quality else 1, cells), np.float32)
        self._scores, self._quality_factor = self._factors[0], self._factors[-1]
        self._online_share = np.float32(params.online_share)
        self._mixed, self._bounds = np.empty((2, cells), np.float32)
        self._confidence = self._scores
        self._largest_log = np.float32(params.max_log_distance)
        self._ratios = np.empty((4, cells), np.float32)
        rows, columns = np.indices((params.response_size,) * 2, np.float32).reshape(2, -1) * params.stride
        self._cells = np.stack([columns, rows, columns, rows]) + np.float32(params.first_cell_px)
        self._outwards = np.repeat(OUTWARDS * np.float32(params.distance_scale), cells, axis=1)
        self._edges_and_one = np.ones((5, cells), np.float32)
        self._edges, self._apart = self._edges_and_one[:4], np.empty((4, cells), np.float32)
        self._per_side = np.empty(4, np.float32)
        self._spread, self._weights = np.empty((2, cells), np.float32)
        self._is_alike = np.empty(cells, np.bool_)
        self.size_factors = (1.0, 1.0)

    def best(self, maps: Mapping[str, Array], w: float, h: float, online: FloatArray | None = None) -> Peak:
        """Give the best cell.

        Args:
            maps: What the search graph gave.
            w: Width of the last box, crop pixels.
            h: Its height.
            online: (S * S,) likeness to the target as learnt while tracking, 0..1; it has params.online_share in the
                confidence.
        """
        self._read(maps, online)
        bounds, window = self._bounds, self._window
        np.multiply(self._confidence, self._share, out=bounds)
        np.add(bounds, window, out=bounds)
        last_side, share = context_side(w, h, 0.5), float(self._share)
        best, best_rank, best_cell = NOWHERE, -1.0, 0
        for _ in range(bounds.size):
            cell = int(bounds.argmax())
            if bounds.item(cell) <= best_rank:
                break
            bounds[cell] = -1.0
            peak = self._decode(cell, last_side, w / h)
            rank = peak.penalty * peak.confidence * share + window.item(cell)
            if rank > best_rank:
                best, best_rank, best_cell = peak, rank, cell
        if self._params.center_spread and best is not NOWHERE:
            return self._centered(best, best_cell)
        return best

    def strongest(self, maps: Mapping[str, Array], w: float, h: float, online: FloatArray | None = None) -> Peak:
        """Give the cell with the highest confidence, whatever its place and size; arguments as in best."""
        self._read(maps, online)
        found = np.where(np.isfinite(self._ratios).all(0), np.nan_to_num(self._confidence, nan=-1.0), -1.0)
        cell = int(found.argmax())
        return NOWHERE if found[cell] < 0 else self._decode(cell, context_side(w, h, 0.5), w / h)

    def _centered(self, peak: Peak, cell: int) -> Peak:
        """The peak with the mean centre of all boxes like its own, weighted by the squares of their confidence.

        A box is like it if its four edges are off by less than params.center_spread together, in widths and heights.
        Neighbouring cells see the same target and err differently.
        """
        edges, apart, per_side, weights = self._edges, self._apart, self._per_side, self._weights
        np.multiply(self._ratios, self._outwards, out=edges)
        np.add(edges, self._cells, out=edges)
        own = edges[:, cell, None]
        np.subtract(edges, own, out=apart)
        np.absolute(apart, out=apart)
        left, top, right, bottom = own[:, 0].tolist()
        per_side[0] = per_side[2] = 1 / max(right - left, SMALLEST_SIDE)
        per_side[1] = per_side[3] = 1 / max(bottom - top, SMALLEST_SIDE)
        np.dot(per_side, apart, out=self._spread)
        np.less(self._spread, self._params.center_spread, out=self._is_alike)
        np.multiply(self._confidence, self._is_alike, out=weights)
        np.multiply(weights, weights, out=weights)
        left, top, right, bottom, total = np.dot(self._edges_and_one, weights).tolist()
        if total == 0:
            return peak
        x, y = (left + right) / 2 / total, (top + bottom) / 2 / total
        return Peak(x, y, *peak[2:]) if math.isfinite(x + y) else peak

    def _read(self, maps: Mapping[str, Array], online: FloatArray | None) -> None:
        """Take in a response: the scores, the confidence and the distances, relative to params.distance_scale."""
        cls, scores = self._cls.view(maps["cls"]), self._scores
        if self._params.score == "softmax":
            np.subtract(cls[0], cls[1], out=scores)
        else:
            np.negative(cls[0], out=scores)
        if self._quality is not None:
            np.negative(self._quality.view(maps["quality"])[0], out=self._quality_factor)
        sigmoid_of_negative(self._factors)
        if self._quality is not None:
            np.multiply(scores, self._quality_factor, out=scores)
        self._confidence = scores
        if online is not None:
            self._confidence = mixed = np.subtract(online, scores, out=self._mixed)
            np.multiply(mixed, self._online_share, out=mixed)
            np.add(mixed, scores, out=mixed)
        np.minimum(self._log_ltrb.view(maps["log_ltrb"]), self._largest_log, out=self._ratios)
        np.exp(self._ratios, out=self._ratios)

    def _decode(self, cell: int, last_side: float, last_aspect: float) -> Peak:
        params = self._params
        row, column = divmod(cell, params.response_size)
        unit, (left, top, right, bottom) = params.distance_scale, self._ratios[:, cell].tolist()
        w = max((left + right) * unit, SMALLEST_SIDE) * self.size_factors[0]
        h = max((top + bottom) * unit, SMALLEST_SIDE) * self.size_factors[1]
        scale, aspect = context_side(w, h, 0.5) / last_side, last_aspect * h / w
        change = max(scale, 1 / scale) * max(aspect, 1 / aspect)
        return Peak(
            params.first_cell_px + params.stride * column + (right - left) * unit / 2,
            params.first_cell_px + params.stride * row + (bottom - top) * unit / 2,
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
