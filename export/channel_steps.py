"""Weights as int8 steps with a scale for each output channel."""

import numpy as np
from numpy.typing import NDArray

from siamedge.runtime.geometry import FloatArray


def channel_steps(values: FloatArray, axes: tuple[int, ...]) -> tuple[NDArray[np.int8], FloatArray]:
    """Round weights to 127 steps on each side of 0.

    Args:
        values: Of any shape.
        axes: Of the output channels, each of which has its own scale.

    Returns:
        The steps, and what to multiply them by: float32, of length 1 along all other axes.
    """
    others = tuple(i for i in range(values.ndim) if i not in axes)
    largest = np.abs(values).max(others, keepdims=True)
    scale = np.maximum(largest / 127, np.finfo(np.float32).tiny).astype(np.float32)
    return np.rint(values / scale).astype(np.int8), scale
