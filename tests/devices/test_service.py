"""The supervised process: what it tells systemd, and that a silent tracker is not reported alive."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from loopback import free_port

from siamedge.cli.service import service_words
from siamedge.devices.boards.profiles import profile_named
from siamedge.devices.on_device.service import Heartbeat, Notifier, web_address
from siamedge.devices.releases.needs import extras_of, groups_of
from siamedge.devices.releases.unit import ServiceOptions, unit_text
from siamedge.devices.releases.wheelhouse import requirements

LINE = json.dumps({"frame": 0, "box": [10, 20.04, 30, 40], "state": "present", "latency_ms": 4.0})


class Listener:
    """systemd's end of NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(60)
        self.address = str(path)

    def next(self) -> str:
        return self._socket.recv(4096).decode()

    def rest(self) -> list[str]:
        self._socket.setblocking(False)
        found = []
        while True:
            try:
                found.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    heard = Listener(tmp_path / "notify")
    yield heard
    heard.close()


@pytest.fixture
def notifier(listener: Listener) -> Iterator[Notifier]:
    made = Notifier(listener.address)
    yield made
    made.close()


def test_ready_with_the_first_frame_then_bounded_messages(listener: Listener, notifier: Notifier) -> None:
    heartbeat = Heartbeat(notifier, watchdog_s=40)
    heard = []
    for frame in range(400):
        heartbeat.take(LINE, now_s=frame * 0.05)
        heard += listener.rest()
    assert heard[0] == "READY=1"
    assert heard.count("WATCHDOG=1") == 2, "20 s at one message in 10 s"
    assert heard.count("READY=1") == 1
    assert heard[-1] == "STATUS=present at 10.0,20.0,30.0,40.0, 361 frames, 20.0 fps, latency 4.0 ms"


def test_a_change_of_state_is_told_at_once(listener: Listener, notifier: Notifier) -> None:
    heartbeat = Heartbeat(notifier, watchdog_s=0)
    heartbeat.take(LINE, 0.0)
    heartbeat.take(LINE.replace("present", "lost"), 0.01)
    assert listener.rest()[-1].startswith("STATUS=lost at 10.0,20.0,30.0,40.0, 2 frames")


