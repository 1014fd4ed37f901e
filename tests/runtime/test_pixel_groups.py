"""A convolution on groups of pixels gives the sums of the one on single pixels."""

import pytest
import torch
from torch.nn import functional

from siamedge.runtime.backends.pixel_groups import AMX, X86, Tile, group_for_tiles, group_weights


@pytest.mark.parametrize("pixels", [2, 4, 8])
@pytest.mark.parametrize(
    ("kernel", "stride", "pad"), [(3, 2, 1), (5, 2, 2), (3, 1, 1), (7, 2, 3), (1, 1, 0), (2, 2, 0)]
)
def test_sums_are_equal(kernel: int, stride: int, pad: int, pixels: int) -> None:
    generator = torch.Generator().manual_seed(kernel * 100 + pixels)
    picture = torch.randint(-8, 8, (1, 16, 32, 3), generator=generator).double()
    weights = torch.randint(-8, 8, (5, 3, kernel, kernel), generator=generator).double()
    expected = functional.conv2d(picture.permute(0, 3, 1, 2), weights, stride=stride, padding=pad).permute(0, 2, 3, 1)
    grouped = group_weights(weights.numpy(), stride=stride, pad=pad, pixels=pixels)
    groups = picture.reshape(1, 16, 32 // pixels, 3 * pixels).permute(0, 3, 1, 2)
    padded = functional.pad(groups, (grouped.before, grouped.after, pad, pad))
    found = functional.conv2d(padded, torch.from_numpy(grouped.weights), stride=(stride, 1)).permute(0, 2, 3, 1)
    assert torch.equal(found.reshape(1, found.shape[1], 32 // stride, 5)[:, :, : expected.shape[2]], expected)


@pytest.mark.parametrize(
    ("shape", "tile", "stride", "pad", "width", "pixels"),
    [
        ((16, 3, 3, 3), AMX, 2, 1, 112, 8),  # 28 columns of 3 * 2 tiles for 112 of 3 * 3; 16 pixels: 14 of 3 * 2 * 2
        ((32, 16, 3, 3), AMX, 2, 1, 56, 4),  # 64 channels of each kind
        ((48, 32, 3, 3), AMX, 2, 1, 28, 2),
        ((64, 48, 3, 3), AMX, 1, 1, 28, 1),  # two pixels would be 96 channels
        ((16, 16, 1, 1), AMX, 1, 0, 30, 3),  # 10 columns; four pixels do not divide the row
        ((7, 3, 3, 3), AMX, 2, 1, 113, 2),  # 113 is a prime: 3 * 2 tiles a column for 3 * 3
        ((128, 128, 3, 3), AMX, 1, 1, 14, 1),
        ((16, 3, 3, 3), X86, 2, 1, 112, 2),  # 3 * 2 taps of 6 channels, of 8, for 3 * 3 of 3, of 8
        ((96, 3, 11, 11), X86, 2, 0, 123, 2),  # 11 * 6 for 11 * 11
        ((32, 16, 3, 3), X86, 2, 1, 56, 1),
    ],
)
def test_the_fewest_tiles(
    shape: tuple[int, int, int, int], tile: Tile, stride: int, pad: int, width: int, pixels: int
) -> None:
    assert group_for_tiles(shape, tile, stride=stride, pad=pad, width=width) == pixels
