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
from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.tracking.crops import context_side
from siamedge.training.crops.augmentation import in_pixels
from siamedge.training.crops.folders import is_made_of, make_once, write_picture
from siamedge.training.crops.store import CONTEXT_PX, CROP_PX


class Recording(NamedTuple):
    """A stretch of an annotated sequence.

    Args:
        sequence: Frames and boxes, read as `siamedge eval` reads them.
        frames: Those of the stretch that show the target, rising; the first and the last bound it.
    """

    sequence: sequences.Sequence
    frames: tuple[int, ...]

    @property
    def name(self) -> str:
        """The sequence's, with the frames where it is a part."""
        whole = self.frames == _shown(self.sequence)
        return self.sequence.name if whole else f"{self.sequence.name} {self.frames[0]}-{self.frames[-1]}"


def find_recordings(path: Path) -> list[Recording]:
    """Read the annotated recordings at a path.

    Args:
        path: A video with its boxes in a text file of the same name, a folder with `img/` and `groundtruth.txt`, a
            folder of such videos and folders, or a data set in a layout that `siamedge eval` knows. A row of boxes is
            x, y, w, h in pixels, 0-based unless the layout says otherwise; nan where the target is absent.

    Raises:
        SourceError: There is none, boxes and frames do not match, or a recording never shows its target.
    """
    recordings = [Recording(item, _shown(item)) for item in open_dataset(path)]
    for recording in recordings:
        if not recording.frames:
            raise SourceError(
                f"{recording.name}: the data set says of each frame that its target cannot be seen",
                hint="leave this recording out",
            )
    return recordings


def _shown(sequence: sequences.Sequence) -> tuple[int, ...]:
    """Frames with a box in which the target can be seen, as far as the data set says so."""
    return tuple(np.flatnonzero(sequence.valid & ~sequence.absent).tolist())


def cut_recordings(
    recordings: Sequence[Recording],
    out: Path,
    *,
    crops_each: int = 60,
    is_begun: bool = False,
    progress: Callable[[str], None] = lambda step: None,
) -> Path:
    """Cut crops from recordings into the form that CropStore reads.

    Args:
        recordings: From find_recordings.
        out: Folder to make. One that is there is taken as it is if it was cut from the same frames and boxes.
        crops_each: At most so many crops of each recording, spread over its length.
        is_begun: A run has learnt from the folder that is there: others are not cut in its place.
        progress: Told which recording is being read.

    Returns:
        out.

    Raises:
        SourceError: A picture or video cannot be read, a box lies outside its frame, or other crops are wanted than
            those of a run that is begun.
        PlaceError: The crops cannot be written.
    """

    def fill(root: Path) -> None:
        (root / "crops").mkdir()
        rows = []
        for index, recording in enumerate(recordings):
            progress(f"cutting crops of {recording.name} ({index + 1} of {len(recordings)})")
            rows += _cut(recording, index, root, crops_each)
        (root / "annotations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    digest = _digest(recordings, crops_each)
    if is_begun and out.is_dir() and not is_made_of(out, digest):
        raise SourceError(
            f"{out}: cut from other frames or boxes than the recordings have that are there",
            hint="put them back as they were, or start again in another --out: what was trained on would judge",
        )
    return make_once(out, digest, fill)


def _digest(recordings: Sequence[Recording], crops_each: int) -> str:
    parts = [(hash_sequence(recording.sequence), recording.frames) for recording in recordings]
    return hashlib.sha256(json.dumps([crops_each, parts]).encode()).hexdigest()


def _cut(recording: Recording, index: int, root: Path, most: int) -> list[dict[str, object]]:
    places = np.unique(np.linspace(0, len(recording.frames) - 1, most).round().astype(int))
    numbers = [recording.frames[place] for place in places]
    rows: list[dict[str, object]] = []
    for number, frame in zip(numbers, sequences.read_frames(recording.sequence, numbers), strict=True):
        name = f"crops/{index:03d}_{number:06d}.png"
        shown = recording.sequence.box(number)
        _check_inside(frame, shown, f"{recording.sequence.name}: row {number + 1} of its boxes")
        crop, valid, box = cut_crop(frame, shown)
        write_picture(root / name, crop)
        labels = {"source": "own", "cls": recording.sequence.name, "track": f"own_{index:03d}", "frame": number}
        rows.append({"image": name, **labels, "box": list(box), "valid": valid})
    return rows


def _check_inside(frame: Image, box: Box, where: str) -> None:
    """Refuse a box that has nothing of its frame in it.

    Raises:
        SourceError: It is such a one.
    """
    height, width = frame.shape[:2]
    if not (box.x < width and box.y < height and box.x + box.w > 0 and box.y + box.h > 0):
        numbers = ", ".join(f"{value:g}" for value in box)
        raise SourceError(
            f"{where}: {numbers} lies outside the frame of {width} x {height} px",
            hint="nan,nan,nan,nan where the target is not to be seen; x, y, w, h in pixels of the frame elsewhere",
        )


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
