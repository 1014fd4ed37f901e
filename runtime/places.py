"""Where commands write: what cannot be written is refused before minutes are spent."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from siamedge.runtime.errors import PlaceError

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
"""What the system says where nothing more can be written."""


def check_file(path: Path, option: str) -> None:
    """Refuse a file that could not be written.

    Args:
        path: To be written at the end.
        option: That named it, or what to choose in its place.

    Raises:
        PlaceError: It is a folder or a device, or its folder is missing or not writable.
    """
    if path.is_dir():
        raise PlaceError(f"{path}: is a folder", hint=f"choose another {option}")
    if path.exists() and not path.is_file():
        raise PlaceError(f"{path}: is not a file", hint=f"choose another {option}")
    check_parent(path, option)


def check_apart(path: Path, read: Path, option: str) -> None:
    """Refuse to write over what is being read.

    Args:
        path: To be written.
        read: The file that is read, whatever its name: a link to it is the same file.
        option: That named path.

    Raises:
        PlaceError: Both are one file.
    """
    if path.exists() and path.samefile(read):
        raise PlaceError(f"{path}: is the source itself, which would be lost", hint=f"choose another {option}")


def check_parent(path: Path, option: str) -> None:
    """Refuse a file or folder that could not be made where it is to stand; arguments and errors as in check_file."""
    if not path.parent.is_dir():
        raise PlaceError(f"{path.parent}: no such folder", hint=f"make it first, or choose another {option}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PlaceError(f"{path.parent}: no permission to write there", hint=f"choose another {option}")


def make_folder(path: Path, option: str) -> None:
    """Make a folder, its parents included, if it is not there.

    Args:
        path: For what a command writes.
        option: That named it.

    Raises:
        PlaceError: It cannot be made or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PlaceError(f"{path}: cannot be made ({error.strerror})", hint=f"choose another {option}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise PlaceError(f"{path}: no permission to write there", hint=f"choose another {option}")


@contextmanager
def held(path: Path, option: str) -> Iterator[None]:
    """Keep other processes from writing a file meanwhile; it is made if it is not there.

    Where the file cannot be made, whatever writes it tells; a file system without locks keeps nobody away.

    Args:
        path: To be written, and perhaps renamed or removed at the end.
        option: That named it.

    Raises:
        PlaceError: Another process holds it.
    """
    number: int | None = None
    with suppress(OSError):
        number = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    try:
        if number is not None and not is_ours(number, path):
            raise PlaceError(f"{path}: another process is writing it", hint=f"choose another {option}")
        yield
    finally:
        if number is not None:
            os.close(number)


def is_ours(number: int, path: Path) -> bool:
    """Lock an open file; whether nobody else has, nor renamed or removed it since it was opened."""
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(number), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError:
        return True


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is never seen half written: the one that is there stays until this one is whole.

    Raises:
        OSError: It cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    with replacing(path, part):
        part.write_bytes(content)


@contextmanager
def replacing(path: Path, part: Path) -> Iterator[None]:
    """Put a file that is written inside, beside another, in that one's place; nothing of it is left if that fails.

    Args:
        path: What is to be replaced, or made.
        part: What is written.

    Raises:
        OSError: It cannot be written.
    """
    try:
        yield
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def room_for(path: Path, option: str) -> Iterator[None]:
    """Tell a full disk in a line; other failures pass.

    Args:
        path: Folder or file that is written meanwhile.
        option: That named it.

    Raises:
        PlaceError: The disk is full or has become read-only.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        where = error.filename or path
        raise PlaceError(
            f"{where}: cannot be written ({error.strerror})", hint=f"make room on the disk, or choose another {option}"
        ) from error
