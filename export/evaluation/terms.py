"""What a sequence contributes to a score: numerators and denominators, so that any weighting adds up."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from siamedge.export.evaluation.overlap import Vector


class Ratio(NamedTuple):
    """A curve of K bins as sums: the score of several sequences is sum(numerators) / sum(denominators).

    Attributes:
        numerator: (K,).
        denominator: (K,) weight of this sequence in each bin, >= 0.
    """

    numerator: Vector
    denominator: Vector


Terms = Mapping[str, Ratio]
"""Curves by name."""


def mean_curve(curve: Vector) -> Ratio:
    """Give a curve that counts once for each sequence, however long it is."""
    return Ratio(curve, np.ones_like(curve))


def share_over(values: Vector, thresholds: Vector) -> Vector:
    """Give for each threshold the share of values over it; a nan is over none. nan without values."""
    return _share(values[:, None] > thresholds[None, :])


def share_up_to(values: Vector, thresholds: Vector) -> Vector:
    """Give for each threshold the share of values up to and including it; a nan is in none. nan without values."""
    return _share(values[:, None] <= thresholds[None, :])


def _share(hits: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Vector:
    return np.asarray(hits.mean(axis=0)) if len(hits) else np.full(hits.shape[1], np.nan)
