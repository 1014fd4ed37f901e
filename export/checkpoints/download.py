"""Fetches a file whose hash is known: takes up what was broken off, keeps nothing that is wrong."""

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from siamedge.runtime.errors import ExportError

TIMEOUT_S = 20.0
"""Longest silence of a server."""
ATTEMPTS = 3
CHUNK = 1 << 16
PARTIAL, NO_SUCH_RANGE = 206, 416
"""HTTP status codes (RFC 9110)."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Download:
    """What to fetch.

    Attributes:
        name: For messages.
        url: http or https.
        sha256: Of the whole file.
        bytes: Its size.
    """

    name: str
    url: str
    sha256: str
    bytes: int


def fetch(wanted: Download, path: Path, progress: Progress = lambda done, total: None) -> Path:
    """Give a file that is there and right, or fetch it.

    What was received before a connection broke stays beside it as NAME.part; the next attempt, or the next call, asks
    the server for the rest. A server that cannot give a rest sends everything again.

    Args:
        wanted: What it must be.
        path: Where it is kept.
        progress: Called with the bytes that are there and the bytes of the whole.

    Returns:
        path.

    Raises:
        ExportError: It cannot be fetched, or what came or was there is another file.
    """
    if path.is_file():
        _check(wanted, path, f"delete {path}; it is fetched again then")
        return path
    part = path.with_name(path.name + ".part")
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    _receive_all(wanted, part, path, progress)
    try:
        _check(wanted, part, "try again; if it stays so, somebody changes what you fetch")
    except ExportError:
        part.unlink()
        raise
    with _writing(path):
        part.replace(path)
    return path


def _receive_all(wanted: Download, part: Path, path: Path, progress: Progress) -> None:
    """Ask for what is missing until all is there, a few times."""
    reason = ""
    for _ in range(ATTEMPTS):
        if _size(part) == wanted.bytes:
            return
        try:
            _receive(wanted, part, progress)
            reason = f"the connection was closed after {_size(part)} of {wanted.bytes} bytes"
        except HTTPError as error:
            error.close()
            reason = f"the server answered {error.code} {error.reason}"
            if error.code != NO_SUCH_RANGE:
                break
            part.unlink(missing_ok=True)  # it has another idea of the file's length: from the start
        except (HTTPException, OSError) as error:  # URLError and timeouts are OSErrors; writing has its own handler
            reason = str(getattr(error, "reason", "")) or str(error) or type(error).__name__
    if _size(part) != wanted.bytes:
        raise ExportError(
            f"{wanted.name} cannot be fetched from {wanted.url}: {reason}",
            hint=f"again later, it goes on where it was; or put the file ({wanted.bytes} bytes, "
            f"sha256 {wanted.sha256}) at {path}",
        )


def _receive(wanted: Download, part: Path, progress: Progress) -> None:
    """Ask once for what is missing and write what comes.

    Raises:
        ExportError: More comes than there should be, or it cannot be written.
    """
    have = _size(part)
    headers = {"User-Agent": "siamedge", **({"Range": f"bytes={have}-"} if have else {})}
    with _opened(Request(wanted.url, headers=headers)) as response:
        is_rest = response.status == PARTIAL and _starts_at(response) == have
        done = have if is_rest else 0
        with _writing(part):
            file = part.open("ab" if is_rest else "wb")
        with file:
            while chunk := response.read(CHUNK):
                done += len(chunk)
                if done > wanted.bytes:
                    break
                with _writing(part):
                    file.write(chunk)
                progress(done, wanted.bytes)
    if done > wanted.bytes:
        part.unlink()
        hint = "nothing was kept; somebody changed what you fetch"
        raise ExportError(f"{wanted.name}: {wanted.url} gives more than {wanted.bytes} bytes", hint=hint)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ExportError(f"{path}: cannot be written: {error}", hint="set SIAMEDGE_CACHE to another folder") from error


@contextmanager
def _opened(request: Request) -> Iterator[HTTPResponse]:
    if not request.full_url.startswith(("https://", "http://")):
        raise ExportError(f"{request.full_url}: not a web address", hint="http or https")
    with urlopen(request, timeout=TIMEOUT_S) as response:
        yield response


def _starts_at(response: HTTPResponse) -> int | None:
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _check(wanted: Download, path: Path, hint: str) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != wanted.sha256:
        raise ExportError(
            f"{wanted.name}: {path.name} has sha256 {digest[:16]} and {_size(path)} bytes, "
            f"expected {wanted.sha256[:16]} and {wanted.bytes}",
            hint=hint,
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
