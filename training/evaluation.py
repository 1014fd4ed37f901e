"""How well weights track annotated recordings, in PyTorch."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from siamedge.export.checkpoints import read_checkpoint
from siamedge.export.families.dart_source import build
from siamedge.export.torch_session import TorchSession
from siamedge.runtime.anchor_free import AnchorFreeTracker
from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import intersection_over_union
from siamedge.runtime.params import AnchorFreeParams
from siamedge.training.annotated import read_boxes, read_frames

THRESHOLDS = np.linspace(0, 1, 21)
"""Of the success plot; its area is the mean over them (OTB)."""


class Score(NamedTuple):
    """One recording's.

    Attributes:
        name: Of the recording.
        area: Area under the success curve, frame 0 included, IoU strictly above 21 thresholds.
    """

    name: str
    area: float


def evaluate(weights: Path, recordings: Sequence[Path]) -> list[Score]:
    """Track every recording once from its first box.

    Args:
        weights: Dart weights.
        recordings: From annotated.find_recordings.

    Raises:
        SourceError: A recording does not begin with a box.
    """
    source = build(read_checkpoint(weights))
    if not isinstance(source.params, AnchorFreeParams):
        raise SourceError(f"{weights}: family {source.family}, expected anchor-free")
    sessions = TorchSession(source, "template"), TorchSession(source, "search")
    return [Score(path.name, _area(AnchorFreeTracker(*sessions, source.params), path)) for path in recordings]


def _area(tracker: AnchorFreeTracker, recording: Path) -> float:
    boxes = read_boxes(recording)
    if not boxes or boxes[0] is None:
        raise SourceError(f"{recording}: the first frame has no box", hint="cut the recording where the target is seen")
    overlaps = []
    for number, (frame, box) in enumerate(zip(read_frames(recording), boxes, strict=False)):
        if number == 0:
            tracker.init(frame, boxes[0])
            overlaps.append(1.0)
            continue
        found = tracker.update(frame).box
        if box is not None:
            overlaps.append(intersection_over_union(found, box))
    return float((np.array(overlaps)[:, None] > THRESHOLDS).mean())
