"""Keeps the runs of an evaluation on disk, so that it can be resumed and scored again."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from siamedge.export.evaluation.runner import Run
from siamedge.export.evaluation.sequences import Sequence
from siamedge.runtime.errors import SourceError

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that decides what a tracker will answer; equal settings give equal boxes.

    Attributes:
        tracker: Its source as given.
        tracker_sha256: Of all its files.
        backend: As asked for.
        precision: As asked for.
        device: As asked for.
        protocol: one-pass or multi-start.
        realtime: The latency rule and its numbers in words, empty for none.
    """

    tracker: str
    tracker_sha256: str
    backend: str
    precision: str
    device: str
    protocol: str
    realtime: str

    def digest(self, sequence: Sequence) -> str:
        """Hash these settings together with what is tracked: boxes, frame names and sizes of their files."""
        state = hashlib.sha256()
        fields = [getattr(self, name) for name in self.__slots__ if name != "tracker"]
        state.update(json.dumps([SCHEMA, fields, sequence.name, sequence.origin]).encode())
        state.update(
            np.ascontiguousarray(sequence.boxes).tobytes() + json.dumps(sorted(sequence.anchors.items())).encode()
        )
        for frame in sequence.frames:
            state.update(f"{frame.name} {frame.stat().st_size}\n".encode())
        return state.hexdigest()


def hash_files(paths: list[Path]) -> str:
    """Hash files and all files of folders, by their contents and names.

    Raises:
        SourceError: One of them does not exist.
    """
    state = hashlib.sha256()
    for path in paths:
        if not path.exists():
            raise SourceError(f"{path}: no such file or folder", hint="check the path of the tracker")
        files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
        for file in files:
            state.update(f"{file.relative_to(path).as_posix()} ".encode() + hashlib.sha256(file.read_bytes()).digest())
    return state.hexdigest()


def save_runs(path: Path, digest: str, runs: tuple[Run, ...]) -> None:
    """Write the runs of one sequence; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"schema": SCHEMA, "settings": digest, "runs": [_packed(run) for run in runs]}
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(content, sort_keys=True) + "\n", encoding="utf-8")
    draft.replace(path)


def load_runs(path: Path, digest: str | None = None) -> tuple[Run, ...] | None:
    """Read the runs of one sequence.

    Args:
        path: As saved.
        digest: What the settings must hash to; None takes any.

    Returns:
        None where there is no file, or it was made with other settings.

    Raises:
        SourceError: The file is not such a record.
    """
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA or (digest is not None and content["settings"] != digest):
            return None
        return tuple(_unpacked(row) for row in content["runs"])
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(
            f"{path}: damaged record: {error}", hint="delete it; the sequence is then run again"
        ) from error


def _packed(run: Run) -> dict[str, object]:
    return {
        "start": run.start,
        "step": run.step,
        "size": list(run.size),
        "boxes": _numbers(run.boxes),
        "scores": _numbers(run.scores),
        "lost": [bool(value) for value in run.lost],
        "seconds": _numbers(run.seconds),
    }


def _numbers(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> object:
    cells = values.astype(object)
    cells[np.isnan(values)] = None
    return cells.tolist()


def _unpacked(row: dict[str, object]) -> Run:
    width, height = np.array(row["size"], dtype=int).tolist()
    return Run(
        start=int(np.array(row["start"])),
        step=int(np.array(row["step"])),
        boxes=np.array(row["boxes"], dtype=np.float64).reshape(-1, 4),
        scores=np.array(row["scores"], dtype=np.float64),
        lost=np.array(row["lost"], dtype=np.bool_),
        seconds=np.array(row["seconds"], dtype=np.float64),
        size=(width, height),
    )
