"""Crops cut from a user's own annotated recordings."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from siamedge.runtime.crops import context_side
from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Box, Image
from siamedge.training.crops import CONTEXT_PX, CROP_PX

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm")


def find_recordings(root: Path) -> list[Path]:
    """List the annotated recordings at or below a folder.

    A recording is a folder with `groundtruth.txt` and pictures in `img/` (or beside it), or a video with boxes in a
    text file of the same name. A row of boxes is x, y, w, h in pixels, 0-based; nan where the target is absent.

    Raises:
        SourceError: There is none.
    """
    folders = [path.parent for path in sorted(root.rglob("groundtruth.txt"))]
    videos = [path for path in sorted(root.rglob("*")) if path.suffix.lower() in VIDEOS and _boxes_of(path).is_file()]
    if not folders and not videos:
        hint = "a folder with img/ and groundtruth.txt, or clip.mp4 with clip.txt, rows of x,y,w,h"
        raise SourceError(f"{root}: no annotated recording", hint=hint)
    return folders + videos


def read_boxes(recording: Path) -> list[Box | None]:
    """Read one box a frame, None where the target is absent.

    Raises:
        SourceError: A row is not four numbers.
    """
    path = _boxes_of(recording)
    boxes: list[Box | None] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            boxes.append(_parse(line, f"{path}:{number}"))
    return boxes


def read_frames(recording: Path) -> Iterator[Image]:
    """Read the frames in order.

    Raises:
        SourceError: A picture or the video cannot be read.
    """
    if recording.is_dir():
        folder = recording / "img" if (recording / "img").is_dir() else recording
        for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES):
            picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if picture is None:
                raise SourceError(f"{path}: unreadable picture", hint="replace or remove it together with its box")
            yield picture.astype(np.uint8, copy=False)
        return
    video = cv2.VideoCapture(str(recording))
    try:
        while (frame := video.read())[0]:
            yield frame[1].astype(np.uint8, copy=False)
    finally:
        video.release()


def cut_recordings(recordings: Sequence[Path], out: Path, *, crops_each: int = 60) -> Path:
    """Cut crops from recordings into the form that CropStore reads.

    Args:
        recordings: From find_recordings.
        out: Folder to fill.
        crops_each: At most so many crops of each recording, spread over its length.

    Returns:
        out.
    """
    (out / "crops").mkdir(parents=True, exist_ok=True)
    with (out / "annotations.jsonl").open("w", encoding="utf-8") as file:
        for index, recording in enumerate(recordings):
            boxes = read_boxes(recording)
            step = max(1, len(boxes) // crops_each)
            for number, (frame, box) in enumerate(zip(read_frames(recording), boxes, strict=False)):
                if box is None or number % step:
                    continue
                name = f"crops/{index:03d}_{number:06d}.png"
                crop, valid, box_in_crop = cut_crop(frame, box)
                cv2.imwrite(str(out / name), crop)
                labels = {"source": "own", "cls": recording.stem, "track": f"own_{index}", "frame": number}
                row = {"image": name, **labels, "box": list(box_in_crop), "valid": valid}
                file.write(json.dumps(row) + "\n")
    return out


def cut_crop(frame: Image, box: Box) -> tuple[Image, list[float], Box]:
    """Cut the 336 px crop around an object.

    Returns:
        The crop, its valid area x0, y0, x1, y1 and the box within it.
    """
    scale = CONTEXT_PX / context_side(box.w, box.h, 0.5)
    height, width = frame.shape[:2]
    shift = np.full(2, CROP_PX / 2) - scale * np.array(box.center)
    # OpenCV puts pixel centres at whole numbers; boxes put them at halves.
    affine = np.array([[scale, 0, shift[0] + scale / 2 - 0.5], [0, scale, shift[1] + scale / 2 - 0.5]])
    mean = cv2.mean(frame)[:3]
    crop = cv2.warpAffine(frame, affine, (CROP_PX, CROP_PX), flags=cv2.INTER_LINEAR, borderValue=mean)
    ends = (*shift, shift[0] + scale * width, shift[1] + scale * height)
    valid = [float(min(max(end, 0.0), CROP_PX)) for end in ends]
    box_in_crop = Box(scale * box.x + shift[0], scale * box.y + shift[1], scale * box.w, scale * box.h)
    return crop.astype(np.uint8, copy=False), valid, Box(*map(float, box_in_crop))


def _boxes_of(recording: Path) -> Path:
    return recording / "groundtruth.txt" if recording.is_dir() else recording.with_suffix(".txt")


def _parse(line: str, where: str) -> Box | None:
    parts = line.replace(",", " ").split()
    try:
        values = [float(part) for part in parts]
    except ValueError as error:
        raise SourceError(f"{where}: {line!r} is not x,y,w,h", hint="four numbers a row, or nan") from error
    if values and all(np.isnan(values)):
        return None
    if len(values) != 4 or np.isnan(values).any() or min(values[2:]) <= 0:
        raise SourceError(f"{where}: {line!r} is not x,y,w,h", hint="four numbers a row, w and h above 0, or nan")
    return Box(*values)
