"""How well weights track annotated recordings, in PyTorch."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from siamedge.export.checkpoints.reading import load_network
from siamedge.export.evaluation.onepass import SUCCESS_BINS
from siamedge.export.evaluation.overlap import continuous_iou
from siamedge.export.evaluation.runner import track
from siamedge.export.families.torch_session import TorchSession
from siamedge.runtime.tracking.tracker_table import make_tracker
from siamedge.runtime.tracking.trackers import Tracker
from siamedge.training.crops.annotated import Recording


class Score(NamedTuple):
    """One recording's.

    Attributes:
        name: Of the recording.
        area: Area under the success curve, first frame included, IoU strictly above 21 thresholds (OTB); frames without
            a box are left out.
    """

    name: str
    area: float


def evaluate(weights: Path, recordings: Sequence[Recording]) -> list[Score]:
    """Track every recording once from its first box.

    Args:
        weights: Of any family that can be exported.
        recordings: From annotated.find_recordings.

    Raises:
        ExportError: The weights cannot be read.
        SourceError: A recording cannot be read.
    """
    network = load_network(weights)
    sessions = TorchSession(network, "template"), TorchSession(network, "search")
    tracker = make_tracker(network.family, *sessions, network.params)
    return [Score(recording.name, _area(tracker, recording)) for recording in recordings]


def _area(tracker: Tracker, recording: Recording) -> float:
    sequence, frames = recording
    run = track(tracker, sequence, range(frames[0], frames[-1] + 1))
    judged = np.array(frames)
    overlaps = continuous_iou(run.boxes[judged - frames[0]], sequence.boxes[judged])
    return float((overlaps[:, None] > SUCCESS_BINS).mean())
