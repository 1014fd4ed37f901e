"""The conventions `otb` and `got10k`: overlap and centre error over one pass."""

import numpy as np

from siamedge.export.annotations import Boxes
from siamedge.export.evaluation.overlap import center_distance, clipped, continuous_iou
from siamedge.export.evaluation.runner import Run
from siamedge.export.evaluation.sequences import Sequence
from siamedge.export.evaluation.terms import Ratio, Terms, mean_curve, share_over, share_up_to

SUCCESS_BINS = np.linspace(0, 1, 21)
PRECISION_BINS = np.arange(51, dtype=np.float64)
GOT10K_BINS = np.linspace(0, 1, 101)


def full_pass(sequence: Sequence, runs: tuple[Run, ...]) -> Boxes:
    """Give (N, 4) boxes of a one-pass run for every frame; nan before the frame that it started on."""
    boxes = np.full_like(sequence.boxes, np.nan)
    boxes[runs[0].frames] = runs[0].boxes
    return boxes


def otb_terms(sequence: Sequence, runs: tuple[Run, ...]) -> Terms:
    """Give success over 21 overlap thresholds (strictly above) and precision over 0..50 px (up to and including).

    The first frame counts, as perfect. A frame without ground truth is a failure in both.

    Source: got-10k/toolkit, ExperimentOTB.
    """
    boxes = full_pass(sequence, runs)
    boxes[0] = sequence.boxes[0]
    return {
        "success": mean_curve(share_over(continuous_iou(boxes, sequence.boxes), SUCCESS_BINS)),
        "precision": mean_curve(share_up_to(center_distance(boxes, sequence.boxes), PRECISION_BINS)),
    }


def got10k_terms(sequence: Sequence, runs: tuple[Run, ...]) -> Terms:
    """Give the overlaps inside the image, summed over all visible frames but the first; frames are pooled.

    Source: got-10k/toolkit, ExperimentGOT10k.
    """
    visible = ~sequence.absent[1:]
    size = runs[0].size
    found = clipped(full_pass(sequence, runs)[1:][visible], size)
    overlaps = np.nan_to_num(continuous_iou(found, clipped(sequence.boxes[1:][visible], size)))
    count = np.array([float(len(overlaps))])
    hits = (overlaps[:, None] > GOT10K_BINS[None, :]).sum(axis=0).astype(np.float64)
    return {"overlap": Ratio(overlaps.sum(keepdims=True), count), "success": Ratio(hits, np.full(len(hits), count[0]))}
