"""The convention `lasot`: absent frames count as failures, and centre error also in units of the target."""

import numpy as np

from siamedge.export.annotations import Boxes
from siamedge.export.evaluation.onepass import PRECISION_BINS, SUCCESS_BINS, full_pass
from siamedge.export.evaluation.overlap import Vector, center_distance
from siamedge.export.evaluation.runner import Run
from siamedge.export.evaluation.sequences import Sequence
from siamedge.export.evaluation.terms import Ratio, Terms, mean_curve

NORM_BINS = np.arange(51) / 100


def lasot_terms(sequence: Sequence, runs: tuple[Run, ...]) -> Terms:
    """Give success, precision and normalised precision as LaSOT's own toolkit does.

    An invalid result repeats the one before it. Absent frames are left out of the hits but not out of the length.
    A ground truth that is not positive in all four numbers is a failure in success and a hit in precision.

    Source: HengLan/LaSOT_Evaluation_Toolkit, calc_seq_err_robust and eval_tracker.
    """
    length, present = len(sequence), ~sequence.absent
    truth = sequence.boxes[present]
    found = repaired(full_pass(sequence, runs), sequence.boxes)[present]
    known = (truth > 0).all(axis=1)
    overlaps = np.where(known, _overlap(found, truth), -1.0)
    errors = np.where(known, center_distance(found, truth), -1.0)
    relative = np.full(len(truth), -1.0)
    relative[known] = center_distance(found[known], truth[known], truth[known, 2:])
    return {
        "success": _over(overlaps, SUCCESS_BINS, length),
        "precision": _up_to(errors, PRECISION_BINS, length),
        "norm_precision": _up_to(relative, NORM_BINS, length),
    }


def repaired(boxes: Boxes, truth: Boxes) -> Boxes:
    """Replace empty and nan results by the one before, where there is ground truth; the first is the ground truth."""
    out = boxes.copy()
    for i in range(1, len(out)):
        invalid = not np.isfinite(out[i]).all() or (out[i, 2:] <= 0).any()
        if invalid and not np.isnan(truth[i]).any():
            out[i] = out[i - 1]
    out[0] = truth[0]
    return out


def _overlap(a: Boxes, b: Boxes) -> Vector:
    low = np.maximum(a[:, :2], b[:, :2])
    high = np.minimum(a[:, :2] + a[:, 2:] - 1, b[:, :2] + b[:, 2:] - 1)
    shared = np.maximum(high - low + 1, 0).prod(axis=1)
    union = a[:, 2:].prod(axis=1) + b[:, 2:].prod(axis=1) - shared
    return np.asarray(np.divide(shared, union, out=np.full(len(a), np.nan), where=union != 0))


def _over(values: Vector, bins: Vector, length: int) -> Ratio:
    return mean_curve((values[:, None] > bins[None, :]).sum(axis=0) / length)


def _up_to(values: Vector, bins: Vector, length: int) -> Ratio:
    return mean_curve((values[:, None] <= bins[None, :]).sum(axis=0) / length)
