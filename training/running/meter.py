"""Means over the steps since they were last told, and the speed."""

import time

import torch
from torch import Tensor


class Meter:
    """Sums up what each step of a run gives.

    Args:
        values: How many figures a step has.
    """

    def __init__(self, values: int) -> None:
        self.steps, self._sums, self._since = 0, torch.zeros(values), time.monotonic()

    def add(self, figures: Tensor) -> None:
        """Take the figures (values,) of a step in."""
        self._sums += figures
        self.steps += 1

    def read(self, batch: int) -> tuple[list[float], float]:
        """Give the means and the pairs a second, with so many pairs a step, and start anew."""
        means: list[float] = (self._sums / self.steps).tolist()
        speed = self.steps * batch / (time.monotonic() - self._since)
        self.steps, self._since = 0, time.monotonic()
        self._sums.zero_()
        return means, speed
