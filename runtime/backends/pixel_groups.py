"""A convolution on groups of neighbouring pixels instead of single ones.

A library's fast integer kernels want input channels in fours or eights, and a picture has three; tiles (AMX) take 64.
Pixels that lie side by side in a row of a channels-last picture lie side by side in memory too: the same bytes, read as
a picture with fewer columns and more channels. A convolution with rearranged weights, most of them zero, computes the
same sums on it.
"""

from typing import NamedTuple

import numpy as np

from siamedge.runtime.tensors import Array


class Tile(NamedTuple):
    """Channels that an int8 kernel takes at once; it pads fewer with zeros.

    Attributes:
        inputs: That it reads.
        outputs: That it writes.
    """

    inputs: int
    outputs: int


AMX = Tile(64, 64)
"""Sixteen rows of 64 bytes a tile, four tiles."""
X86 = Tile(8, 16)
"""XNNPACK's kernels without AMX: 8 bytes an accumulator, 16 accumulators a register of 512 bits."""


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


def group_for_tiles(shape: tuple[int, int, int, int], tile: Tile, *, stride: int, pad: int, width: int) -> int:
    """How many pixels to group so that a convolution takes the fewest tiles, a group's channels being one at most.

    Args:
        shape: Of the weights: (O, C, height, width).
        tile: Of the kernel.
        stride: In width.
        pad: Pixels of padding at the left.
        width: Columns of the result.

    Returns:
        A multiple of the stride of which the groups of the result fill its rows; 1 where single pixels take no more.
    """
    channels_out, channels_in, height, taps = shape

    def tiles(channels_in: int, channels_out: int, taps: int, columns: int) -> int:
        return -(-channels_in // tile.inputs) * -(-channels_out // tile.outputs) * taps * height * columns

    best, fewest = 1, tiles(channels_in, channels_out, taps, width)
    for outputs in (count for count in range(1, width + 1) if width % count == 0):
        pixels = outputs * stride
        if pixels * channels_in > tile.inputs:
            break
        first, last = group_span(taps, stride=stride, pad=pad, pixels=pixels)
        found = tiles(pixels * channels_in, outputs * channels_out, last - first + 1, width // outputs)
        if pixels > 1 and found < fewest:
            best, fewest = pixels, found
    return best


def group_span(taps: int, *, stride: int, pad: int, pixels: int) -> tuple[int, int]:
    """First and last group that a group of the result reads, counted from its own."""
    outputs = pixels // stride
    return -pad // pixels, ((outputs - 1) * stride - pad + taps - 1) // pixels


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
    first, last = group_span(width, stride=stride, pad=pad, pixels=pixels)
    grouped = np.zeros((outputs * channels_out, pixels * channels_in, height, last - first + 1), weights.dtype)
    for output in range(outputs):
        for tap in range(width):
            group, pixel = divmod(output * stride - pad + tap, pixels)
            rows = slice(output * channels_out, (output + 1) * channels_out)
            grouped[rows, pixel * channels_in : (pixel + 1) * channels_in, :, group - first] = weights[..., tap]
    return GroupedWeights(grouped, -first, last)
