"""How sure a network is that its target is there: scores as evidence, calibrated per artifact, gathered over frames."""

import math
from collections import deque
from typing import NamedTuple

FIRST_FRAMES = 4
"""So many frames after the start say what score is usual for a target."""
MOST_EVIDENCE = 6.0
"""No single frame counts for more, in either direction."""


class PresenceFit(NamedTuple):
    """What a network's raw score says about the presence of its target.

    evidence = offset + level * x + change * (x - usual), where x is the log-odds of the raw score and usual the highest
    of the target's first frames. It is the log of the odds that the target is there if both are as likely.

    Attributes:
        offset: See above.
        level: Weight of the score itself, >= 0.
        change: Weight of what the score lost since the start, >= 0.
        alike_above: Cosine of a box's signature to the first template, divided by its usual value, that 98 % of the
            frames with a target exceed.
        same_above: Cosine of a box's signature to that of one frame earlier, that 99.7 % of the frames with a target
            exceed, turning targets included.

    Source: logistic regression on the frames of annotated clips and of scenes made from them, where the target is
        gone in a third; benchmarks/presence_fit.py.
    """

    offset: float
    level: float
    change: float
    alike_above: float
    same_above: float


UNFITTED = PresenceFit(offset=3.0, level=0.2, change=1.0, alike_above=0.5, same_above=0.7)
"""For artifacts that carry none."""


class Evidence:
    """The evidence of the last frames.

    Args:
        fit: Of the artifact.
        frames: How many frames back it goes, >= 1.
    """

    def __init__(self, fit: PresenceFit, frames: int) -> None:
        self._fit, self._seen, self._usual = fit, 0, -math.inf
        self._recent: deque[float] = deque(maxlen=frames)

    @property
    def is_new(self) -> bool:
        """The frames that say what is usual are not complete."""
        return self._seen < FIRST_FRAMES

    @property
    def is_full(self) -> bool:
        """As many frames were seen, since the last restart, as it goes back."""
        return len(self._recent) == self._recent.maxlen

    @property
    def mean(self) -> float:
        """Mean over the frames that it goes back to; 0 before the first."""
        return sum(self._recent) / len(self._recent) if self._recent else 0.0

    @property
    def lowest(self) -> float:
        """The lower of the mean and the mean of the last two frames; 0 before the first."""
        newest = list(self._recent)[-2:]
        return min(self.mean, sum(newest) / len(newest)) if newest else 0.0

    def add(self, score: float) -> float:
        """Take the score of a followed frame; give its evidence."""
        if self.is_new:
            self._usual, self._seen = max(self._usual, log_odds(score)), self._seen + 1
        self._recent.append(self.of(score))
        return self._recent[-1]

    def of(self, score: float) -> float:
        """The evidence of a score, which is not remembered."""
        x = log_odds(score)
        usual = self._usual if math.isfinite(self._usual) else x
        found = self._fit.offset + self._fit.level * x + self._fit.change * (x - usual)
        return min(MOST_EVIDENCE, max(-MOST_EVIDENCE, found))

    def restart(self) -> None:
        """Forget the last frames, but not what is usual."""
        self._recent.clear()


def log_odds(score: float) -> float:
    """Log of score / (1 - score), bounded where float32 ends."""
    bounded = min(max(score, 1e-7), 1 - 1e-7)
    return math.log(bounded / (1 - bounded))


def probability_of(evidence: float) -> float:
    """The probability that has these log-odds."""
    return 1 / (1 + math.exp(-evidence))
