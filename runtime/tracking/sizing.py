"""The size of a target: by how much the network errs for this one, and what it was while the network was sure."""

import math
from collections.abc import Sequence

import numpy as np

REMEMBER_RATE = 0.05
"""Share of the present size that is remembered in a frame of confidence 1."""

LARGEST_FIT = 0.3
"""No logarithm of a size is taken to be wrong by more."""


class SizeFit:
    """By how much the network errs in one target's width and height, as its first frame tells, and what that comes to.

    A user's box and the network's idea of the same thing differ: with the arm or without it. In a crop whose scale is
    wrong by a factor the network's size follows by two thirds of it, so that an error of a first frame would be three
    times as large after some frames.

    Args:
        found: Widths and heights that the network gave where the truth is known, over the true ones, each > 0. The
            middle one is the error, of whose logarithm LARGEST_FIT counts at most.
        share: Of the error that is taken off, 0..1.
    """

    def __init__(self, found: Sequence[tuple[float, float]], share: float) -> None:
        errors = np.sort(np.log(found), axis=0)
        middle = (errors[(len(found) - 1) // 2] + errors[len(found) // 2]) / 2  # np.median imports numpy.ma, 11 ms
        error = np.clip(middle, -LARGEST_FIT, LARGEST_FIT)
        self._w, self._h = (-share * error).tolist()

    def factors(self, angle_deg: float) -> tuple[float, float]:
        """Give the factors for width and height of the target turned by an angle from its first look.

        Turned by a quarter its width is what its height was; between, logarithms are mixed by the squares of the cosine
        and of the sine.
        """
        turned = math.sin(math.radians(angle_deg)) ** 2
        return math.exp(self._w + turned * (self._h - self._w)), math.exp(self._h + turned * (self._w - self._h))


class RememberedSize:
    """The size that a target had while its confidence was high, and the way back to it.

    A box that has grown a little too large makes the next search crop larger, in which the target is smaller and its
    score lower; the network corrects such an error by a third. Left alone, sizes drift while a target is hard to
    see. Only the area returns: a target's aspect changes sooner than its size.

    Args:
        w: Width of the first box, pixels of the frame, > 0.
        h: Its height.
        pull: Share of the way back in a frame of confidence 0, on a log scale, 0..1.
    """

    def __init__(self, w: float, h: float, pull: float) -> None:
        self._log_side, self._pull = _log_side(w, h), pull

    def corrected(self, w: float, h: float, confidence: float) -> tuple[float, float]:
        """Take a new size, and give it with as much of the way back as its confidence leaves in doubt.

        Args:
            w: Width, pixels of the frame, > 0.
            h: Height.
            confidence: Of the frame's best cell, 0..1.
        """
        present = _log_side(w, h)
        step = self._pull * (1 - confidence) * (self._log_side - present)
        self._log_side += REMEMBER_RATE * confidence * (present + step - self._log_side)
        factor = math.exp(step)
        return w * factor, h * factor


def _log_side(w: float, h: float) -> float:
    return math.log(w * h) / 2
