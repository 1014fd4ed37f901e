"""Each lowered correlation equals its direct form, a convolution whose weight is the template."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from siamedge.export.families.correlation import (
    CrossCorrelation,
    depthwise_correlation,
    pixelwise_correlation,
    pixelwise_kernel,
)


def random(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in double precision, so that only real differences show."""
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def direct(kernels: Tensor, features: Tensor) -> Tensor:
    """Valid correlation of (N, C, k, k) with (N, C, H, W) by one grouped convolution, a group a sample."""
    samples, channels, height, width = features.shape
    folded = functional.conv2d(features.reshape(1, samples * channels, height, width), kernels, groups=samples)
    return folded.reshape(samples, 1, *folded.shape[2:])


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("template", "search"), [((8, 8), (16, 16)), ((3, 5), (7, 4)), ((1, 1), (1, 1))])
def test_pixelwise_is_one_convolution_a_template_position(
    batch: int, template: tuple[int, int], search: tuple[int, int]
) -> None:
    z, x = random(batch, 12, *template, seed=1), random(batch, 12, *search, seed=2)
    found = pixelwise_correlation(pixelwise_kernel(z), x)
    positions = template[0] * template[1]
    assert found.shape == (batch, positions, *search)
    for p in range(positions):
        row, column = divmod(p, template[1])
        expected = direct(z[:, :, row : row + 1, column : column + 1], x)
        torch.testing.assert_close(found[:, p : p + 1], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize(("size", "height", "width"), [(6, 22, 22), (3, 3, 9), (1, 5, 5)])
def test_siamfc_s_correlation_is_the_direct_one(batch: int, size: int, height: int, width: int) -> None:
    z, x = random(batch, 32, size, size, seed=3), random(batch, 32, height, width, seed=4)
    found = CrossCorrelation(size).double()(pixelwise_kernel(z), x)
    assert found.shape == (batch, 1, height - size + 1, width - size + 1)
    torch.testing.assert_close(found, direct(z, x), rtol=0, atol=1e-11)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(("size", "side"), [(4, 18), (3, 3), (1, 6)])
def test_depthwise_is_a_grouped_convolution(batch: int, size: int, side: int) -> None:
    z, x = random(batch, 10, size, size, seed=5), random(batch, 10, side, side, seed=6)
    found = depthwise_correlation(z, x)
    merged = functional.conv2d(x.reshape(1, -1, side, side), z.reshape(-1, 1, size, size), groups=batch * 10)
    torch.testing.assert_close(found, merged.reshape(found.shape), rtol=0, atol=1e-12)


def test_a_correlation_is_not_flipped() -> None:
    kernel, features = torch.zeros(1, 1, 3, 3), torch.zeros(1, 1, 5, 5)
    kernel[0, 0, 0, 2] = 1
    features[0, 0, 1, 4] = 7
    expected = torch.zeros(1, 1, 3, 3)
    expected[0, 0, 1, 2] = 7
    assert torch.equal(CrossCorrelation(3)(pixelwise_kernel(kernel), features), expected)
    assert torch.equal(depthwise_correlation(kernel, features), expected)
