"""Parameters of each tracker family; they travel in the bundle's manifest."""

from typing import Literal, NamedTuple


class AnchorFreeParams(NamedTuple):
    """Trackers whose head gives a score and four distances a cell (NanoTrack, DART).

    Attributes:
        template_px: Side of the template crop.
        search_px: Side of the search crop.
        context: Share of (w + h) / 2 that each side of the target gets as context, 0.5 in SiamFC.
        stride: Pixels of the search crop from one response cell to the next.
        response_size: Cells along a side of the response.
        first_cell_px: Position of the first cell relative to the centre of the search crop, in crop pixels.
        score: "softmax": two logits, the second is the target; "sigmoid": one.
        has_quality: A third output, one logit a cell; its sigmoid multiplies the score.
        distance_scale: distance = distance_scale * exp(min(output, max_log_distance)), crop pixels.
        max_log_distance: See distance_scale.
        window: "hann": zero at the border cells; "hann_inner": the inner cells of a window two cells larger.
        window_influence: Weight of the window in the final score, 0..1.
        penalty_k: Strength of the penalty on change of size and aspect, >= 0.
        lr: Share of the new size that is taken over, 0..1, times penalty and score.
        lost_below: A confidence (the raw score, or its mean with what was learnt online) under this means that the
            target is lost, 0..1.
        hold_below: With a raw score under this the box stays where it is, 0..1; 0 is the published algorithm, which
            wanders while the target is out of sight.
        edge_hold_below: The same for a box that reaches the border of the frame, whose target may have left it and
            come back; 0: as any other, the published algorithm.
        turn_step_deg: With a doubtful confidence the target's first look is also searched for turned by so much, one
            angle an update; 0: never, the published algorithm.
        turn_below: A confidence under this share of the usual one is doubtful, 0..1.
        has_true_squares: Places in a search crop are counted from where its square of whole pixels lies (views.py);
            else from where it was meant to lie, the published algorithm.
        size_fit: Share of the network's error in the first target's size that is taken off all sizes (sizing.py), 0..1;
            0: none, the published algorithm.
        size_pull: Share of the way back to the size of surer frames, in a frame of confidence 0, 0..1; 0: never, the
            published algorithm.
        center_spread: The centre is the mean of those of all boxes whose four edges are off the best cell's by less
            than this together, in widths and heights (response_grid.py); 0: it is the best cell's, the published
            algorithm.
        online_share: Share in the confidence of a classifier that is learnt while tracking (online.py), 0..1; the rest
            is the score. It needs the output "features" of the search graph. 0: none, the published algorithm.

    Source: Li et al. 2018 (SiamRPN) for the penalties; parameter values from each model's publication.
    """

    template_px: int
    search_px: int
    stride: int
    response_size: int
    first_cell_px: float
    score: Literal["softmax", "sigmoid"]
    window_influence: float
    penalty_k: float
    lr: float
    context: float = 0.5
    has_quality: bool = False
    distance_scale: float = 1.0
    max_log_distance: float = 6.0
    window: Literal["hann", "hann_inner"] = "hann"
    lost_below: float = 0.3
    hold_below: float = 0.0
    edge_hold_below: float = 0.0
    turn_step_deg: float = 0.0
    turn_below: float = 0.8
    has_true_squares: bool = False
    size_fit: float = 0.0
    size_pull: float = 0.0
    center_spread: float = 0.0
    online_share: float = 0.0


class SiamFCParams(NamedTuple):
    """SiamFC with a scale pyramid.

    Attributes:
        template_px: Side of the template (exemplar) crop.
        search_px: Side of the search (instance) crop.
        context: Share of (w + h) / 2 that each side of the target gets as context.
        stride: Total stride of the backbone, pixels.
        response_size: Cells along a side of the raw response.
        response_up: Factor by which the response is upsampled, bicubic.
        scale_num: Search scales a frame, odd.
        scale_step: Ratio between neighbouring scales.
        scale_lr: Share of the winning scale that is taken over.
        scale_penalty: Factor on the response of every scale but the middle one.
        window_influence: Weight of the cosine window, 0..1.
        lost_below: A raw response peak under this means that the target is lost; None: the response does not tell.

    Source: Bertinetto et al. 2016; values of the widely used PyTorch port.
    """

    template_px: int = 127
    search_px: int = 255
    context: float = 0.5
    stride: int = 8
    response_size: int = 17
    response_up: int = 16
    scale_num: int = 3
    scale_step: float = 1.0375
    scale_lr: float = 0.59
    scale_penalty: float = 0.9745
    window_influence: float = 0.176
    lost_below: float | None = None


TrackerParams = AnchorFreeParams | SiamFCParams
FAMILIES: dict[str, type[AnchorFreeParams] | type[SiamFCParams]] = {
    "anchor-free": AnchorFreeParams,
    "siamfc": SiamFCParams,
}
"""Tracker family, as the manifest names it, to its parameters."""
