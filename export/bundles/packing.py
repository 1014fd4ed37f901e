"""Writing a bundle: all of it or nothing, and equal exports give equal bytes."""

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from siamedge.runtime.bundles.bundle import MANIFEST, parse_manifest, read_file
from siamedge.runtime.bundles.manifest import FileEntry, Manifest
from siamedge.runtime.bundles.records import to_json
from siamedge.runtime.errors import BundleError, ExportError
from siamedge.runtime.places import check_parent

Files = Mapping[str, bytes]
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The oldest time that a zip file can hold; every member gets it."""


def entry_of(path: str, content: bytes) -> FileEntry:
    """Describe a file for the manifest."""
    return FileEntry(path, len(content), hashlib.sha256(content).hexdigest())


def check_replaceable(out: Path) -> None:
    """Refuse to replace what is not a bundle, or a bundle in which somebody keeps other files.

    Raises:
        ExportError: Something else stands at the output path.
        PlaceError: Its folder does not exist or cannot be written to.
    """
    check_parent(out, "-o")
    if not os.path.lexists(out) or (out.is_dir() and not any(out.iterdir())):
        return
    hint = "choose another -o, or remove it yourself"
    try:
        manifest = parse_manifest(read_file(out, MANIFEST), out)
    except BundleError as error:
        raise ExportError(f"{out} exists and is not a siamedge bundle; it is left alone", hint=hint) from error
    if foreign := sorted(_members(out) - {MANIFEST, *(entry.path for entry in manifest.files)}):
        raise ExportError(f"{out} holds {foreign[0]}, which is not of the bundle; it is left alone", hint=hint)


def _members(bundle: Path) -> set[str]:
    if not bundle.is_dir():
        return set()
    return {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if not path.is_dir()}


def write_bundle(out: Path, manifest: Manifest, files: Files) -> None:
    """Write a bundle beside its final place, then move it there at once.

    Args:
        out: NAME.siamedge for a folder, anything that ends in .zip for a zip file.
        manifest: Lists exactly these files.
        files: Content by path.

    Raises:
        ExportError: Something that is not a bundle stands there, or the disk refuses.
    """
    check_replaceable(out)
    contents = {**files, MANIFEST: to_json(manifest).encode()}
    try:
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
            part = Path(scratch) / "part"
            (write_zip if out.suffix == ".zip" else write_folder)(part, contents)
            replace_at_once(part, out, Path(scratch) / "old")
    except OSError as error:
        size = sum(len(content) for content in contents.values())
        raise ExportError(
            f"{out}: {size} bytes cannot be written ({error.strerror})", hint="is there space, may you write there?"
        ) from error


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
    """Put a finished file or folder in its place.

    A file replaces a file in one step; where a folder is involved, what stands there is moved aside, and back if that
    fails.
    """
    if not os.path.lexists(out) or not (part.is_dir() or out.is_dir()):
        part.replace(out)
        return
    try:
        out.rename(old)
        part.replace(out)
    finally:
        if not os.path.lexists(out):
            old.rename(out)
