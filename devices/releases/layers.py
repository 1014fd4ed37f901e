"""Folders with a name that is their content: what a release is made of."""

import fcntl
import gzip
import hashlib
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from siamedge.runtime.errors import DeviceError
from siamedge.runtime.places import replacing

SUMS = "SHA256SUMS"
_HASH_LENGTH = 16
_PACKING_LEVEL = 1


class Layer(NamedTuple):
    """A folder with SHA256SUMS.

    Attributes:
        kind: "site", "code", "bundle" or "release".
        folder: Here.
        name: kind-hash.
        size: Bytes of its files.
    """

    kind: str
    folder: Path
    name: str
    size: int


def seal(folder: Path, kind: str) -> Layer:
    """Write a folder's SHA256SUMS, which gives it its name.

    Raises:
        DeviceError: It holds nothing, or something that is neither file nor folder.
    """
    (folder / SUMS).unlink(missing_ok=True)
    paths = _plain_files(folder)
    if not paths:
        raise DeviceError(f"{folder} holds no file", hint="is it the right folder?")
    sums = "".join(f"{sha256_of(folder / path)}  {path}\n" for path in paths).encode()
    (folder / SUMS).write_bytes(sums)
    size = sum((folder / path).stat().st_size for path in paths)
    return Layer(kind, folder, f"{kind}-{hashlib.sha256(sums).hexdigest()[:_HASH_LENGTH]}", size)


def sealed(folder: Path, kind: str) -> Layer | None:
    """The layer of a folder that was sealed before, without reading its files again; None if one is gone."""
    sums = folder / SUMS
    if not sums.is_file():
        return None
    content = sums.read_bytes()
    paths = [folder / line.split("  ", 1)[1] for line in content.decode().splitlines()]
    if not all(path.is_file() for path in paths):
        return None
    size = sum(path.stat().st_size for path in paths)
    return Layer(kind, folder, f"{kind}-{hashlib.sha256(content).hexdigest()[:_HASH_LENGTH]}", size)


def pack(layer: Layer, target: Path) -> Path:
    """Write a layer as tar.gz, the same bytes for the same content; a file that is there already is kept.

    Args:
        layer: Sealed.
        target: Folder for the file.

    Returns:
        target/NAME.tar.gz.
    """
    packed = target / f"{layer.name}.tar.gz"
    with one_at_a_time(target):
        if not packed.is_file():
            part = packed.with_suffix(".part")
            with replacing(packed, part):
                _write_archive(layer.folder, part)
    return packed


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Make a folder of the cache, and fill it while no other thread or process does; several devices share it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write_archive(folder: Path, target: Path) -> None:
    with (
        target.open("wb") as raw,
        gzip.GzipFile("", "wb", _PACKING_LEVEL, raw, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in (*_plain_files(folder), SUMS):
            archive.add(folder / path, path, recursive=False, filter=_anonymous)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without owner and time, so that equal content gives equal bytes."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.mode & 0o100 else 0o644
    return member


def _plain_files(folder: Path) -> list[str]:
    """Relative paths of all files but SHA256SUMS, sorted."""
    found = []
    for parent, folders, names in os.walk(folder):
        for name in (*names, *(name for name in folders if (Path(parent) / name).is_symlink())):
            path = Path(parent) / name
            if path.is_symlink() or not path.is_file():
                raise DeviceError(f"{path} is neither a file nor a folder", hint="flash plain files only")
            found.append(path.relative_to(folder).as_posix())
    return sorted(path for path in found if path != SUMS)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
