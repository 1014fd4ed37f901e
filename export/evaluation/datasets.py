"""Opens a data set: names its layout, settles lengths and the origin of its coordinates."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from siamedge.export.evaluation import layouts
from siamedge.export.evaluation.layouts import Entry, Layout
from siamedge.export.evaluation.sequences import Origin, Sequence, frames_told
from siamedge.export.evaluation.uav123 import is_uav123, uav123_entries
from siamedge.runtime.errors import SourceError
from siamedge.runtime.logs import warn
from siamedge.runtime.sources.recordings import VIDEO_SUFFIXES

OriginChoice = Literal["auto", "zero", "one"]

LAYOUTS: Mapping[str, Layout] = {
    "uav123": Layout(is_uav123, uav123_entries, 1),
    "lasot": Layout(
        lambda root: layouts.has(root, "*/full_occlusion.txt", "*/*/full_occlusion.txt"), layouts.lasot_entries, 1
    ),
    "otb": Layout(lambda root: layouts.has(root, "*/groundtruth_rect*.txt"), layouts.otb_entries, 1),
    "vot": Layout(layouts.is_vot, layouts.vot_entries, 0),
    "got10k": Layout(layouts.is_got10k, layouts.got10k_entries, 1),
    "plain": Layout(layouts.is_plain, layouts.plain_entries, None),
    "video": Layout(layouts.is_video_folder, layouts.video_entries, None),
}
"""Name to layout, in the order in which they are tried; DTB70 is laid out as OTB."""

NAME_ORIGINS: Mapping[str, Origin] = {"OTB_": 1, "DTB_": 1, "UAV_": 1, "TLD_": 1, "LASOT_": 1, "VOT15_": 1, "DAVIS_": 0}
"""Sequences that were copied out of a published data set and carry its name in front keep its coordinates."""


def open_dataset(path: Path, layout: str = "auto", origin: OriginChoice = "auto") -> tuple[Sequence, ...]:
    """Read the annotations of a data set; frames are decoded when they are needed.

    Args:
        path: Folder of the data set, one sequence of it, or a video with a box file beside it. A folder whose layout
            is recognised may hold such videos, too.
        layout: A key of LAYOUTS, "dtb70", or "auto".
        origin: What the annotation calls the first pixel. "auto": as the layout is published; a plain folder or video
            says it in origin.txt (0 or 1, in its folder or the one above) or by its name (NAME_ORIGINS), else 0.

    Raises:
        SourceError: There is no such data set, its layout is unknown, or frames and boxes do not match.
    """
    if not path.exists():
        raise SourceError(f"{path}: no such data set", hint="give the folder that holds the sequences")
    chosen = recognise(path) if layout == "auto" else {"dtb70": "otb"}.get(layout, layout)
    if chosen not in LAYOUTS:
        raise SourceError(f"unknown layout {layout!r}", hint=f"choose one of auto, dtb70, {', '.join(LAYOUTS)}")
    has_videos = layout == "auto" and chosen != "video" and layouts.is_video_folder(path)
    used = [LAYOUTS[name] for name in ([chosen, "video"] if has_videos else [chosen])]
    found = tuple(_sequence(entry, each.origin, origin) for each in used for entry in each.entries(path))
    if not found:
        raise SourceError(f"{path}: no sequence in the layout {chosen!r}", hint="name another one with --layout")
    return found


def recognise(path: Path) -> str:
    """Name the layout of a folder.

    Raises:
        SourceError: It looks like none of them.
    """
    if path.is_file():
        if layouts.is_annotated_video(path):
            return "video"
        raise SourceError(f"{path}: not a video with its boxes in {path.stem}.txt", hint="put the box file beside it")
    for name, layout in LAYOUTS.items():
        if layout.recognises(path):
            return name
    raise SourceError(f"{path}: layout not recognised", hint=f"name it with --layout: {', '.join(LAYOUTS)}")


def origin_of(folder: Path, name: str) -> Origin:
    """Decide what a plain folder or video calls its first pixel: origin.txt, else its name, else 0.

    Raises:
        SourceError: origin.txt holds neither 0 nor 1.
    """
    for file in (folder / "origin.txt", folder.parent / "origin.txt"):
        if file.is_file():
            word = file.read_text(encoding="utf-8").strip()
            if word not in {"0", "1"}:
                raise SourceError(f"{file}: {word!r}, expected 0 or 1", hint="0: the first pixel is (0, 0)")
            return 1 if word == "1" else 0
    return next((origin for prefix, origin in NAME_ORIGINS.items() if name.startswith(prefix)), 0)


def _sequence(entry: Entry, published: Origin | None, choice: OriginChoice) -> Sequence:
    count = len(entry.frames)
    is_video = count == 1 and entry.frames[0].suffix.lower() in VIDEO_SUFFIXES
    if not is_video and count != len(entry.boxes):
        raise SourceError(
            f"{entry.name}: {count} pictures and {len(entry.boxes)} boxes", hint="one box a frame, nan where absent"
        )
    if is_video and (told := frames_told(entry.frames[0])) > len(entry.boxes):
        warn(__name__, "%s: %d frames and %d boxes; only those with a row are used", entry.name, told, len(entry.boxes))
    if choice == "auto":
        origin = origin_of(entry.folder, entry.name) if published is None else published
    else:
        origin = 1 if choice == "one" else 0
    invalid = np.asarray(~np.isfinite(entry.boxes).all(axis=1))
    anchors = (
        {} if entry.anchors is None else {int(i): int(np.sign(entry.anchors[i])) for i in np.flatnonzero(entry.anchors)}
    )
    sequence = Sequence(
        name=entry.name,
        frames=entry.frames,
        boxes=entry.boxes,
        origin=origin,
        absent=invalid if entry.absent is None else np.asarray(invalid | (entry.absent != 0)),
        anchors=anchors,
    )
    if not sequence.valid.any():
        raise SourceError(f"{entry.name}: no frame has a box", hint="the tracker needs at least one box to start from")
    return sequence
