"""What a SiamFC makes of fixed pairs."""

import torch
from torch import Tensor
from torch.nn import functional

from siamedge.export.families.siamfc import SiamFC
from siamedge.runtime.tracking.params import SiamFCParams
from siamedge.training.feeding.fixed import FixedPairs, Judgement
from siamedge.training.networks.losses import overlap
from siamedge.training.recipes.siamfc import SiamFCRecipe
from siamedge.training.siamfc.loss import balanced_logistic, make_labels
from siamedge.training.siamfc.run import as_rgb

PARAMS = SiamFCParams()


@torch.no_grad()
def judge_siamfc(fixed: FixedPairs, network: SiamFC, recipe: SiamFCRecipe, pairs: int) -> Judgement:
    """Compare what a network says with the truth.

    SiamFC finds a place, not a box: the overlap is that of the true box with itself, moved to the place found.

    Args:
        fixed: The pairs.
        network: In evaluation mode.
        recipe: Whose radius counts.
        pairs: That it has seen.
    """
    sums = torch.zeros(2)
    for batch in fixed.batches:
        kernel = network.kernel(network.backbone(as_rgb(batch.templates)))
        response = network.correlation(kernel, network.backbone(as_rgb(batch.searches)))
        boxes = torch.from_numpy(batch.boxes)
        loss = balanced_logistic(response[:, 0], make_labels(boxes, recipe.radius_px, PARAMS))
        sums += torch.stack([loss, overlap_at_peak(response, boxes).mean()])
    loss_mean, found = map(float, sums / len(fixed.batches))
    return Judgement(pairs, fixed.name, loss_mean, found)


def overlap_at_peak(response: Tensor, boxes: Tensor) -> Tensor:
    """Give the IoU (N,) of the true box and the same box around the peak of the upsampled response.

    Args:
        response: (N, 1, S, S).
        boxes: (N, 4) centre x, centre y, width, height, search-crop px.
    """
    fine = functional.interpolate(response, scale_factor=PARAMS.response_up, mode="bicubic")
    side = fine.shape[-1]
    best = fine.flatten(1).argmax(1)
    peak = torch.stack([best % side, best // side], dim=1).float() - (side - 1) / 2
    found = PARAMS.search_px / 2 + peak * PARAMS.stride / PARAMS.response_up
    error, half = found - boxes[:, :2], boxes[:, 2:] / 2
    return overlap(torch.cat([half - error, half + error], 1), torch.cat([half, half], 1))[0]
