"""Folders of crops that are made once for a run, and pictures written into them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2

from siamedge.runtime.errors import PlaceError
from siamedge.runtime.geometry import Image

NOTE = "made_of.txt"
"""File in a folder that says what it was made of."""


def make_once(folder: Path, made_of: str, fill: Callable[[Path], None]) -> Path:
    """Make a folder, unless it is there already and made of the same.

    Args:
        folder: Appears when it is complete; one that is made of something else is deleted then.
        made_of: In few characters, such as a hash.
        fill: Writes what is to be in it into the folder that it is given.

    Returns:
        folder.
    """
    if is_made_of(folder, made_of):
        return folder
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    fill(part)
    (part / NOTE).write_text(made_of, encoding="utf-8")
    if folder.exists():
        shutil.rmtree(folder)
    part.rename(folder)
    return folder


def is_made_of(folder: Path, made_of: str) -> bool:
    """Whether a folder is there and make_once made it of this."""
    note = folder / NOTE
    return note.is_file() and note.read_text(encoding="utf-8") == made_of


def write_picture(path: Path, picture: Image) -> None:
    """Encode a picture into a file.

    Args:
        path: Its suffix says how.
        picture: (H, W, 3) uint8, BGR.

    Raises:
        PlaceError: It cannot be written.
    """
    if not cv2.imwrite(str(path), picture):
        raise PlaceError(f"{path}: cannot be written", hint="make room on the disk, or choose another --out")
