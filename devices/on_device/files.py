"""The device's side of a transfer: a stream into files, and files against the sums that give their folder its name."""

import hashlib
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from siamedge.devices.on_device.units import RefusedError

SUMS = "SHA256SUMS"


def unpack(stream: BinaryIO, folder: Path) -> None:
    """Unpack plain files and folders; anything else in the stream is refused.

    Raises:
        RefusedError: The stream is no tar, ends early, or has a member that would leave the folder.
    """
    try:
        with tarfile.open(fileobj=stream, mode="r|gz") as archive:
            for member in archive:
                _unpack_one(archive, member, folder)
    except (tarfile.TarError, EOFError, OSError) as error:
        if getattr(error, "errno", None):
            raise
        raise RefusedError(f"the transfer is damaged or incomplete ({error})") from error


def _unpack_one(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    path = PurePosixPath(member.name)
    content = archive.extractfile(member) if member.isreg() else None
    if path.is_absolute() or ".." in path.parts or content is None:
        raise RefusedError(f"the transfer has {member.name!r}, which is not a plain file inside it")
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    with content, target.open("xb") as out:
        shutil.copyfileobj(content, out, 1 << 20)
    target.chmod(0o755 if member.mode & 0o100 else 0o644)


def check(folder: Path, name: str) -> None:
    """Compare a folder with its name: the sums with the name, then every file with the sums, and no file more.

    Raises:
        RefusedError: Something differs; the message names the first such file.
    """
    sums = folder / SUMS
    if not sums.is_file() or not name.endswith(_sha256(sums)[:16]):
        raise RefusedError(f"{name}: {SUMS} is missing or does not fit the name")
    lines = (line.split("  ", 1) for line in sums.read_text(encoding="utf-8").splitlines())
    wanted = {path: digest for digest, path in lines}
    found = {path for path in _files(folder) if path != SUMS}
    if found != set(wanted):
        odd = sorted(found ^ set(wanted))[0]
        raise RefusedError(f"{name}: {odd} is {'too many' if odd in found else 'missing'}")
    for path, want in wanted.items():
        if (have := _sha256(folder / path)) != want:
            raise RefusedError(f"{name}: {path} has sha256 {have[:12]}, {want[:12]} expected")


def is_whole(folder: Path) -> bool:
    """Whether a folder is there and exactly what its name says."""
    try:
        check(folder, folder.name)
    except (RefusedError, OSError, ValueError):
        return False
    return True


def _files(folder: Path) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        yield from ((Path(parent) / name).relative_to(folder).as_posix() for name in names)
        if links and Path(parent) != folder:
            raise RefusedError(f"{parent}: {links[0]} is a link")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
