"""Motion JPEG over HTTP, read without decoding: the stream of most network cameras and of `mjpg-streamer`."""

import re
import socket
import time
from base64 import b64encode
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

import cv2
import numpy as np

from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Image
from siamedge.runtime.sources.feed import Packet
from siamedge.runtime.sources.recordings import FALLBACK_FPS, JPEG_END, JPEG_START, end_of_jpeg
from siamedge.runtime.sources.source import SourceOptions, without_password

LARGEST_FRAME_BYTES = 32 * 2**20
REDIRECTS = 5
ADDRESS_HINT = (
    "http://user:password@host:port/path, port at most 65535; in a password / is %2F, ? is %3F, # is %23, @ is %40"
)


class Answer(NamedTuple):
    """An answered request; http.client forgets the socket once it has read the head of an endless answer."""

    response: HTTPResponse
    connection: HTTPConnection
    socket: socket.socket


class MjpegFeed:
    """An open multipart stream; each part with a JPEG in it is a frame."""

    def __init__(self, answer: Answer, name: str, read_timeout_s: float) -> None:
        self._response, self._connection, self._socket = answer
        self._name, self._timeout_s = name, read_timeout_s
        self._buffer = bytearray()

    @property
    def fps(self) -> float:
        """The stream does not say."""
        return FALLBACK_FPS

    def read(self) -> Packet:
        """Wait for the next JPEG.

        Raises:
            SourceError: The stream ended, nothing came in time, or what comes holds no pictures.
        """
        deadline_s = time.monotonic() + self._timeout_s
        while (head := self._find_head()) is None:
            self._receive(deadline_s)
        captured_s = time.monotonic()
        start, length = head
        while (stop := self._find_stop(start, length)) is None:
            self._receive(deadline_s)
        content = bytes(self._buffer[start:stop])
        del self._buffer[:stop]
        return Packet(captured_s, content, lambda: content, lambda: decode_jpeg(content))

    def interrupt(self) -> None:
        """Close the socket's both ways, which ends a waiting read."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def close(self) -> None:
        """Close the connection."""
        self._response.close()
        self._connection.close()

    def _find_head(self) -> tuple[int, int | None] | None:
        """Where the next part's content begins, and its length if the part says so; None: more must come."""
        match = re.search(rb"--[^\r\n]{1,200}\r?\n((?:[!-9;-~]+:[^\r\n]*\r?\n)+)\r?\n", self._buffer)
        if not match:
            return None
        length = re.search(rb"(?im)^content-length:\s*(\d{1,9})", match[1])
        return match.end(), int(length[1]) if length else None

    def _find_stop(self, start: int, length: int | None) -> int | None:
        """Where the content ends: by its length, or else where the JPEG does; None: more must come."""
        if length is not None:
            return start + length if len(self._buffer) >= start + length else None
        found = self._buffer.find(JPEG_END, start)
        if found >= 0 and self._buffer.startswith(JPEG_START, start):
            return end_of_jpeg(self._buffer, start)
        return found + len(JPEG_END) if found >= 0 else None

    def _receive(self, deadline_s: float) -> None:
        """Add what has arrived.

        Raises:
            SourceError: The stream ended, nothing came in time, or far too much came for one frame.
        """
        left_s = deadline_s - time.monotonic()
        late = SourceError(f"{self._name}: no frame within {self._timeout_s:g} s")
        if left_s <= 0:
            raise late
        try:
            self._socket.settimeout(left_s)
            arrived = self._response.read1(65536)
        except TimeoutError as error:
            raise late from error
        except (OSError, HTTPException, ValueError) as error:
            raise SourceError(f"{self._name}: the connection broke") from error
        if not arrived:
            raise SourceError(f"{self._name}: the stream ended")
        self._buffer += arrived
        if len(self._buffer) > LARGEST_FRAME_BYTES:
            raise SourceError(f"{self._name}: {len(self._buffer)} bytes came without a picture")


def connect_mjpeg(address: str, options: SourceOptions) -> MjpegFeed | None:
    """Ask an http or https address for its stream.

    Returns:
        The feed; None if the answer is something else than a multipart stream.

    Raises:
        SourceError: It is no address, nobody answers in time, or the answer is an error.
    """
    name, url = without_password(address), address
    deadline_s = time.monotonic() + options.open_timeout_s
    for _ in range(REDIRECTS):
        answer = request(url, name, deadline_s - time.monotonic(), options.open_timeout_s)
        response = answer.response
        moved = response.headers.get("location") if response.status in (301, 302, 303, 307, 308) else None
        if response.status == 200 and response.headers.get_content_type() == "multipart/x-mixed-replace":
            return MjpegFeed(answer, name, options.read_timeout_s)
        response.close()
        answer.connection.close()
        if response.status >= 400:
            raise SourceError(
                f"{name}: the server answers {response.status} {response.reason}", hint=hint_for(response.status)
            )
        if not moved:
            return None
        try:
            url = urljoin(url, moved)
        except ValueError as error:
            raise SourceError(f"{name}: redirected to {without_password(moved)}, which is no address") from error
    raise SourceError(f"{name}: more than {REDIRECTS} redirects")


def request(url: str, name: str, timeout_s: float, whole_s: float) -> Answer:
    """Send one GET and read the answer's head.

    Raises:
        SourceError: The URL is none, or nobody answers in time.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SourceError(f"{name}: its host or its port is none", hint=ADDRESS_HINT) from error
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    headers = {"Accept": "*/*", "User-Agent": "siamedge"}
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
    connection = kind(parts.hostname or "", port, timeout=max(0.05, timeout_s))
    try:
        connection.connect()
        used = connection.sock
        connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), headers=headers)
        return Answer(connection.getresponse(), connection, used)
    except (OSError, HTTPException, ValueError) as error:
        connection.close()
        late = f"no answer within {whole_s:g} s"
        why = late if isinstance(error, TimeoutError) else getattr(error, "strerror", None) or repr(error)
        raise SourceError(f"{name}: {why}", hint="does the address open in a browser?") from error


def hint_for(status: int) -> str:
    """What to do about an HTTP error."""
    if status == 401:
        return "put the user and password into the address: http://user:password@host/..."
    return "does the address open in a browser?"


def decode_jpeg(content: bytes) -> Image | None:
    """Decode one JPEG to (H, W, 3) uint8 BGR; None if it is none or is cut off."""
    if not content.startswith(JPEG_START) or JPEG_END not in content.rstrip(b"\0")[-64:]:
        return None
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if image is None else np.asarray(image, np.uint8)
