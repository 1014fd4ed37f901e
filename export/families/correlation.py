"""Correlations lowered to operators that every backend runs in int8: MatMul, constant convolutions, slices.

A convolution whose weight is an input falls out of XNNPACK, breaks static quantizers and is refused by NPUs, so
none of these uses one when it is exported. Each is proven equal to its direct form in tests/export/test_correlation.py.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


def pixelwise_kernel(features: Tensor) -> Tensor:
    """Turn template features (N, C, H, W) into the matrix (N, H*W, C) that pixelwise_correlation takes."""
    return features.flatten(2).transpose(1, 2)


def pixelwise_correlation(kernel: Tensor, features: Tensor) -> Tensor:
    """Correlate every template position with every search position.

    Args:
        kernel: (N, P, C), one row a template position, row-major.
        features: (N, C, H, W) search features.

    Returns:
        (N, P, H, W); channel p is the inner product of template position p with each search position.

    Source: Yan et al. 2021 (Alpha-Refine), pixel-wise correlation.
    """
    batch, positions, _ = kernel.shape
    height, width = features.shape[2:]
    return torch.matmul(kernel, features.flatten(2)).reshape(batch, positions, height, width)


class CrossCorrelation(nn.Module):
    """SiamFC's valid cross-correlation with one kernel, as MatMul and a constant one-hot convolution.

    MatMul gives the inner product of every kernel cell with every search cell; the one-hot convolution adds, for each
    offset, the k*k products that belong to it.

    Args:
        kernel_size: Side k of the square template features.
    """

    shifts: Tensor

    def __init__(self, kernel_size: int) -> None:
        super().__init__()
        cells = kernel_size * kernel_size
        shifts = torch.eye(cells).reshape(1, cells, kernel_size, kernel_size)
        self.register_buffer("shifts", shifts, persistent=False)

    def forward(self, kernel: Tensor, features: Tensor) -> Tensor:
        """Correlate.

        Args:
            kernel: (1, k*k, C) from pixelwise_kernel.
            features: (1, C, H, W).

        Returns:
            (1, 1, H-k+1, W-k+1).

        Source: Bertinetto et al. 2016, equation 2 (without the bias).
        """
        return functional.conv2d(pixelwise_correlation(kernel, features), self.shifts)


def depthwise_correlation(kernel: Tensor, features: Tensor) -> Tensor:
    """Correlate each channel with its own kernel, as slices, products and sums.

    Args:
        kernel: (1, C, k, k) template features.
        features: (1, C, H, W) search features.

    Returns:
        (1, C, H-k+1, W-k+1).

    Source: Li et al. 2019 (SiamRPN++), depth-wise cross-correlation.
    """
    size = kernel.shape[2]
    height, width = features.shape[2] - size + 1, features.shape[3] - size + 1
    total = torch.zeros(0)
    for row in range(size):
        for column in range(size):
            window = features[:, :, row : row + height, column : column + width]
            product = window * kernel[:, :, row : row + 1, column : column + 1]
            total = product if row == column == 0 else total + product
    return total
