"""The convention `vot-multistart`: accuracy, robustness and expected average overlap from several starts."""

import numpy as np

from siamedge.export.evaluation.overlap import Vector, raster_iou
from siamedge.export.evaluation.runner import Run
from siamedge.export.evaluation.sequences import Sequence
from siamedge.export.evaluation.terms import Ratio, Terms

GRACE = 10
"""Frames in a row under the threshold that make a failure."""
THRESHOLD = 0.1
LOW, HIGH = 115, 755
"""Sequence lengths over which EAO is averaged in VOT2020 to VOT2022; HIGH itself is not reached by the curve."""


def vot_terms(sequence: Sequence, runs: tuple[Run, ...]) -> Terms:
    """Give accuracy (pooled over tracked frames), robustness (weighted by length) and the EAO curve.

    Source: votchallenge/toolkit, analysis/multistart.py.
    """
    overlaps = [start_overlaps(sequence, run) for run in runs]
    progress = [progress_until_failure(sequence, run, values) for run, values in zip(runs, overlaps, strict=True)]
    tracked = float(sum(progress))
    total = sum(len(values) for values in overlaps)
    shared = float(sum(values[:end].sum() for values, end in zip(overlaps, progress, strict=True)))
    weight = float(len(sequence))
    return {
        "accuracy": Ratio(np.array([shared]), np.array([tracked])),
        "robustness": Ratio(np.array([tracked / total * weight]), np.array([weight])),
        "eao": eao_terms(overlaps, progress),
    }


def start_overlaps(sequence: Sequence, run: Run) -> Vector:
    """Give the overlap in each frame of a run; the frame of initialisation has none and counts 0."""
    boxes = run.boxes.copy()
    boxes[0] = np.nan
    return raster_iou(boxes, sequence.boxes[run.frames], run.size)


def progress_until_failure(sequence: Sequence, run: Run, overlaps: Vector) -> int:
    """Count the frames before the first GRACE frames in a row that fail; all of them if there are none.

    A frame fails with an overlap of at most THRESHOLD; one without ground truth never does.
    """
    failing = (overlaps <= THRESHOLD) & sequence.valid[run.frames]
    in_a_row = 0
    for frame, failed in enumerate(failing):
        in_a_row = in_a_row + 1 if failed else 0
        if in_a_row == GRACE:
            return frame + 1 - GRACE
    return len(overlaps)


def eao_terms(overlaps: list[Vector], progress: list[int]) -> Ratio:
    """Sum the mean overlap of the first j frames over the runs that last that long or had failed, for j < HIGH.

    After a failure the overlap is 0. A run that reached its end without failing says nothing beyond its end.
    """
    numerator, active = np.zeros(HIGH), np.zeros(HIGH)
    for values, end in zip(overlaps, progress, strict=True):
        counted = np.where(np.arange(len(values)) < end, values, 0.0)[1:]
        sums, inside = np.cumsum(counted), min(len(values), HIGH)
        numerator[1:inside] += sums[: inside - 1] / np.arange(1, inside)
        active[1:inside] += 1
        if end < len(values):
            beyond = np.arange(inside, HIGH)
            numerator[inside:] += counted.sum() / (beyond - 1)
            active[inside:] += 1
    return Ratio(numerator, active)
