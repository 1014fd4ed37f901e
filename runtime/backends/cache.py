"""Compiled models kept between runs; an entry is used only if all that it depends on is the same and it is whole."""

import hashlib
import json
import os
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from siamedge.runtime.backends.backend import Backend, Model
from siamedge.runtime.errors import PlaceError
from siamedge.runtime.logs import warn

MAGIC = b"siamedge compiled model 1\n"


class CacheKey(NamedTuple):
    """All that a compiled model depends on.

    Attributes:
        model_sha256: Of the model file and its weights.
        library: Name and version of the inference library.
        device: Device and what is known of it; a compiled model may use instructions that another lacks.
        options: Threads, hints and precision it was compiled for.
    """

    model_sha256: str
    library: str
    device: str
    options: str

    @property
    def name(self) -> str:
        """A file name for it."""
        return hashlib.sha256(self.line).hexdigest()[:32] + ".compiled"

    @property
    def line(self) -> bytes:
        """The key as it stands in the entry."""
        return json.dumps(self._asdict(), sort_keys=True).encode() + b"\n"


@runtime_checkable
class CachingBackend(Protocol):
    """A backend that can keep what it compiles."""

    def with_cache(self, cache: "CompiledCache") -> Backend:
        """The same backend, reading and writing a cache."""


class CompiledCache(NamedTuple):
    """A folder of compiled models.

    Attributes:
        folder: Made when the first entry is written, readable by its owner only.
    """

    folder: Path

    def read(self, key: CacheKey) -> bytes | None:
        """Give what was compiled under a key; None if there is nothing or it is damaged, cut short or another's."""
        try:
            content = (self.folder / key.name).read_bytes()
        except OSError:
            return None
        head = MAGIC + key.line
        digest_at = len(head)
        body_at = digest_at + hashlib.sha256().digest_size
        body = content[body_at:]
        if content[:digest_at] != head or content[digest_at:body_at] != hashlib.sha256(body).digest():
            warn(__name__, "%s: damaged or not what it is called; it is compiled again", self.folder / key.name)
            return None
        return body

    def write(self, key: CacheKey, body: bytes) -> None:
        """Keep a compiled model; a folder that cannot be written is not an error, the model is only compiled again."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomically(self.folder / key.name, MAGIC + key.line + hashlib.sha256(body).digest() + body)
        except OSError as error:
            warn(__name__, "compiled models are not kept: %s", error)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or all of the new one.

    Raises:
        OSError: It cannot be written.
    """
    import tempfile

    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as part:
            part.write(content)
            part.flush()
            os.fsync(part.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def model_sha256(model: Model) -> str:
    """Hash of a model's bytes, the length of its first file included."""
    digest = hashlib.sha256(len(model.content).to_bytes(8, "little"))
    digest.update(model.content)
    digest.update(model.weights)
    return digest.hexdigest()


def cache_home() -> Path:
    """Where siamedge keeps what can be made again: SIAMEDGE_CACHE, or siamedge in the user's cache folder.

    Raises:
        PlaceError: Neither is named, and the user has no home.
    """
    if own := os.environ.get("SIAMEDGE_CACHE"):
        return Path(own)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "siamedge"
    except RuntimeError as error:
        raise PlaceError(
            "this user has no home folder to keep compiled models in", hint="set SIAMEDGE_CACHE"
        ) from error


def default_cache() -> CompiledCache:
    """The user's cache of compiled models."""
    return CompiledCache(cache_home() / "compiled")
