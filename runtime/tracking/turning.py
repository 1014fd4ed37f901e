"""A target that turns in the picture: its first look is turned after it while the tracker is in doubt."""

import math
from collections.abc import Callable, Mapping

import cv2
import numpy as np

from siamedge.runtime.geometry import Image
from siamedge.runtime.tensors import Array
from siamedge.runtime.tracking.crops import Square, crop_square

USUAL_RATE = 0.05
"""Share of the newest score in the usual one."""
LEAST_USUAL = 0.5
"""The usual score never counts as less: where all are weak, every frame is doubtful."""
CLEARER = 0.05
"""A turned look is taken over where its score is higher by more than this."""
LONGEST_PAUSE = 4
"""Doubtful frames that are passed over, at most, after looks in vain."""

Kernels = Mapping[str, Array]


def room_px(template_px: int) -> int:
    """Side of a crop in which a template crop can be turned by any angle: the least even number >= sqrt(2) times."""
    return 2 * math.ceil(template_px * math.sqrt(0.5))


def crop_with_room(frame: Image, square: Square, template_px: int, padding: tuple[float, ...]) -> Image:
    """Cut a target as for the template crop, but with so much around it that it can be turned.

    Args:
        frame: (H, W, 3) uint8, BGR.
        square: room_px / template_px times as large as the target's context square.
        template_px: Side of the template crop.
        padding: BGR colour of what lies outside the frame.

    Returns:
        (R, R, 3) uint8, R = room_px(template_px).
    """
    room = room_px(template_px)
    out: Image = np.empty((room, room, 3), np.uint8)
    crop_square(frame, square, out, padding, exact=True)
    return out


class FirstLook:
    """The first look of a target, turned by any angle.

    Args:
        crop: From `crop_with_room`.
        template_px: Side of the template crop.
        run: Template crop -> kernels, in memory of their own.
        first: Kernels of the look as it is.
    """

    def __init__(self, crop: Image, template_px: int, run: Callable[[Image], Kernels], first: Kernels) -> None:
        self._crop, self._size, self._run = crop, template_px, run
        self._kernels = {0.0: first}

    def turned(self, angle_deg: float) -> Image:
        """Give the (size, size, 3) template crop with its content turned counter-clockwise about its middle."""
        size, roomy = self._size, self._crop.shape[0]
        matrix = cv2.getRotationMatrix2D(((roomy - 1) / 2, (roomy - 1) / 2), angle_deg, 1.0)
        matrix[:, 2] -= (roomy - size) / 2
        return np.asarray(cv2.warpAffine(self._crop, matrix, (size, size)), np.uint8)

    def kernels(self, angle_deg: float) -> Kernels:
        """What the template graph gives for it; each angle is run once."""
        if angle_deg not in self._kernels:
            self._kernels[angle_deg] = self._run(self.turned(angle_deg))
        return self._kernels[angle_deg]


class Turn:
    """By how much the target is turned, as far as is known, and when to look for more.

    In a doubtful frame one further angle is tried, a step to one side, the next time to the other, so that an update
    is never more than two searches and one run of the template graph.

    Args:
        look: See attributes.
        step_deg: From one angle to the next, > 0.
        below: A score under this share of the usual one is a doubt, 0..1.

    Attributes:
        look: The target's first look.
        angle_deg: Counter-clockwise, 0..360; the first look is 0.
    """

    def __init__(self, look: FirstLook, step_deg: float, below: float) -> None:
        self.look, self.angle_deg = look, 0.0
        self._step_deg, self._below = step_deg, below
        self._usual: float | None = None
        self._sign, self._pause, self._passed = -1, 0, 0

    def further(self, score: float) -> float | None:
        """Give the angle to try besides the present one; None where there is no doubt, or it is too early to try.

        Args:
            score: Confidence for the present angle, 0..1.
        """
        usual = score if self._usual is None else self._usual
        if score >= self._below * max(usual, LEAST_USUAL):
            return None
        if self._passed < self._pause:
            self._passed += 1
            return None
        self._passed, self._sign = 0, -self._sign
        return (self.angle_deg + self._sign * self._step_deg) % 360

    def is_taken(self, angle_deg: float, score: float, present: float) -> bool:
        """Take over the angle that was tried if its score is clearly above that of the present one; tells whether."""
        if score > present + CLEARER:
            self.angle_deg, self._pause = angle_deg, 0
            return True
        self._pause = min(max(1, 2 * self._pause), LONGEST_PAUSE)
        return False

    def remember(self, score: float) -> None:
        """Take the score that a frame ended with."""
        self._usual = score if self._usual is None else self._usual + USUAL_RATE * (score - self._usual)
