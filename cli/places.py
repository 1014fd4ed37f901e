"""Where commands write: what cannot be written is refused before minutes are spent."""

import os
from pathlib import Path

from siamedge.runtime.errors import SourceError


def check_file(path: Path, option: str) -> None:
    """Refuse a file that could not be written.

    Args:
        path: To be written at the end.
        option: That named it.

    Raises:
        SourceError: It is a folder, or its folder is missing or not writable.
    """
    hint = f"make it first, or choose another {option}"
    if path.is_dir():
        raise SourceError(f"{path}: is a folder", hint=f"choose another {option}")
    if not path.parent.is_dir():
        raise SourceError(f"{path.parent}: no such folder", hint=hint)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise SourceError(f"{path.parent}: no permission to write there", hint=f"choose another {option}")


def make_folder(path: Path, option: str) -> None:
    """Make a folder, its parents included, if it is not there.

    Args:
        path: For what a command writes.
        option: That named it.

    Raises:
        SourceError: It cannot be made or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(f"{path}: cannot be made ({error.strerror})", hint=f"choose another {option}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise SourceError(f"{path}: no permission to write there", hint=f"choose another {option}")
