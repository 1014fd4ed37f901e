"""Keeps the runs of an evaluation on disk, so that it can be resumed and scored again."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np

from siamedge.export.evaluation.runner import Protocol, Run
from siamedge.export.evaluation.sequences import Sequence
from siamedge.runtime.errors import SourceError
from siamedge.runtime.places import write_whole

SCHEMA = 1
CHUNK_BYTES = 1 << 20


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
        versions: Of siamedge and the libraries that compute.
    """

    tracker: str
    tracker_sha256: str
    backend: str
    precision: str
    device: str
    protocol: str
    realtime: str
    versions: str

    def digest(self) -> str:
        """Hash everything but where the tracker's files are."""
        fields = [getattr(self, name) for name in self.__slots__ if name != "tracker"]
        return hashlib.sha256(json.dumps([SCHEMA, fields]).encode()).hexdigest()


def hash_sequence(sequence: Sequence) -> str:
    """Hash what is tracked: boxes, anchors, names and contents of the frame files.

    Raises:
        SourceError: A frame file cannot be read.
    """
    state = hashlib.sha256(json.dumps([sequence.name, sequence.origin, sorted(sequence.anchors.items())]).encode())
    state.update(np.ascontiguousarray(sequence.boxes).tobytes() + np.ascontiguousarray(sequence.absent).tobytes())
    for frame in sequence.frames:
        state.update(f"{frame.name} ".encode() + _hash_frame(frame))
    return state.hexdigest()


def _hash_frame(path: Path) -> bytes:
    """Hash a file; it is read again only when its size or time have changed."""
    try:
        state = path.stat()
        return _hash_content(path, state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror})", hint="complete the data set") from error


@cache
def _hash_content(path: Path, size: int, mtime_ns: int) -> bytes:
    state = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(CHUNK_BYTES), b""):
            state.update(chunk)
    return state.digest()


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


class RunFolder:
    """The runs of one tracker under one protocol, a file a sequence.

    Args:
        root: Folder of the evaluation; the protocols are kept apart in it.
        protocol: one-pass or multi-start.
    """

    def __init__(self, root: Path, protocol: Protocol) -> None:
        self._folder = root / protocol

    def claim(self, settings: Settings) -> None:
        """Take the folder for these settings.

        Raises:
            SourceError: It holds the runs of others.
        """
        file, content = self._folder / "run.json", json.dumps(asdict(settings), sort_keys=True, indent=2) + "\n"
        if file.is_file() and (other := self.settings()).digest() != settings.digest():
            differing = [name for name in settings.__slots__ if getattr(other, name) != getattr(settings, name)]
            raise SourceError(
                f"{self._folder} holds a run with another {', '.join(differing)}", hint="give another folder with -o"
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(file, content.encode())

    def settings(self) -> Settings:
        """Give what the folder was made with.

        Raises:
            SourceError: It holds no run of this protocol.
        """
        file = self._folder / "run.json"
        if not file.is_file():
            raise SourceError(f"{file}: no such run", hint="make it with `siamedge eval ... -o FOLDER`")
        try:
            return Settings(**json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise SourceError(f"{file}: damaged: {error}", hint="delete the folder and run again") from error

    def save(self, sequence: Sequence, runs: tuple[Run, ...]) -> None:
        """Write the runs of one sequence; the file appears whole or not at all."""
        content = {"schema": SCHEMA, "sequence": hash_sequence(sequence), "runs": [_packed(run) for run in runs]}
        self._file(sequence).parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._file(sequence), (json.dumps(content, sort_keys=True) + "\n").encode())

    def load(self, sequence: Sequence) -> tuple[Run, ...] | None:
        """Read the runs of one sequence; None where there are none, or they are of other frames or boxes.

        Raises:
            SourceError: The file is no record.
        """
        path = self._file(sequence)
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if (content["schema"], content["sequence"]) != (SCHEMA, hash_sequence(sequence)):
                return None
            return tuple(_unpacked(row) for row in content["runs"])
        except (ValueError, KeyError, TypeError) as error:
            raise SourceError(f"{path}: damaged record: {error}", hint="delete it; it is then run again") from error

    def _file(self, sequence: Sequence) -> Path:
        return self._folder / "records" / f"{sequence.name}.json"


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
