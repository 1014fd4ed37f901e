"""Checkpoints, written so that a crash leaves the last complete one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError

from siamedge.export.checkpoints.reading import UNREADABLE
from siamedge.runtime.errors import ExportError, PlaceError

State = dict[str, Any]


class Checkpoint(NamedTuple):
    """All that a run needs to go on."""

    network: State
    average: State
    optimizer: State
    distiller: State
    pairs: int


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write beside the old one, then replace it.

    Raises:
        PlaceError: It cannot be written.
    """
    part = path.with_name(path.name + ".part")
    with saving(path):
        torch.save(checkpoint._asdict(), part)
        part.replace(path)


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """Tell in a line that a file of weights, written to PATH.part first, cannot be written; the old one stays.

    Raises:
        PlaceError: PyTorch, safetensors or the system fails to write it.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        path.with_name(path.name + ".part").unlink(missing_ok=True)
        raise PlaceError(
            f"{path}: cannot be written: {' '.join(str(error).split())}",
            hint="make room on the disk, then go on with --resume",
        ) from error


@contextmanager
def fitting(path: Path) -> Iterator[None]:
    """Tell in a line that a checkpoint is of another network than the one that takes it in.

    Raises:
        ExportError: PyTorch refuses its tensors.
    """
    try:
        yield
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        hint = "have its crops or the weights of --init changed? start over in another --out"
        raise ExportError(f"{path}: does not fit the run: {reason}", hint=hint) from error


def load_checkpoint(path: Path) -> Checkpoint | None:
    """Read a checkpoint, None if there is none.

    Raises:
        ExportError: The file is damaged or of something else.
    """
    if not path.is_file():
        return None
    try:
        return Checkpoint(**torch.load(path, weights_only=True))
    except UNREADABLE as error:
        raise ExportError(
            f"{path}: damaged, or no checkpoint of `siamedge train`", hint="start the run again in another --out"
        ) from error