def start(listener: Listener, program: str, *words: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "siamedge.devices.on_device.service", sys.executable, "-c", program, *words]
    environment = {**os.environ, "NOTIFY_SOCKET": listener.address, "WATCHDOG_USEC": "400000"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for_file(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, path
        time.sleep(0.05)


def test_tracker_without_frames_is_never_ready_and_stops_with_the_service(listener: Listener, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    process = start(
        listener, "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(600)", str(begun)
    )
    wait_for_file(begun)
    time.sleep(0.5)
    assert listener.rest() == []
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0


def test_a_tracker_that_finishes_its_work_on_sigterm_stops_with_the_service(listener: Listener) -> None:
    program = f"import signal, sys; signal.signal(15, lambda *_: sys.exit(143)); print('{LINE}', flush=True)"
    with start(listener, f"{program}; signal.pause()") as process:
        assert listener.next() == "READY=1"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0


def test_exit_status_of_the_tracker_is_that_of_the_service(listener: Listener) -> None:
    with start(listener, f"print('{LINE}'); raise SystemExit(3)") as process:
        assert listener.next() == "READY=1"
        assert process.wait(timeout=60) == 3


def test_a_listener_that_does_not_read_does_not_stop_the_tracker(listener: Listener, notifier: Notifier) -> None:
    heartbeat = Heartbeat(notifier, watchdog_s=0)
    for frame in range(5000):
        heartbeat.take(LINE, now_s=frame * 10.0)
    assert len(listener.rest()) < 5000


def test_events_of_the_source_are_told_and_count_as_life(listener: Listener, notifier: Notifier) -> None:
    heartbeat = Heartbeat(notifier, watchdog_s=4)
    heartbeat.take('{"event": "reconnecting", "time_s": 1.0, "detail": "no frame for 2 s"}', now_s=0.0)
    assert listener.rest() == ["WATCHDOG=1", "STATUS=reconnecting: no frame for 2 s"]


PAGE = """
import http.server, pathlib, sys, threading, time
folder = pathlib.Path(sys.argv[1])
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(403); self.end_headers()
    def log_message(self, *words): pass
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[3].split(":")[1])), Page)
threading.Thread(target=server.serve_forever, daemon=True).start()
while not (folder / "close").exists(): time.sleep(0.02)
server.shutdown(); server.server_close(); (folder / "closed").touch()
while not (folder / "end").exists(): time.sleep(0.02)
"""


def test_a_page_that_answers_is_alive_and_one_that_stops_is_not(listener: Listener, tmp_path: Path) -> None:
    with start(listener, PAGE, str(tmp_path), "--web", f"127.0.0.1:{free_port()}") as process:
        assert listener.next().startswith("READY=1")
        assert listener.next() == "WATCHDOG=1"
        (tmp_path / "close").touch()
        wait_for_file(tmp_path / "closed")
        time.sleep(2.0)  # an answer from before may still be on its way
        listener.rest()
        time.sleep(0.7)
        assert listener.rest() == [], "seven looks at a page that is gone"
        (tmp_path / "end").touch()
        assert process.wait(timeout=60) == 0
    assert web_address(["track", "--web=0.0.0.0:80"]) == "0.0.0.0:80"
    assert web_address(["track", "--web", "--pace"]) == web_address(["track", "--web"]) == "127.0.0.1:8765"


def test_lines_are_asked_for_where_no_page_is_served() -> None:
    for words, is_json in (((), True), (("--web",), False), (("--web=:80",), False)):
        text = unit_text("/b", ServiceOptions(("--source", "0", *words), (), "raspberry-pi"), "user")
        assert ("--json" in text) is is_json


def test_no_listener_is_no_reason_to_stop(tmp_path: Path) -> None:
    gone = Notifier(str(tmp_path / "gone"))
    gone.send("READY=1")
    gone.close()
    Notifier("").send("READY=1")


ARGUMENTS = [
    ("--source", "0", "--init", "1,2,3,4"),
    ("--source", "0", "--pan-tilt", "serial:/dev/ttyUSB0", "--init", "1,2,3,4"),
    ("--source", "rtsp://cam/%1$x y", "--init", "1,2,3,4"),
]


@pytest.mark.parametrize("track", ARGUMENTS)
@pytest.mark.parametrize("scope", ["system", "user"])
@pytest.mark.parametrize("family", ["raspberry-pi", "jetson"])
def test_unit_passes_systemd_analyze(tmp_path: Path, track: tuple[str, ...], scope: str, family: str) -> None:
    analyze = program_path("systemd-analyze")
    text = unit_text("/opt/siamedge", ServiceOptions(track, ("video",), family), scope)  # type: ignore[arg-type]
    unit = tmp_path / "siamedge.service"
    unit.write_text(text.replace("/opt/siamedge/current/python", "/bin/true"))
    user = ["--user"] if scope == "user" else []
    inside = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    command = [analyze, *user, "verify", str(unit)]
    verified = subprocess.run(command, capture_output=True, text=True, check=False, env=inside)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    if scope == "system":
        command = [analyze, "security", "--offline=yes", "--no-pager", "--threshold=30", str(unit)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout.splitlines()[-1]


def test_an_option_that_may_stand_alone_has_its_value_in_the_unit() -> None:
    track = service_words("--source 0 --web")
    text = unit_text("/b", ServiceOptions(track, (), "raspberry-pi"), "system")
    command = next(line for line in text.splitlines() if line.startswith("ExecStart="))
    assert command.endswith(" track /b/current/bundle --source 0 --web 127.0.0.1:8765")
    assert web_address(command.split()) == "127.0.0.1:8765"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--source 'x", '"--source \'x": no closing quotation'),
        ("--source 0 --bogus", "'--source 0 --bogus': no such option: --bogus"),
        ("--init 1,2,3,4", "'--init 1,2,3,4': missing option '--source'"),
        ("clip.mp4 --source 0", "'clip.mp4 --source 0': got unexpected extra argument"),
        ("--source 0 --threads many", "'--source 0 --threads many': invalid value for '--threads': "),
    ],
)
def test_arguments_that_the_tracker_does_not_take_are_told_before_a_device_is_asked(text: str, message: str) -> None:
    with pytest.raises(typer.BadParameter) as caught:
        service_words(text)
    assert caught.value.message.startswith(message)
    assert caught.value.param_hint == "'--run'"


def test_what_an_output_needs_is_sent_and_open_to_the_service() -> None:
    for option in ("--mqtt mqtt://h/t", "--mqtt=mqtt://h/t"):
        sent = set(requirements((), extras_of(service_words(f"--source 0 {option}")))) - set(requirements(()))
        assert [name.startswith("paho-mqtt") for name in sent] == [True]
    pi4 = profile_named("pi4")
    assert pi4 is not None
    for option in ("--pan-tilt serial:/dev/ttyUSB0?baud=9600", "--pan-tilt=serial:/dev/ttyACM0"):
        track = service_words(f"--source 0 --init 1,2,3,4 {option}")
        text = unit_text("/b", ServiceOptions(track, groups_of(track, pi4), "raspberry-pi"), "system")
        assert f"SupplementaryGroups={' '.join(pi4.groups)} dialout\n" in text
        assert {"DeviceAllow=char-ttyUSB rw", "DeviceAllow=char-ttyACM rw"} < set(text.splitlines())
    local = unit_text("/b", ServiceOptions(ARGUMENTS[0], groups_of(ARGUMENTS[0], pi4), "raspberry-pi"), "system")
    assert "char-tty" not in local
    assert "dialout" not in local


def program_path(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} not installed")
    return found


def test_only_network_sources_open_the_network() -> None:
    local, remote = (unit_text("/b", ServiceOptions(track, (), "raspberry-pi"), "system") for track in ARGUMENTS[::2])
    assert "PrivateNetwork=yes" in local
    assert "PrivateNetwork" not in remote
    assert "network-online.target" in remote
