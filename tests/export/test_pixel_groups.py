"""A convolution on groups of pixels gives the sums of the one on single pixels."""

import pytest
import torch
from torch.nn import functional

from siamedge.export.graphs.pixel_groups import group_weights


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
