"""Latencies of a run in little memory: a histogram whose percentiles are exact to about two per cent."""

import math
from itertools import accumulate
from typing import NamedTuple

RATIO = 1.02
SMALLEST_MS, LARGEST_MS = 0.001, 600_000.0
BINS = math.ceil(math.log(LARGEST_MS / SMALLEST_MS, RATIO)) + 1


class Percentiles(NamedTuple):
    """Half, 95 % and 99 % of the values are at most so large, milliseconds."""

    p50_ms: float
    p95_ms: float
    p99_ms: float


class LatencyMeter:
    """Counts values in bins that grow by two per cent."""

    def __init__(self) -> None:
        self._counts = [0] * BINS
        self.total = 0

    def add(self, latency_ms: float) -> None:
        """Count one value."""
        place = math.log(max(latency_ms, SMALLEST_MS) / SMALLEST_MS, RATIO)
        self._counts[min(BINS - 1, int(place))] += 1
        self.total += 1

    def percentile(self, share: float) -> float:
        """The value that a share (0..1) of all values does not exceed; nan before the first one."""
        if self.total == 0:
            return math.nan
        rank = max(1, math.ceil(share * self.total))
        place = next(place for place, seen in enumerate(accumulate(self._counts)) if seen >= rank)
        return float(SMALLEST_MS * RATIO ** (place + 0.5))

    def percentiles(self) -> Percentiles:
        """The three that are usually asked for."""
        return Percentiles(self.percentile(0.50), self.percentile(0.95), self.percentile(0.99))
