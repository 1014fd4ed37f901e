"""The crops of quantization.py: those that int8 is calibrated on, and those that it is measured on."""

import hashlib
from pathlib import Path

from siamedge.export.calibration.crop_sets import CalibrationSet
from siamedge.export.calibration.rollout import (
    FRAMES_PER_CLIP,
    FRAMES_PER_TARGET,
    CropRecorder,
    choose_evenly,
    collect_crops,
)
from siamedge.export.evaluation.datasets import open_dataset
from siamedge.export.evaluation.sequences import Sequence, read_frames
from siamedge.export.families.source import SourceNetwork
from siamedge.runtime.tracking.tracker_table import make_tracker

CLIPS = ("videos/bottle-detection.mp4", "videos/one-by-one-person-detection.mp4")
CROPS_A_SEQUENCE = 56


def sequence_crops(network: SourceNetwork, sequence: Sequence) -> CalibrationSet:
    """What the tracker sees in a sequence when it begins anew every FRAMES_PER_TARGET frames."""
    recorder = CropRecorder(network)
    tracker = make_tracker(network.family, *recorder.sessions(), network.params)
    has_target = False
    for index, image in enumerate(read_frames(sequence, range(min(len(sequence), FRAMES_PER_CLIP)))):
        if index % FRAMES_PER_TARGET == 0 and sequence.valid[index]:
            recorder.begin_target()
            tracker.init(image, sequence.box(index))
            has_target = True
        elif has_target:
            tracker.update(image)
    return choose_evenly(recorder, CROPS_A_SEQUENCE)


def crops_of(weights: Path, network: SourceNetwork, shared: Path, work: Path) -> tuple[CalibrationSet, CalibrationSet]:
    """Calibration and measuring crops, from --work where they were made before with the same weights."""
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:12]
    paths = [work / f"{weights.stem}-{digest}-{kind}.npz" for kind in ("calibration", "measuring")]
    if not all(path.exists() for path in paths):
        work.mkdir(parents=True, exist_ok=True)
        collect_crops(network, [str(shared / clip) for clip in CLIPS], 150).save(paths[0])
        first, *rest = (sequence_crops(network, item) for item in open_dataset(shared / "sequences"))
        for item in rest:
            first = first.joined(item)
        first.save(paths[1])
    return CalibrationSet.load(paths[0]), CalibrationSet.load(paths[1])
