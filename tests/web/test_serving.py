"""The server as a process: its start, its end, its addresses."""

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="needs the extra [web]")
pytest.importorskip("httpx", reason="starlette's test client needs httpx")
pytest.importorskip("websockets", reason="needs the extra [web]")
from camera_server import running_camera
from command_line import HEED
from served import SCENE, make_engine, wait_for
from websockets.sync.client import connect

from siamedge.runtime.errors import SourceError
from siamedge.runtime.web.serving import link_to, parse_address
from siamedge.runtime.web.telemetry import temperature_c


@contextmanager
def running_server(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that serves the scene and records into a folder, and its link."""
    program = (
        f"{HEED}"
        "from siamedge.runtime.sources.source import SourceOptions\n"
        "from siamedge.runtime.web.engine import Setup\n"
        "from siamedge.runtime.web.serving import serve\n"
        "from pathlib import Path\n"
        f"setup = Setup(({SCENE!r},), {{'none': object}}, 'the only one', SourceOptions(), Path({str(folder)!r}))\n"
        "try:\n"
        "    serve(setup, '127.0.0.1:0', lambda link: print(link, flush=True))\n"
        "except KeyboardInterrupt:\n"
        "    pass\n"
    )
    command, pipe = [sys.executable, "-c", program], subprocess.PIPE
    server = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
    try:
        assert server.stdout is not None
        yield server, server.stdout.readline().strip()
    finally:
        server.kill()
        server.communicate()


def ask(address: str, body: bytes | None = None) -> dict[str, Any]:
    request = urllib.request.Request(address, body, {"X-Client": "a"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return dict(json.load(answer))


def test_ctrl_c_ends_quietly_while_a_page_is_open_and_paused(tmp_path: Path) -> None:
    with running_server(tmp_path) as (server, link):
        stream = link.replace("http", "ws", 1) + "api/stream?client=a"
        with connect(stream, origin=link.rstrip("/"), proxy=None) as page:
            page.recv(60)
            ask(link + "api/pause", b"{}")
            page.send("next")
            page.recv(60)
            page.send("next")
            server.send_signal(signal.SIGINT)
            _, errors = server.communicate(timeout=120)
    assert errors == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_the_page_finishes_the_recording(tmp_path: Path, number: signal.Signals) -> None:
    with running_server(tmp_path) as (server, link):
        ask(link + "api/record", b"{}")
        wait_for(lambda: ask(link + "api/state")["recorded"] >= 3)
        server.send_signal(number)
        _, errors = server.communicate(timeout=120)
        assert (server.returncode, errors) == (-number, "")
    assert {path.suffix for path in tmp_path.iterdir()} == {".mkv", ".jsonl"}
    assert not list(tmp_path.glob("*.part.*"))


def test_a_source_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file or folder"):
        make_engine(tmp_path, str(tmp_path / "gone.mp4")).start()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        (":9000", ("127.0.0.1", 9000)),
        ("0.0.0.0", ("0.0.0.0", 8765)),
        ("[::1]:5", ("::1", 5)),
        ("board.local", ("board.local", 8765)),
    ],
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    assert parse_address(text) == expected


def test_bad_ports_and_links() -> None:
    with pytest.raises(SourceError, match=r"^--web localhost:http: 'http' is no port$"):
        parse_address("localhost:http")
    assert link_to("127.0.0.1", 80, "") == "http://127.0.0.1:80/"
    assert link_to("::1", 80, "t") == "http://[::1]:80/?token=t"


def test_passwords_in_addresses_are_not_shown(tmp_path: Path) -> None:
    with running_camera() as camera:
        address = camera.url.replace("//", "//user:secret@")
        engine = make_engine(tmp_path, address)
        engine.start()
        shown = camera.url.replace("//", "//***@")
        assert (engine.sources, engine.status()["source"]) == ([shown], shown)
        assert "secret" not in json.dumps(engine.status())
        engine.do(lambda: engine.open(shown))
        wait_for(lambda: camera.requests >= 2)
        engine.close()


def test_the_hottest_zone_is_the_temperature(tmp_path: Path) -> None:
    assert temperature_c(tmp_path) is None
    for name, text in (("thermal_zone0", "48312\n"), ("thermal_zone1", "51900\n"), ("thermal_zone2", "broken")):
        zone = tmp_path / "sys/class/thermal" / name
        zone.mkdir(parents=True)
        (zone / "temp").write_text(text)
    assert temperature_c(tmp_path) == 51.9
