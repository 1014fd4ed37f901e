"""The size of a target in doubt: it returns to what it was while the network was sure."""

import math

REMEMBER_RATE = 0.05
"""Share of the present size that is remembered in a frame of confidence 1."""


class RememberedSize:
    """The size that a target had while its confidence was high, and the way back to it.

    A box that has grown a little too large makes the next search crop larger, in which the target is smaller and its
    score lower; the network corrects such an error by half, at most. Left alone, sizes drift while a target is hard to
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
