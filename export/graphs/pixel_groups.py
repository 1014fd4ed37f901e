"""The first convolution of a network on groups of neighbouring pixels instead of single ones.

A library's fast integer kernels want input channels in fours or eights, and a picture has three. Pixels that lie side
by side in a row of a channels-last picture lie side by side in memory too: the same bytes, read as a picture with fewer
columns and more channels. A convolution with rearranged weights, most of them zero, computes the same sums on it.
"""

from typing import NamedTuple

import numpy as np

from siamedge.runtime.tensors import Array


class GroupedWeights(NamedTuple):
    """A convolution on groups of pixels; its stride is that of the rows in height and 1 in width.

    Attributes:
        weights: (outputs * O, pixels * C, height, groups): the channels of the outputs of a group follow one another.
        before: Groups of padding at the left.
        after: Groups of padding at the right.
    """

    weights: Array
    before: int
    after: int


def group_weights(weights: Array, *, stride: int, pad: int, pixels: int) -> GroupedWeights:
    """Rearrange a convolution's weights.

    Args:
        weights: (O, C, height, width).
        stride: Of the convolution in width; pixels is a multiple of it.
        pad: Pixels of padding at the left.
        pixels: In a group; the picture's width is a multiple of it.
    """
    channels_out, channels_in, height, width = weights.shape
    outputs = pixels // stride
    first, last = -pad // pixels, ((outputs - 1) * stride - pad + width - 1) // pixels
    grouped = np.zeros((outputs * channels_out, pixels * channels_in, height, last - first + 1), weights.dtype)
    for output in range(outputs):
        for tap in range(width):
            group, pixel = divmod(output * stride - pad + tap, pixels)
            rows = slice(output * channels_out, (output + 1) * channels_out)
            grouped[rows, pixel * channels_in : (pixel + 1) * channels_in, :, group - first] = weights[..., tap]
    return GroupedWeights(grouped, -first, last)
