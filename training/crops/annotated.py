"""A user's own annotated recordings, and crops cut from them."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from siamedge.export.evaluation import sequences
from siamedge.export.evaluation.datasets import open_dataset
from siamedge.export.evaluation.records import hash_sequence
from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.tracking.crops import context_side
from siamedge.training.crops.augmentation import in_pixels
from siamedge.training.crops.folders import make_once, write_picture
from siamedge.training.crops.store import CONTEXT_PX, CROP_PX


class Recording(NamedTuple):
    """A stretch of an annotated sequence.

    Args:
        sequence: Frames and boxes, read as `siamedge eval` reads them.
        frames: Those of the stretch that have a box, rising; the first and the last bound it.
    """

    sequence: sequences.Sequence
    frames: tuple[int, ...]

    @property
    def name(self) -> str:
        """The sequence's, with the frames where it is a part."""
        whole = len(self.frames) == int(self.sequence.valid.sum())
        return self.sequence.name if whole else f"{self.sequence.name} {self.frames[0]}-{self.frames[-1]}"


def find_recordings(path: Path) -> list[Recording]:
    """Read the annotated recordings at a path.

    Args:
        path: A video with its boxes in a text file of the same name, a folder with `img/` and `groundtruth.txt`, a
            folder of such videos and folders, or a data set in a layout that `siamedge eval` knows. A row of boxes is
            x, y, w, h in pixels, 0-based unless the layout says otherwise; nan where the target is absent.

    Raises:
        SourceError: There is none, or boxes and frames do not match.
    """
    return [Recording(item, tuple(np.flatnonzero(item.valid).tolist())) for item in open_dataset(path)]


def cut_recordings(
    recordings: Sequence[Recording],
    out: Path,
    *,
    crops_each: int = 60,
    progress: Callable[[str], None] = lambda step: None,
) -> Path:
    """Cut crops from recordings into the form that CropStore reads.

    Args:
        recordings: From find_recordings.
        out: Folder to make. One that is there is taken as it is if it was cut from the same frames and boxes.
        crops_each: At most so many crops of each recording, spread over its length.
        progress: Told which recording is being read.

    Returns:
        out.

    Raises:
        SourceError: A picture or video cannot be read.
        PlaceError: The crops cannot be written.
    """

    def fill(root: Path) -> None:
        (root / "crops").mkdir()
        rows = []
        for index, recording in enumerate(recordings):
            progress(f"cutting crops of {recording.name} ({index + 1} of {len(recordings)})")
            rows += _cut(recording, index, root, crops_each)
        (root / "annotations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    return make_once(out, _digest(recordings, crops_each), fill)


def _digest(recordings: Sequence[Recording], crops_each: int) -> str:
    parts = [(hash_sequence(recording.sequence), recording.frames) for recording in recordings]
    return hashlib.sha256(json.dumps([crops_each, parts]).encode()).hexdigest()


def _cut(recording: Recording, index: int, root: Path, most: int) -> list[dict[str, object]]:
    places = np.unique(np.linspace(0, len(recording.frames) - 1, most).round().astype(int))
    numbers = [recording.frames[place] for place in places]
    rows: list[dict[str, object]] = []
    for number, frame in zip(numbers, sequences.read_frames(recording.sequence, numbers), strict=True):
        name = f"crops/{index:03d}_{number:06d}.png"
        crop, valid, box = cut_crop(frame, recording.sequence.box(number))
        write_picture(root / name, crop)
        labels = {"source": "own", "cls": recording.sequence.name, "track": f"own_{index:03d}", "frame": number}
        rows.append({"image": name, **labels, "box": list(box), "valid": valid})
    return rows


def cut_crop(frame: Image, box: Box) -> tuple[Image, list[float], Box]:
    """Cut the 336 px crop around an object.

    Returns:
        The crop, its valid area x0, y0, x1, y1 and the box within it.
    """
    scale = CONTEXT_PX / context_side(box.w, box.h, 0.5)
    height, width = frame.shape[:2]
    shift = np.full(2, CROP_PX / 2) - scale * np.array(box.center)
    affine = in_pixels(np.array([[scale, 0, shift[0]], [0, scale, shift[1]]]))
    mean = cv2.mean(frame)[:3]
    crop = cv2.warpAffine(frame, affine, (CROP_PX, CROP_PX), flags=cv2.INTER_LINEAR, borderValue=mean)
    ends = (*shift, shift[0] + scale * width, shift[1] + scale * height)
    valid = [float(min(max(end, 0.0), CROP_PX)) for end in ends]
    box_in_crop = Box(scale * box.x + shift[0], scale * box.y + shift[1], scale * box.w, scale * box.h)
    return crop.astype(np.uint8, copy=False), valid, Box(*map(float, box_in_crop))
