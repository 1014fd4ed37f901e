"""Opening a bundle: nothing of it is believed before its sizes and hashes are checked."""

import hashlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from siamedge.runtime.backends import Format, Model, Precision
from siamedge.runtime.errors import BundleError
from siamedge.runtime.manifest import SCHEMA, Artifact, FileEntry, Manifest, Role
from siamedge.runtime.records import RecordError, from_json

MANIFEST = "manifest.json"
AGAIN = "export the bundle again, or copy it again"


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle whose files were verified.

    Attributes:
        path: The folder or zip file.
        manifest: What it says of itself.
    """

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path) -> "Bundle":
        """Open and verify a bundle.

        Args:
            path: A folder NAME.siamedge, or the zip file of one.

        Raises:
            BundleError: It is not there, no bundle, damaged, too new, or names a file outside itself.
        """
        content = read_file(path, MANIFEST)
        bundle = cls(path, parse_manifest(content, path))
        bundle.verify()
        return bundle

    def verify(self) -> None:
        """Check that every file lies inside the bundle with the size and hash that the manifest gives.

        Raises:
            BundleError: One does not; the message names it with both numbers.
        """
        read = _reader(self.path)
        for entry in self.manifest.files:
            check_path(entry.path)
        for entry in self.manifest.files:
            _check(entry, read(entry.path))

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
        read = _reader(self.path)
        contents = []
        for entry in artifact.files:
            contents.append(read(entry.path))
            _check(entry, contents[-1])
        content, weights = (*contents, b"")[:2]
        name = artifact.files[0].path
        return Model(name, artifact.precision, content, weights, artifact.inputs, artifact.outputs)


def check_path(path: str) -> None:
    """Refuse a path that does not stay inside the bundle.

    Raises:
        BundleError: It is absolute, has a drive, a backslash, or goes upwards.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or ":" in path:
        raise BundleError(f"{MANIFEST} names {path!r}, which is outside the bundle", hint="do not use this bundle")


def read_file(path: Path, name: str) -> bytes:
    """Read one file of a folder or zip file.

    Raises:
        BundleError: There is no such bundle, or it has no such file.
    """
    return _reader(path)(name)


def _reader(path: Path) -> Callable[[str], bytes]:
    if path.is_dir():
        return lambda name: _read_from_folder(path, name)
    if path.is_file() and zipfile.is_zipfile(path):
        return lambda name: _read_from_zip(path, name)
    what = "not a bundle (neither a folder nor a zip file)" if path.exists() else "no such bundle"
    raise BundleError(f"{path}: {what}", hint="make one with `siamedge export`")


def _read_from_folder(root: Path, name: str) -> bytes:
    file = root / name
    if not file.is_file():
        raise BundleError(f"{root.name}: {name} is missing", hint=AGAIN)
    if not file.resolve().is_relative_to(root.resolve()):
        raise BundleError(f"{root.name}: {name} is a link that leaves the bundle", hint="do not use this bundle")
    return file.read_bytes()


def _read_from_zip(path: Path, name: str) -> bytes:
    with zipfile.ZipFile(path) as archive:
        try:
            return archive.read(name)
        except KeyError as error:
            raise BundleError(f"{path.name}: {name} is missing", hint=AGAIN) from error
        except zipfile.BadZipFile as error:
            raise BundleError(f"{path.name}: {name} is damaged ({error})", hint=AGAIN) from error


def _check(entry: FileEntry, content: bytes) -> None:
    if len(content) != entry.bytes:
        raise BundleError(f"{entry.path}: {len(content)} bytes, the manifest says {entry.bytes}", hint=AGAIN)
    found = hashlib.sha256(content).hexdigest()
    if found != entry.sha256:
        raise BundleError(f"{entry.path}: sha256 is {found[:12]}, the manifest says {entry.sha256[:12]}", hint=AGAIN)


def parse_manifest(content: bytes, path: Path) -> Manifest:
    """Read manifest.json strictly.

    Raises:
        BundleError: It is no manifest, of another schema, or has a wrong key; the message names it.
    """
    try:
        schema = json.loads(content)["schema"]
    except (ValueError, KeyError, TypeError) as error:
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
