"""UAV123's layout: several sequences are stretches of one video, listed in a file of the benchmark."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from siamedge.export.annotations import read_boxes
from siamedge.export.evaluation.layouts import Entry, pictures
from siamedge.runtime.errors import SourceError


class Stretch(NamedTuple):
    """Which frames of which folder make a sequence; first and last count from 1 and are part of it."""

    folder: str
    first: int
    last: int


def is_uav123(root: Path) -> bool:
    """Recognise anno/UAV123/*.txt beside data_seq/UAV123/."""
    return (root / "anno" / "UAV123").is_dir() and (root / "data_seq" / "UAV123").is_dir()


def uav123_entries(root: Path) -> Iterator[Entry]:
    """Read anno/UAV123/NAME.txt with data_seq/UAV123/FOLDER/*.jpg.

    Raises:
        SourceError: A sequence is part of a longer video and no file says which part.
    """
    stretches = read_stretches(root)
    for file in sorted((root / "anno" / "UAV123").glob("*.txt")):
        boxes = read_boxes(file)
        videos = root / "data_seq" / "UAV123"
        whole = pictures(videos / file.stem)
        if file.stem in stretches:
            part = stretches[file.stem]
            frames = pictures(videos / part.folder)[part.first - 1 : part.last]
        elif whole:
            frames = whole
        else:
            raise SourceError(
                f"{file}: {file.stem!r} is part of a longer video, and nothing says which frames",
                hint=f"put the benchmark's configSeqs.m (or got10k's uav123.json) into {root}",
            )
        yield Entry(file.stem, videos / file.stem, frames, boxes)


def read_stretches(root: Path) -> Mapping[str, Stretch]:
    """Read which frames belong to which sequence, from configSeqs.m or uav123.json in the root; empty without them."""
    if (script := root / "configSeqs.m").is_file():
        rows = re.findall(
            r"'name','([^']+)','path','([^']*)','startFrame',(\d+),'endFrame',(\d+)",
            re.sub(r"\s+", "", script.read_text(encoding="utf-8", errors="replace")),
        )
        return {
            name: Stretch(re.split(r"[\\/]", path.rstrip("\\/"))[-1], int(first), int(last))
            for name, path, first, last in rows
        }
    if (table := root / "uav123.json").is_file():
        rows = json.loads(table.read_text(encoding="utf-8"))["UAV123"]
        return {name: Stretch(row["folder_name"], row["start_frame"], row["end_frame"]) for name, row in rows.items()}
    return {}
