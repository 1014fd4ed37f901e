"""Raw result files in the formats that the toolkits of the field read."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from siamedge.export.evaluation.onepass import full_pass
from siamedge.export.evaluation.overlap import Vector
from siamedge.export.evaluation.runner import Run
from siamedge.export.evaluation.sequences import Sequence

File = tuple[Path, str]


def otb_files(label: str, sequence: Sequence, runs: tuple[Run, ...]) -> Iterator[File]:
    """Give LABEL/SEQ.txt and LABEL/times/SEQ_time.txt, as pysot and got10k's OTB, LaSOT, UAV123 and DTB70 read.

    A second target is SEQ.2 to got10k and SEQ-2 to pysot: both are written.
    """
    boxes = table(full_pass(sequence, runs))
    times = column(_seconds(sequence, runs))
    for name in sorted({sequence.name, re.sub(r"\.(\d)$", r"-\1", sequence.name)}):
        yield Path(label, f"{name}.txt"), boxes
        yield Path(label, "times", f"{name}_time.txt"), times


def got10k_files(label: str, sequence: Sequence, runs: tuple[Run, ...]) -> Iterator[File]:
    """Give LABEL/SEQ/SEQ_001.txt and LABEL/SEQ/SEQ_time.txt, as GOT-10k's experiment and server read."""
    folder = Path(label, sequence.name)
    yield folder / f"{sequence.name}_001.txt", table(full_pass(sequence, runs))
    yield folder / f"{sequence.name}_time.txt", column(_seconds(sequence, runs))


def vot_files(label: str, sequence: Sequence, runs: tuple[Run, ...]) -> Iterator[File]:
    """Give LABEL/baseline/SEQ/SEQ_START.txt and its times, as the VOT toolkit's multi-start experiment reads."""
    for run in runs:
        stem = f"{sequence.name}_{run.start:08d}"
        folder = Path(label, "baseline", sequence.name)
        yield folder / f"{stem}.txt", "1\n" + table(run.boxes[1:])
        yield folder / f"{stem}_time.value", column(run.seconds)


FORMATS: Mapping[str, Callable[[str, Sequence, tuple[Run, ...]], Iterator[File]]] = {
    "otb": otb_files,
    "lasot": otb_files,
    "got10k": got10k_files,
    "vot-multistart": vot_files,
}
"""Convention to the files that its toolkit reads."""


def write_results(root: Path, convention: str, label: str, sequence: Sequence, runs: tuple[Run, ...]) -> None:
    """Write one sequence's result files below a folder, in the annotation's coordinates."""
    for name, content in FORMATS[convention](label, sequence, runs):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


def table(boxes: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    """Give boxes as rows x,y,w,h with four digits after the point."""
    return "".join(",".join(f"{value:.4f}" for value in row) + "\n" for row in boxes)


def column(values: Vector) -> str:
    """Give numbers a line."""
    return "".join(f"{value:.8f}\n" for value in values)


def _seconds(sequence: Sequence, runs: tuple[Run, ...]) -> Vector:
    seconds = np.full(len(sequence), np.nan)
    seconds[runs[0].frames] = runs[0].seconds
    return seconds
