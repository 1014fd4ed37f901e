"""What SiamFC's response should be, and how far from it one is."""

import torch
from torch import Tensor
from torch.nn import functional

from siamedge.runtime.tracking.params import SiamFCParams


def cell_centers(params: SiamFCParams) -> Tensor:
    """(S,) places of the target's centre that the cells stand for along one axis, search-crop px."""
    cells = torch.arange(params.response_size, dtype=torch.float32)
    return params.search_px / 2 + (cells - (params.response_size - 1) / 2) * params.stride


def make_labels(boxes: Tensor, radius_px: float, params: SiamFCParams) -> Tensor:
    """Mark the cells (N, S, S) within a radius of the target's centre; none where there is no target.

    Args:
        boxes: (N, 4) centre x, centre y, width, height, search-crop px; nan where the target is absent.
        radius_px: In search-crop px.
        params: Of the tracker; give the cells' places.

    Source: Bertinetto et al. 2016, equation 5.
    """
    centers = cell_centers(params)
    cx, cy = boxes[:, :2, None, None].unbind(1)
    return torch.hypot(centers[None, None, :] - cx, centers[None, :, None] - cy) <= radius_px


def balanced_logistic(response: Tensor, positive: Tensor) -> Tensor:
    """Mean logistic loss of the positive and of the negative cells of a batch, each with half of the weight.

    Args:
        response: (N, S, S) logits.
        positive: (N, S, S) bool.

    Source: Bertinetto et al. 2016, equations 3 and 4 and the weights of section 3.1.
    """
    truth = positive.to(response.dtype)
    loss = functional.binary_cross_entropy_with_logits(response, truth, reduction="none")
    of_positive = (loss * truth).sum() / truth.sum().clamp(min=1)
    of_negative = (loss * (1 - truth)).sum() / (1 - truth).sum().clamp(min=1)
    return 0.5 * (of_positive + of_negative)


def share_found(response: Tensor, positive: Tensor) -> Tensor:
    """Share of the pairs with a target whose highest cell is a positive one."""
    best = response.flatten(1).argmax(1, keepdim=True)
    hits = positive.flatten(1).gather(1, best)[:, 0].float()
    return hits.sum() / positive.flatten(1).any(1).float().sum().clamp(min=1)
