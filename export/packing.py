"""Writing a bundle: all of it or nothing, and equal exports give equal bytes."""

import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from siamedge.runtime.bundle import MANIFEST, parse_manifest, read_file
from siamedge.runtime.errors import BundleError, ExportError
from siamedge.runtime.manifest import FileEntry, Manifest
from siamedge.runtime.records import to_json

Files = Mapping[str, bytes]
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The oldest time that a zip file can hold; every member gets it."""


def entry_of(path: str, content: bytes) -> FileEntry:
    """Describe a file for the manifest."""
    return FileEntry(path, len(content), hashlib.sha256(content).hexdigest())


def check_replaceable(out: Path) -> None:
    """Refuse to replace what is not a bundle.

    Raises:
        ExportError: Something else stands at the output path, or its folder does not exist.
    """
    if not out.parent.is_dir():
        raise ExportError(f"{out.parent}: no such folder", hint="make it first, or choose another -o")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        parse_manifest(read_file(out, MANIFEST), out)
    except BundleError as error:
        raise ExportError(
            f"{out} exists and is not a siamedge bundle; it is left alone",
            hint="choose another -o, or remove it yourself",
        ) from error


def write_bundle(out: Path, manifest: Manifest, files: Files) -> None:
    """Write a bundle beside its final place, then move it there at once.

    Args:
        out: NAME.siamedge for a folder, anything that ends in .zip for a zip file.
        manifest: Lists exactly these files.
        files: Content by path.

    Raises:
        ExportError: Something that is not a bundle stands there.
    """
    check_replaceable(out)
    contents = {**files, MANIFEST: to_json(manifest).encode()}
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        part = Path(scratch) / "part"
        (write_zip if out.suffix == ".zip" else write_folder)(part, contents)
        replace_at_once(part, out, Path(scratch) / "old")


def write_folder(root: Path, contents: Files) -> None:
    """Write files below a new folder."""
    for name, content in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def write_zip(path: Path, contents: Files) -> None:
    """Write a zip file whose bytes depend on the contents alone: sorted, stored, one fixed time."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents):
            member = zipfile.ZipInfo(name, EPOCH)
            member.external_attr = 0o644 << 16
            member.create_system = 3
            archive.writestr(member, contents[name])


def replace_at_once(part: Path, out: Path, old: Path) -> None:
    """Put a finished file or folder in its place; a folder that stands there is moved aside first."""
    if part.is_dir() and out.exists():
        out.rename(old)
    part.replace(out)
    if old.is_dir():
        shutil.rmtree(old)
    elif old.exists():
        old.unlink()
