"""Opening a bundle: nothing of it is believed before its sizes and hashes are checked."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from siamedge.runtime.backends.backend import Format, Model, Precision
from siamedge.runtime.bundles.consistency import disagreement
from siamedge.runtime.bundles.manifest import SCHEMA, Artifact, FileEntry, Manifest, Role
from siamedge.runtime.bundles.records import RecordError, from_json
from siamedge.runtime.errors import BundleError

MANIFEST = "manifest.json"
MANIFEST_LIMIT_BYTES = 4_000_000
AGAIN = "export the bundle again, or copy it again"
MAKE = "make one with `siamedge export`, or copy it again"
FILES_OF: Mapping[Format, int] = {"onnx": 1, "tflite": 1, "openvino": 2}
"""How many files a model of a format has."""


class Bundle(NamedTuple):
    """An opened bundle. Its files were verified, or each is when it is loaded; none is believed before.

    Attributes:
        path: The folder or zip file.
        manifest: What it says of itself.
    """

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path, *, is_whole: bool = True) -> "Bundle":
        """Open and verify a bundle.

        Args:
            path: A folder NAME.siamedge, or the zip file of one.
            is_whole: Read every file now. Otherwise a damaged one is found when it is loaded, and one that is never
                loaded is never read: all precisions of NanoTrack v2 take 10 ms.

        Raises:
            BundleError: It is not there, no bundle, damaged, too new or at odds with itself, or it names a file outside
                itself.
        """
        content = read_file(path, MANIFEST)
        bundle = cls(path, parse_manifest(content, path))
        if (found := disagreement(bundle.manifest)) is not None:
            raise BundleError(f"{path.name}: {MANIFEST}: {found}", hint=AGAIN)
        bundle.verify_names()
        if is_whole:
            bundle.verify()
        return bundle

    def verify_names(self) -> None:
        """Check that every model has the files of its format, and that none lies outside the bundle.

        Raises:
            BundleError: It is not so.
        """
        for artifact in self.manifest.artifacts:
            _check_count(artifact)
        for entry in self.manifest.files:
            check_path(entry.path)

    def verify(self) -> None:
        """Check that every file has the size and hash that the manifest gives.

        Raises:
            BundleError: One has not; the message names it with both numbers.
        """
        for entry in self.manifest.files:
            _read_entry(self.path, entry)

    def find(self, role: Role, format: Format, precision: Precision) -> Artifact:  # noqa: A002
        """Give one graph.

        Raises:
            BundleError: The bundle has none of that kind; the message lists what it has.
        """
        for artifact in self.manifest.artifacts:
            if (artifact.role, artifact.format, artifact.precision) == (role, format, precision):
                return artifact
        have = ", ".join(f"{a.format}-{a.precision}" for a in self.manifest.artifacts if a.role == role)
        raise BundleError(
            f"{self.path.name} holds no {format}-{precision} {role} model; it holds {have or 'none'}",
            hint=f"export it with --formats {format} --precisions {precision}",
        )

    def load(self, artifact: Artifact) -> Model:
        """Read a graph's files into memory, verified once more as they are read.

        Raises:
            BundleError: They changed since the bundle was opened.
        """
        contents = [_read_entry(self.path, entry) for entry in artifact.files]
        content, weights = (*contents, b"")[:2]
        name = artifact.files[0].path
        return Model(name, artifact.precision, content, weights, artifact.inputs, artifact.outputs)

    def document(self, path: str) -> bytes | None:
        """Read one of the bundle's documents, verified as it is read; None if it has no such one.

        Raises:
            BundleError: It is missing, or changed since the bundle was opened.
        """
        return next((_read_entry(self.path, entry) for entry in self.manifest.documents if entry.path == path), None)


def check_path(path: str) -> None:
    """Refuse a path that does not stay inside the bundle.

    Raises:
        BundleError: It is absolute, has a drive, a backslash or an unprintable character, or goes upwards.
    """
    parts = PurePosixPath(path).parts
    is_odd = "\\" in path or ":" in path or not path.isprintable()
    if not parts or path.startswith("/") or ".." in parts or is_odd:
        raise BundleError(f"{MANIFEST} names {path!r}, which is outside the bundle", hint="do not use this bundle")


def read_file(path: Path, name: str, bytes_wanted: int | None = None) -> bytes:
    """Read one file of a folder or zip file; its size is checked before anything is read.

    Args:
        path: The bundle.
        name: Of the file in it, with forward slashes.
        bytes_wanted: Its size; None: anything up to MANIFEST_LIMIT_BYTES.

    Raises:
        BundleError: There is no such bundle, it has no such file, or one of another size.
    """
    if path.is_dir():
        return _read_from_folder(path, name, bytes_wanted)
    if path.is_file() and is_zip(path):
        return _read_from_zip(path, name, bytes_wanted)
    what = "not a bundle (neither a folder nor a whole zip file)" if path.exists() else "no such bundle"
    raise BundleError(f"{path}: {what}", hint=MAKE)


def is_zip(path: Path) -> bool:
    """Whether a file is a zip file; zipfile is imported only for files, since most bundles are folders."""
    import zipfile

    return zipfile.is_zipfile(path)


def _read_from_folder(root: Path, name: str, bytes_wanted: int | None) -> bytes:
    file = root / name
    try:
        if not file.is_file():
            raise _missing(root, name)
        if not file.resolve().is_relative_to(root.resolve()):
            raise BundleError(f"{root.name}: {name} is a link that leaves the bundle", hint="do not use this bundle")
        _check_size(name, file.stat().st_size, bytes_wanted)
        return file.read_bytes()
    except OSError as error:
        raise BundleError(f"{root.name}: {name} cannot be read ({error.strerror})", hint=AGAIN) from error


def _read_from_zip(path: Path, name: str, bytes_wanted: int | None) -> bytes:
    import zipfile
    import zlib

    try:
        with zipfile.ZipFile(path) as archive:
            if name not in archive.NameToInfo:
                raise _missing(path, name)
            _check_size(name, archive.getinfo(name).file_size, bytes_wanted)
            return archive.read(name)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise BundleError(f"{path.name}: {name} is damaged ({error})", hint=AGAIN) from error


def _missing(path: Path, name: str) -> BundleError:
    if name == MANIFEST:
        return BundleError(f"{path}: not a bundle (it has no {MANIFEST})", hint=MAKE)
    return BundleError(f"{path.name}: {name} is missing", hint=AGAIN)


def _read_entry(path: Path, entry: FileEntry) -> bytes:
    content = read_file(path, entry.path, entry.bytes)
    found = hashlib.sha256(content).hexdigest()
    if found != entry.sha256:
        raise BundleError(f"{entry.path}: sha256 is {found[:12]}, the manifest says {entry.sha256[:12]}", hint=AGAIN)
    return content


def _check_size(name: str, found: int, wanted: int | None) -> None:
    if wanted is None and found > MANIFEST_LIMIT_BYTES:
        raise BundleError(f"{name}: {found} bytes, at most {MANIFEST_LIMIT_BYTES} are read", hint=AGAIN)
    if wanted is not None and found != wanted:
        raise BundleError(f"{name}: {found} bytes, the manifest says {wanted}", hint=AGAIN)


def _check_count(artifact: Artifact) -> None:
    found, wanted = len(artifact.files), FILES_OF[artifact.format]
    if found != wanted:
        kind = f"{artifact.format}-{artifact.precision} {artifact.role}"
        raise BundleError(f"{MANIFEST}: the {kind} model has {found} files, expected {wanted}", hint=AGAIN)


def parse_manifest(content: bytes, path: Path) -> Manifest:
    """Read manifest.json strictly.

    Raises:
        BundleError: It is no manifest, of another schema, or has a wrong key; the message names it.
    """
    try:
        schema = json.loads(content)["schema"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(f"{path.name}: {MANIFEST} is not a siamedge manifest", hint=AGAIN) from error
    if schema != SCHEMA:
        raise BundleError(
            f"{path.name}: {MANIFEST} has schema {schema}, this siamedge reads {SCHEMA}",
            hint="update siamedge here, or export again with this version",
        )
    try:
        return from_json(Manifest, content)
    except RecordError as error:
        raise BundleError(f"{path.name}: {MANIFEST}: {error}", hint=AGAIN) from error
