"""Where each published data set keeps its frames and boxes, and how a folder is recognised."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from siamedge.export.annotations import Boxes, read_boxes, read_flags
from siamedge.export.evaluation.sequences import Origin
from siamedge.runtime.errors import SourceError
from siamedge.runtime.sources.recordings import VIDEO_SUFFIXES, list_images


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One sequence as a layout finds it, before lengths and coordinates are settled.

    Attributes:
        name: Unique in its data set.
        folder: Where it lives; name rules and origin.txt refer to it.
        frames: Picture files, or one video.
        boxes: (N, 4) as published.
        absent: (N,) numbers, not 0 where the target cannot be seen; None where the data set does not say.
        anchors: (N,) VOT's anchor values, or None.
    """

    name: str
    folder: Path
    frames: tuple[Path, ...]
    boxes: Boxes
    absent: NDArray[np.float64] | None = None
    anchors: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """How a data set is laid out.

    Attributes:
        recognises: Whether a folder looks like it.
        entries: Its sequences, in order of their names.
        origin: What its annotation calls the first pixel; None: decided by sequence.
    """

    recognises: Callable[[Path], bool]
    entries: Callable[[Path], Iterator[Entry]]
    origin: Origin | None


def pictures(folder: Path) -> tuple[Path, ...]:
    """List the picture files of a folder as `siamedge track` takes them; empty where there is no such folder."""
    return tuple(list_images(folder))


OTB_RANGES: Mapping[str, tuple[int, int]] = {
    "David": (300, 770),
    "Football1": (1, 74),
    "Freeman3": (1, 460),
    "Freeman4": (1, 283),
    "Diving": (1, 215),
}
"""Sequences of OTB of which only some frames are annotated: first and last file, counted from 1 (OTB's own notes)."""


def otb_entries(root: Path) -> Iterator[Entry]:
    """Read OTB and DTB70: SEQ/img/*.jpg with SEQ/groundtruth_rect.txt, or .1.txt, .2.txt for several targets."""
    for folder in _folders(root):
        files = sorted(path for path in folder.glob("groundtruth_rect*.txt") if path.stat().st_size > 1)
        first, last = OTB_RANGES.get(folder.name, (1, None))
        frames = pictures(folder / "img")
        if folder.name in OTB_RANGES and len(frames) > (last or 0) - first + 1:
            frames = frames[first - 1 : last]
        for number, path in enumerate(files, start=1):
            name = folder.name if len(files) == 1 else f"{folder.name}.{number}"
            yield Entry(name, folder, frames, read_boxes(path))


def got10k_entries(root: Path) -> Iterator[Entry]:
    """Read GOT-10k: SEQ/*.jpg, SEQ/groundtruth.txt, SEQ/cover.label, below the root or its folder val."""
    base = root if has(root, "*/groundtruth.txt") else root / "val"
    for folder in _listed(base):
        boxes = read_boxes(folder / "groundtruth.txt")
        cover = folder / "cover.label"
        absent = (read_flags(cover, len(boxes)) == 0).astype(float) if cover.is_file() else None
        yield Entry(folder.name, folder, pictures(folder), boxes, absent)


def lasot_entries(root: Path) -> Iterator[Entry]:
    """Read LaSOT: CLASS/CLASS-N/img/*.jpg, groundtruth.txt, full_occlusion.txt, out_of_view.txt; or CLASS-N alone."""
    for file in sorted([*root.glob("*/*/full_occlusion.txt"), *root.glob("*/full_occlusion.txt")]):
        folder = file.parent
        boxes = read_boxes(folder / "groundtruth.txt")
        flags = [read_flags(path, len(boxes)) for path in (file, folder / "out_of_view.txt") if path.is_file()]
        yield Entry(folder.name, folder, pictures(folder / "img"), boxes, np.logical_or.reduce(flags).astype(float))


def vot_entries(root: Path) -> Iterator[Entry]:
    """Read VOT: SEQ/color/*.jpg (or SEQ/*.jpg), SEQ/groundtruth.txt, SEQ/anchor.value, in the order of list.txt."""
    base = root / "sequences" if (root / "sequences").is_dir() else root
    for folder in _listed(base):
        boxes = read_boxes(folder / "groundtruth.txt")
        anchors = folder / "anchor.value"
        values = read_flags(anchors, len(boxes)) if anchors.is_file() else None
        yield Entry(folder.name, folder, pictures(folder / "color") or pictures(folder), boxes, anchors=values)


def plain_entries(root: Path) -> Iterator[Entry]:
    """Read SEQ/img/* with SEQ/groundtruth.txt; the root may be one sequence itself."""
    for folder in [root] if (root / "groundtruth.txt").is_file() else _folders(root):
        file = folder / "groundtruth.txt"
        if file.is_file():
            yield Entry(folder.name, folder, pictures(folder / "img"), read_boxes(file))


def video_entries(root: Path) -> Iterator[Entry]:
    """Read CLIP.mp4 with CLIP.txt; the root is a video or a folder of them."""
    for path in [root] if root.is_file() else sorted(root.iterdir()):
        if is_annotated_video(path):
            yield Entry(path.stem, path.parent, (path,), read_boxes(path.with_suffix(".txt")))


def is_annotated_video(path: Path) -> bool:
    """Tell whether a file is a video with a box file of its name beside it; hidden ones are none."""
    is_seen = path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")
    return is_seen and path.with_suffix(".txt").is_file()


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _listed(root: Path) -> list[Path]:
    listing = root / "list.txt"
    names = listing.read_text(encoding="utf-8").split() if listing.is_file() else [path.name for path in _folders(root)]
    missing = [name for name in names if not (root / name / "groundtruth.txt").is_file()]
    if listing.is_file() and missing:
        raise SourceError(
            f"{listing}: lists {len(names)} sequences, {len(missing)} have no groundtruth.txt, first {missing[0]!r}",
            hint="complete the data set, or shorten list.txt",
        )
    return [root / name for name in names if name not in missing]


def has(root: Path, *patterns: str) -> bool:
    """Tell whether a folder holds anything of a glob pattern."""
    return root.is_dir() and any(next(root.glob(pattern), None) is not None for pattern in patterns)


def is_vot(root: Path) -> bool:
    """Recognise pictures in SEQ/color."""
    return any(
        has(root, f"{prefix}*/color") and has(root, f"{prefix}*/groundtruth.txt") for prefix in ("", "sequences/")
    )


def is_got10k(root: Path) -> bool:
    """Recognise pictures beside the annotation."""
    return any(has(root, f"{prefix}*/groundtruth.txt") and has(root, f"{prefix}*/*.jpg") for prefix in ("", "val/"))


def is_plain(root: Path) -> bool:
    """Recognise groundtruth.txt with pictures in img, in the folder or in one below it."""
    return (has(root, "groundtruth.txt") and has(root, "img")) or has(root, "*/groundtruth.txt")


def is_video_folder(root: Path) -> bool:
    """Recognise a video with a box file of its name, or a folder of such."""
    return any(map(is_annotated_video, [root] if root.is_file() else root.iterdir()))
