"""Checkpoints, written so that a crash leaves the last complete one."""

from pathlib import Path
from typing import Any, NamedTuple

import torch

from siamedge.runtime.errors import ExportError

State = dict[str, Any]


class Checkpoint(NamedTuple):
    """All that a run needs to go on."""

    network: State
    average: State
    optimizer: State
    distiller: State
    pairs: int


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write beside the old one, then replace it."""
    part = path.with_name(path.name + ".part")
    torch.save(checkpoint._asdict(), part)
    part.replace(path)


def load_checkpoint(path: Path) -> Checkpoint | None:
    """Read a checkpoint, None if there is none.

    Raises:
        ExportError: The file is damaged or of something else.
    """
    if not path.is_file():
        return None
    try:
        return Checkpoint(**torch.load(path, weights_only=True))
    except (RuntimeError, TypeError, EOFError, OSError) as error:
        raise ExportError(f"{path}: not a checkpoint: {error}", hint="delete it to start over") from error
