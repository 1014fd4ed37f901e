"""What the network should have said for a batch of pairs."""

from typing import NamedTuple

import torch
from torch import Tensor


class Targets(NamedTuple):
    """One truth for each cell.

    Args:
        label: (N, S, S) 1 on the target, 0 off it, -1 where neither answer is wrong.
        ltrb: (N, 4, S, S) distances from the cell's centre to the box's sides, search-crop px.
    """

    label: Tensor
    ltrb: Tensor


def cell_centers(cells: int, stride: int) -> Tensor:
    """(S,) centres of the cells along one axis, search-crop px."""
    return torch.arange(cells, dtype=torch.float32) * stride + stride / 2


def make_targets(boxes: Tensor, cells: int, stride: int) -> Targets:
    """Label the cells.

    A cell is positive within an ellipse of a quarter of the box's size around its centre, negative outside one of half
    of it; the cell nearest to the centre is always positive.

    Args:
        boxes: (N, 4) centre x, centre y, width, height, search-crop px; nan where the target is absent.
        cells: S.
        stride: Search-crop px a cell.

    Source: Chen et al. 2020 (SiamBAN), labels from two ellipses.
    """
    centers = cell_centers(cells, stride)
    x, y = centers[None, None, :], centers[None, :, None]
    cx, cy, w, h = boxes.nan_to_num(0.0)[:, :, None, None].unbind(1)
    present = ~boxes.isnan().any(1)[:, None, None]
    radius = ((x - cx) / w.clamp(min=1)) ** 2 + ((y - cy) / h.clamp(min=1)) ** 2
    nearest = ((x - cx).abs() <= stride / 2) & ((y - cy).abs() <= stride / 2)
    label = torch.where(radius > 0.25, 0.0, -1.0)
    label = torch.where((radius < 0.0625) | nearest, 1.0, label)
    sides = (x - cx + w / 2, y - cy + h / 2, cx + w / 2 - x, cy + h / 2 - y)
    ltrb = torch.stack([side.expand_as(label) for side in sides], dim=1)
    return Targets(torch.where(present, label, 0.0), ltrb)
