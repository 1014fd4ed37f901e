"""Annotated clips in memory: reading them, and writing scenes that are made of them."""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from script import parser

from siamedge.export.evaluation.datasets import open_dataset
from siamedge.export.evaluation.sequences import read_frames
from siamedge.runtime.errors import PlaceError, SourceError
from siamedge.runtime.geometry import Image


class Clip(NamedTuple):
    """Frames, at least two, and (N, 4) boxes x, y, w, h, 0-based, nan where the target is absent."""

    name: str
    images: list[Image]
    boxes: np.ndarray


def folders_in(root: Path) -> list[Path]:
    """The folders of clips below a folder, sorted.

    Raises:
        SourceError: There are none.
    """
    found = sorted(path.parent for path in root.glob("*/groundtruth.txt"))
    if not found:
        raise SourceError(f"{root}: no clips in it", hint="give the folder of NAME/img and NAME/groundtruth.txt")
    return found


def load(folder: Path) -> Clip:
    """Read img/ and groundtruth.txt; which pixel is the first one is found out as `siamedge eval` does.

    Raises:
        SourceError: Frames and boxes do not match, a picture cannot be read, or there is but one.
    """
    (sequence,) = open_dataset(folder)
    if len(sequence) < 2:
        raise SourceError(f"{folder}: 1 frame, a clip has at least two", hint="leave it out")
    boxes = np.where(sequence.valid[:, None], sequence.boxes, np.nan)
    boxes[:, :2] -= sequence.origin
    return Clip(folder.name, list(read_frames(sequence, range(len(sequence)))), boxes)


def asked(description: str | None, suites: tuple[str, ...]) -> tuple[list[Path], Path]:
    """Read the command line of a script that makes scenes of clips.

    Args:
        description: The script's docstring.
        suites: Folders that it writes below OUT.

    Returns:
        The clips' folders, sorted, and OUT.

    Raises:
        SourceError: There are no clips.
        PlaceError: A suite is there already.
    """
    found = parser(description)
    found.add_argument("clips", type=Path)
    found.add_argument("out", type=Path)
    options = found.parse_args()
    for suite in suites:
        if (options.out / suite).exists():
            raise PlaceError(f"{options.out / suite}: is there already", hint="choose another OUT, or remove it")
    return folders_in(options.clips), options.out


def write(folder: Path, frames: list[tuple[Image, np.ndarray]]) -> None:
    """Write NAME/img/*.jpg and NAME/groundtruth.txt."""
    (folder / "img").mkdir(parents=True)
    for number, (image, _) in enumerate(frames):
        cv2.imwrite(str(folder / "img" / f"{number:05d}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 90])
    np.savetxt(folder / "groundtruth.txt", [box for _, box in frames], fmt="%.2f", delimiter=",")
