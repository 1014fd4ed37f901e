"""Weights as int8 steps with a scale for each output channel."""

import numpy as np
from numpy.typing import NDArray

from siamedge.runtime.geometry import FloatArray

WIDE_STEPS = 127
"""Of a weight on each side of 0: all that int8 has."""
NARROW_STEPS = 63
"""So many that two products of a weight and a uint8 activation add up within 16 bits, 2 * 63 * 255 < 2^15.

x86-64 without VNNI adds them so, and cuts off what is larger: with WIDE_STEPS a model that is exact on a processor with
VNNI computes something else on one without. docs/quantization.md has figures.
"""


def channel_steps(values: FloatArray, axes: tuple[int, ...]) -> tuple[NDArray[np.int8], FloatArray]:
    """Round weights to WIDE_STEPS on each side of 0.

    Args:
        values: Of any shape.
        axes: Of the output channels, each of which has its own scale.

    Returns:
        The steps, and what to multiply them by: float32, of length 1 along all other axes.
    """
    others = tuple(i for i in range(values.ndim) if i not in axes)
    largest = np.abs(values).max(others, keepdims=True)
    scale = np.maximum(largest / WIDE_STEPS, np.finfo(np.float32).tiny).astype(np.float32)
    return np.rint(values / scale).astype(np.int8), scale
