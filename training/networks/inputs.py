"""Crops as a network takes them."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def as_input(crops: NDArray[np.uint8]) -> Tensor:
    """Turn (N, H, W, 3) uint8 into (N, 3, H, W) float32, channels last in memory."""
    return torch.as_tensor(crops).permute(0, 3, 1, 2).float()
