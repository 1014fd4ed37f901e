"""Weights as int8 steps with a scale for each output channel."""

import math

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
PAIR_STEPS = 128
"""So many may two weights of one sign have together that are added in 16 bits, 128 * 255 < 2^15."""
ON_GRID = 0.01
"""Of a step: weights as near as this to multiples of a step were rounded to it before."""


def channel_steps(
    values: FloatArray, axes: tuple[int, ...], steps: int | NDArray[np.int64] = WIDE_STEPS
) -> tuple[NDArray[np.int8], FloatArray]:
    """Round weights to so many steps on each side of 0.

    Args:
        values: Of any shape.
        axes: Of the output channels, each of which has its own scale.
        steps: Of the largest weight, of all channels or of each: then of length 1 along all other axes.

    Returns:
        The steps, and what to multiply them by: float32, of length 1 along all other axes.
    """
    others = tuple(i for i in range(values.ndim) if i not in axes)
    largest = np.abs(values).max(others, keepdims=True)
    scale = np.maximum(largest / steps, np.finfo(np.float32).tiny).astype(np.float32)
    return np.rint(values / scale).astype(np.int8), scale


def paired_steps(values: FloatArray) -> NDArray[np.int64]:
    """How many steps the largest weight of each output channel may have so that no sum of two products saturates.

    Kernels of x86-64 without VNNI add the products of input channels 0 and 1, 2 and 3, and so on, of the same place in
    16 bits. Where two neighbours are seldom large and of one sign, most of the steps of 8 bits are left.

    Args:
        values: (outputs, inputs, ...) weights of a convolution, inputs those of a group.

    Returns:
        (outputs,) of NARROW_STEPS to WIDE_STEPS; what the weights were rounded to, if they lie on such a grid.
        NARROW_STEPS where inputs have no partner_of.
    """
    partner = partner_of(*values.shape[1:])
    weights = values.astype(np.float64).reshape(len(values), -1)
    if partner is None:
        return np.full(len(values), NARROW_STEPS)
    weights = weights / np.maximum(np.abs(weights).max(1, keepdims=True), np.finfo(np.float32).tiny)
    nearest, on_grid = np.full((2, len(values)), NARROW_STEPS)
    alone = partner == np.arange(len(partner))
    for steps in range(NARROW_STEPS, WIDE_STEPS + 1):
        exact = weights * steps
        rounded = np.rint(exact)
        beside = np.where(alone, 0, rounded[:, partner])
        fits = (np.abs(np.where(rounded * beside > 0, rounded + beside, 0)) <= PAIR_STEPS).all(1)
        nearest[fits] = steps
        on_grid[fits & (np.abs(exact - rounded) < ON_GRID).all(1)] = steps
    return np.where(on_grid > NARROW_STEPS, on_grid, nearest)


def partner_of(inputs: int, *kernel: int) -> NDArray[np.int64] | None:
    """Index of the weight whose product is added to one's own in 16 bits: of the neighbouring input at the same place.

    Args:
        inputs: Channels of a convolution's group.
        kernel: Its height and width, if it has any.

    Returns:
        (K,), K = inputs * height * width; the last of an odd number is its own. None where which are neighbours is the
        kernel's secret: an odd number of inputs, and more places than one.
    """
    places = math.prod(kernel)
    if inputs % 2 and places > 1:
        return None
    partner = np.arange(inputs) ^ 1
    partner[-1] = min(partner[-1], inputs - 1)
    return (partner[:, None] * places + np.arange(places)).ravel()
