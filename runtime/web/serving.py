"""Run the page until Ctrl-C."""

import errno
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from siamedge.runtime.errors import SourceError
from siamedge.runtime.web.access import Access
from siamedge.runtime.web.engine import Engine, Setup
from siamedge.runtime.web.server import make_app

DEFAULT_PORT = 8765
GONE_AFTER_S = 90.0
"""A page that answers no ping for so long has gone; a slow one needs a minute for the picture before the ping."""


def parse_address(text: str) -> tuple[str, int]:
    """Read HOST:PORT, HOST or :PORT; port 0 takes a free one.

    Raises:
        SourceError: It is none.
    """
    host, colon, port = text.rpartition(":") if text.count(":") == 1 or text.startswith("[") else (text, "", "")
    if colon and not (port.isdecimal() and int(port) < 65536):
        raise SourceError(f"--web {text}: {port!r} is no port", hint="--web 127.0.0.1:8765")
    return host.strip("[]") or "127.0.0.1", int(port) if colon else DEFAULT_PORT


def serve(setup: Setup, address: str, tell: Callable[[str], None]) -> None:
    """Open the first source, serve the page, and tell the link to it once.

    Raises:
        SourceError: The source cannot be opened, or the address is taken or not this machine's.
    """
    host, port = parse_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        is_taken = error.errno == errno.EADDRINUSE
        hint = "choose another port, or 0 for any" if is_taken else "name an address of this machine, or 0.0.0.0"
        raise SourceError(f"--web {address}: {error.strerror}", hint=hint) from error
    access = Access.for_host(host)
    engine = Engine(setup)
    with listening:
        engine.start()
        try:
            tell(link_to(host, listening.getsockname()[1], access.token))
            config = uvicorn.Config(
                make_app(engine, access), log_level="error", ws_ping_timeout=GONE_AFTER_S, timeout_graceful_shutdown=2
            )
            server = uvicorn.Server(config)
            with ended_by_hangup(server):
                server.run(sockets=[listening])
        finally:
            engine.close()


@contextmanager
def ended_by_hangup(server: uvicorn.Server) -> Iterator[None]:
    """Have SIGHUP, which uvicorn does not heed, end a server; afterwards it does what it did before.

    Nothing changes where it is ignored (nohup), or in another thread than the main one, which gets no signals.
    """
    before = signal.getsignal(signal.SIGHUP)
    if before == signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[int] = []

    def end(number: int, _frame: FrameType | None) -> None:
        seen.append(number)
        server.should_exit = True

    signal.signal(signal.SIGHUP, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)
    for number in seen:
        signal.raise_signal(number)


def link_to(host: str, port: int, token: str) -> str:
    """The address to open in a browser."""
    shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    place = f"http://[{shown}]:{port}/" if ":" in shown else f"http://{shown}:{port}/"
    return place + (f"?token={token}" if token else "")
