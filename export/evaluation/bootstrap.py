"""Scores with their uncertainty: resampling of sequences, seeded, and paired differences."""

from collections.abc import Sequence as Rows
from dataclasses import dataclass

import numpy as np

from siamedge.export.evaluation.conventions import Convention, Metric
from siamedge.export.evaluation.overlap import Vector
from siamedge.export.evaluation.terms import Ratio, Terms

RESAMPLES = 10_000
SEED = 20_220_607
CHUNK = 500


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and how far it may be off, because other sequences would have given another one.

    Attributes:
        value: Over all sequences.
        standard_error: Standard deviation over the resamples; nan for a single sequence.
        low: Lower end of the 95 % interval (percentiles of the resamples).
        high: Upper end.
    """

    value: float
    standard_error: float
    low: float
    high: float


def combine(ratios: Rows[Ratio]) -> Vector:
    """Give the curve of several sequences: sum of numerators by sum of denominators; 0 where nothing counts at all."""
    return _divide(sum_of(ratios, 0), sum_of(ratios, 1))


def sum_of(ratios: Rows[Ratio], side: int) -> Vector:
    """Sum the numerators (0) or denominators (1) of several sequences."""
    return np.asarray(np.sum([ratio[side] for ratio in ratios], axis=0))


def value(terms: Rows[Terms], metric: Metric) -> float:
    """Give a metric over sequences."""
    return float(combine([term[metric.curve] for term in terms])[slice(*metric.part)].mean())


def estimate(terms: Rows[Terms], metric: Metric, resamples: int = RESAMPLES, seed: int = SEED) -> Estimate:
    """Give a metric over sequences with its bootstrap interval."""
    return _summary(value(terms, metric), resampled(terms, metric, resamples, seed), len(terms))


def difference(
    ours: Rows[Terms], theirs: Rows[Terms], metric: Metric, resamples: int = RESAMPLES, seed: int = SEED
) -> Estimate:
    """Give ours minus theirs, paired: both are resampled with the same sequences, in the same order in both."""
    draws = resampled(ours, metric, resamples, seed) - resampled(theirs, metric, resamples, seed)
    return _summary(value(ours, metric) - value(theirs, metric), draws, len(ours))


def resampled(terms: Rows[Terms], metric: Metric, resamples: int, seed: int) -> Vector:
    """Give a metric for each of many draws of as many sequences, with replacement.

    Returns:
        (resamples,) the same for the same seed and number of sequences.
    """
    part = slice(*metric.part)
    numerators = np.array([term[metric.curve].numerator[part] for term in terms])
    denominators = np.array([term[metric.curve].denominator[part] for term in terms])
    counts = _counts(len(terms), resamples, seed)
    means = [_divide(block @ numerators, block @ denominators).mean(axis=1) for block in _blocks(counts)]
    return np.concatenate(means)


def estimates(terms: Rows[Terms], convention: Convention, resamples: int = RESAMPLES) -> dict[str, Estimate]:
    """Give all metrics of a convention over sequences."""
    return {name: estimate(terms, metric, resamples) for name, metric in convention.metrics.items()}


def _counts(sequences: int, resamples: int, seed: int) -> Vector:
    picks = np.random.default_rng(seed).integers(sequences, size=(resamples, sequences))
    return np.array([np.bincount(row, minlength=sequences) for row in picks], dtype=np.float64)


def _blocks(counts: Vector) -> list[Vector]:
    return [counts[start : start + CHUNK] for start in range(0, len(counts), CHUNK)]


def _divide(numerator: Vector, denominator: Vector) -> Vector:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def _summary(center: float, draws: Vector, sequences: int) -> Estimate:
    if sequences < 2:
        return Estimate(center, float("nan"), float("nan"), float("nan"))
    low, high = np.percentile(draws, [2.5, 97.5])
    return Estimate(center, float(draws.std(ddof=1)), float(low), float(high))
