"""The score under which a target counts as lost, for one exported pair: quantization shifts scores.

Source network and pair are given the same crops, half of them with the template of another target, so that there are
scores of both kinds. The threshold is moved to the same quantile of the pair's scores.
"""

from dataclasses import replace

import numpy as np

from siamedge.export.calibration.choosing import evenly
from siamedge.export.calibration.crop_sets import CalibrationSet
from siamedge.export.verification.tensors import Reference
from siamedge.runtime.geometry import FloatArray
from siamedge.runtime.tracking.responses import Outputs, score_map

CROPS = 100
DIGITS = 4
"""Further ones depend on the order of a sum."""


def threshold_crops(crops: CalibrationSet) -> CalibrationSet:
    """Choose search crops, each once with its own template and, where there are others, once with a far one's."""
    chosen = evenly(crops, CROPS)
    count = len(chosen.templates)
    if count == 1:
        return chosen
    return chosen.joined(replace(chosen, pairs=(chosen.pairs + count // 2) % count))


def best_score(outputs: Outputs) -> float:
    """Give the largest probability of a response, 0..1, before any window or penalty."""
    probability = _sigmoid(score_map(outputs))
    if "quality" in outputs:
        probability = probability * _sigmoid(outputs["quality"][0])
    return float(np.nan_to_num(probability).max())


def _sigmoid(logits: FloatArray) -> FloatArray:
    result: FloatArray = (1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -80, 80)))).astype(np.float32)
    return result


def moved_threshold(below: float, source: Reference, ours: Reference) -> float:
    """Move a threshold on the source's scores to where as many of ours lie under it.

    Args:
        below: On the source network's scores, 0..1.
        source: Of the crops of threshold_crops.
        ours: Of the same.
    """
    theirs, mine = (sorted(best_score(item) for item in reference.outputs) for reference in (source, ours))
    return round(float(np.interp(below, [0.0, *theirs, 1.0], [0.0, *mine, 1.0])), DIGITS)
