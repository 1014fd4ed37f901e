"""The HTTP interface over a real engine, a drawn scene and a tracker that knows the truth."""

import gc
import json
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs the extra [web]")
pytest.importorskip("httpx", reason="starlette's test client needs httpx")
pytest.importorskip("websockets", reason="needs the extra [web]")
import uvicorn
from camera_server import running_camera
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect
from websockets.sync.client import connect

from siamedge.runtime.errors import PlaceError, SourceError
from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.outputs.video import VideoWriter
from siamedge.runtime.sources.source import SourceOptions
from siamedge.runtime.tracking.trackers import TrackResult
from siamedge.runtime.web.access import Access
from siamedge.runtime.web.engine import Engine, Setup
from siamedge.runtime.web.guard import HEADERS, STATIC
from siamedge.runtime.web.server import make_app
from siamedge.runtime.web.serving import link_to, parse_address
from siamedge.runtime.web.snapshot import Snapshot
from siamedge.runtime.web.streaming import QUIET_S
from siamedge.runtime.web.telemetry import temperature_c
from siamedge.runtime.web.verbs import VERBS

SCENE = "synthetic:?frames=100000&size=320x240&fps=60"
HOST = "http://127.0.0.1:8765"
OWN = {"Host": "127.0.0.1:8765", "Origin": HOST}


class StillTracker:
    """Answers with the box it was given."""

    def init(self, frame: Image, box: Box) -> None:
        self._box = box

    def update(self, frame: Image) -> TrackResult:
        return TrackResult(self._box, 0.8, lost=False)


class BrokenTracker(StillTracker):
    """Fails with what no tracker should: in the update, and at the start unless the box is in the corner."""

    def init(self, frame: Image, box: Box) -> None:
        super().init(frame, box)
        if box.x:
            raise cv2.error("Failed to allocate 1083000000000000 bytes")

    def update(self, frame: Image) -> TrackResult:
        raise ZeroDivisionError("the tracker has a bug")


class SlowTracker(StillTracker):
    """Takes most of the time between two frames, so that what is asked meets an update under way."""

    def update(self, frame: Image) -> TrackResult:
        time.sleep(0.03)
        return super().update(frame)


def make_engine(folder: Path, *sources: str) -> Engine:
    models = {"one fp32": StillTracker, "two int8": SlowTracker}
    options = SourceOptions(first_backoff_s=0.02, read_timeout_s=1.0)
    return Engine(Setup(sources or (SCENE,), models, "the first", options, folder / "recordings"))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    running = make_engine(tmp_path, SCENE, "synthetic:?frames=5&size=64x64&fps=60", str(tmp_path / "gone.mp4"))
    running.start()
    wait_for(lambda: running.newest is not None)
    yield running
    running.close()


@pytest.fixture
def client(engine: Engine) -> Iterator[TestClient]:
    with TestClient(make_app(engine, Access("127.0.0.1")), base_url=HOST) as open_client:
        yield open_client


def wait_for(is_met: Callable[[], bool], limit_s: float = 120.0) -> None:
    deadline_s = time.monotonic() + limit_s
    while not is_met():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def state_of(client: TestClient) -> dict[str, Any]:
    return dict(client.get("/api/state").json())


def read_state(message: bytes) -> dict[str, Any]:
    return dict(json.loads(message[4 : 4 + struct.unpack(">I", message[:4])[0]]))


def read_message(message: bytes) -> tuple[dict[str, Any], np.ndarray]:
    length = struct.unpack(">I", message[:4])[0]
    picture = cv2.imdecode(np.frombuffer(message[4 + length :], np.uint8), cv2.IMREAD_COLOR)
    return read_state(message), picture


def test_page_and_its_files_are_served_with_a_strict_policy(client: TestClient) -> None:
    kinds = {".html": "text/html", ".js": "javascript", ".css": "text/css", ".svg": "svg"}
    files = [(f"/{path.name}", kinds[path.suffix]) for path in STATIC.iterdir()]
    for path, kind in [("/", "text/html"), *files]:
        answer = client.get(path)
        assert answer.status_code == 200
        assert kind in answer.headers["content-type"]
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        assert "http://" not in answer.text.replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in answer.text


def test_every_answer_has_the_headers(client: TestClient) -> None:
    refused = client.get("/", headers={"Host": "evil.example"})
    answers = [client.get("/nothing"), client.get("/api/pause"), client.get("/api/state"), refused]
    assert [answer.status_code for answer in answers] == [404, 405, 200, 403]
    for answer in answers:
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert HEADERS["cross-origin-resource-policy"] == "same-origin", "or any site may show the camera's picture"


def test_a_stream_that_is_not_there_is_refused(client: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/elsewhere", headers=OWN):
        pass


def test_a_target_is_followed_moved_and_removed(client: TestClient) -> None:
    assert client.post("/api/target", json={"box": [10, 20, 30, 40]}).json() == {"id": 1}
    assert client.post("/api/target", json={"box": [50, 60, 30, 40]}).json() == {"id": 2}
    assert client.post("/api/target", json={"box": [11, 21, 30, 40], "id": 1}).json() == {"id": 1}
    targets = state_of(client)["targets"]
    assert [(t["id"], t["box"]) for t in targets] == [(1, [11, 21, 30, 40]), (2, [50, 60, 30, 40])]
    assert client.post("/api/remove", json={"id": 1}).status_code == 200
    assert [t["id"] for t in state_of(client)["targets"]] == [2]


@pytest.mark.parametrize(
    ("verb", "body", "status", "line"),
    [
        ("target", {"box": [400, 0, 5, 5]}, 400, "the start box 400,0,5,5 is outside the frame of 320 x 240 pixels"),
        ("target", {"box": [1, 2, 3]}, 400, 'the body must be {"box": [x, y, w, h]} and may have "id": a number'),
        ("target", {"box": "x", "id": 1}, 400, 'the body must be {"box": [x, y, w, h]} and may have "id": a number'),
        ("target", {"box": [True, 2, 3, 4]}, 400, 'the body must be {"box": [x, y, w, h]} and may have "id": a number'),
        (
            "target",
            {"box": [1, 2, 3, 10**400]},
            400,
            'the body must be {"box": [x, y, w, h]} and may have "id": a number',
        ),
        (
            "target",
            {"box": [1, 2, 3, 4], "id": []},
            400,
            'the body must be {"box": [x, y, w, h]} and may have "id": a number',
        ),
        ("target", {"box": [1, 2, 3, 4], "id": 0}, 400, "0 is no number of a target: they go from 1 to 8"),
        ("target", {"box": [1, 2, 3, 4], "id": 9}, 400, "9 is no number of a target: they go from 1 to 8"),
        ("remove", {"id": 7}, 400, "there is no target 7"),
        ("remove", {"id": []}, 400, 'the body must be {"id": a number}'),
        ("record", {"on": "false"}, 400, 'the body must be {"on": true} or {"on": false}'),
        ("source", {"address": "/etc/passwd"}, 400, "'/etc/passwd' is not one of the sources that this page may open"),
        ("model", {"name": "x"}, 400, "no model 'x'; there are one fp32, two int8"),
        ("jump", {}, 404, f"no verb 'jump'; there are {', '.join(VERBS)}"),
    ],
)
def test_what_cannot_be_done_is_said(
    client: TestClient, verb: str, body: dict[str, Any], status: int, line: str
) -> None:
    answer = client.post(f"/api/{verb}", json=body)
    assert (answer.status_code, answer.json()["error"]) == (status, line)


def test_bodies_that_are_no_json_or_too_long_are_refused(client: TestClient) -> None:
    for content in (b"{", b"[1]", b"[" * 9999, b"x" * 20_000):
        answer = client.post("/api/pause", content=content)
        assert answer.status_code == 400
        assert answer.json()["error"] == "the body must be a JSON object of at most 10000 bytes"


def test_pause_holds_step_moves_by_one_and_resume_goes_on(client: TestClient) -> None:
    client.post("/api/pause")
    held = state_of(client)["frame"]
    time.sleep(0.1)
    assert state_of(client)["frame"] == held
    client.post("/api/step")
    wait_for(lambda: state_of(client)["frame"] == held + 1)
    time.sleep(0.1)
    assert state_of(client)["frame"] == held + 1
    client.post("/api/resume")
    wait_for(lambda: state_of(client)["frame"] > held + 2)


def test_no_frame_follows_a_pause_that_was_answered(client: TestClient) -> None:
    client.post("/api/model", json={"name": "two int8"})
    client.post("/api/target", json={"box": [10, 20, 30, 40]})
    for _ in range(10):
        client.post("/api/pause")
        held = state_of(client)["frame"]
        time.sleep(0.06)
        assert state_of(client)["frame"] == held
        client.post("/api/resume")


@contextmanager
def running_server(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that serves the scene and records into a folder, and its link."""
    program = (
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


def test_sigterm_finishes_the_recording(tmp_path: Path) -> None:
    with running_server(tmp_path) as (server, link):
        ask(link + "api/record", b"{}")
        wait_for(lambda: ask(link + "api/state")["recorded"] >= 3)
        server.terminate()
        assert server.wait(120) == -signal.SIGTERM
    assert {path.suffix for path in tmp_path.iterdir()} == {".mkv", ".jsonl"}
    assert not list(tmp_path.glob("*.part.*"))


def test_reset_forgets_targets_and_begins_again(client: TestClient) -> None:
    client.post("/api/target", json={"box": [10, 20, 30, 40]})
    wait_for(lambda: state_of(client)["frame"] > 5)
    client.post("/api/reset")
    wait_for(lambda: state_of(client)["frame"] < 5 or not state_of(client)["targets"])
    assert state_of(client)["targets"] == []


def test_a_source_that_ends_or_fails_is_a_state_and_another_can_be_chosen(client: TestClient, tmp_path: Path) -> None:
    client.post("/api/source", json={"address": "synthetic:?frames=5&size=64x64&fps=60"})
    wait_for(lambda: state_of(client)["mode"] == "ended")
    assert state_of(client)["size"] == [64, 64]
    client.post("/api/source", json={"address": str(tmp_path / "gone.mp4")})
    wait_for(lambda: state_of(client)["mode"] == "failed")
    assert state_of(client)["failure"] == f"no such file or folder: {tmp_path}/gone.mp4"
    client.post("/api/source", json={"address": SCENE})
    wait_for(lambda: state_of(client)["mode"] == "running" and state_of(client)["size"] == [320, 240])


def test_a_tracker_that_breaks_is_told_and_the_page_can_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine(Setup((SCENE,), {"broken": BrokenTracker}, "the only one", SourceOptions(), tmp_path))
    engine.start()
    wait_for(lambda: engine.newest is not None)
    client = TestClient(make_app(engine, Access("127.0.0.1")), base_url=HOST, raise_server_exceptions=False)
    answer = client.post("/api/target", json={"box": [10, 10, 20, 20]})
    assert (answer.status_code, answer.json()["error"]) == (500, "error: Failed to allocate 1083000000000000 bytes")
    assert (engine.status()["mode"], engine.newest and engine.newest.targets) == ("running", ())
    engine.do(lambda: engine.set_target(Box(0, 0, 10, 10)))
    wait_for(lambda: engine.status()["mode"] == "failed")
    assert engine.status()["failure"] == "ZeroDivisionError: the tracker has a bug"
    assert "ZeroDivisionError" in caplog.text
    engine.do(engine.reset)
    wait_for(lambda: engine.status()["mode"] == "running" and engine.status()["failure"] == "")
    engine.close()


def test_another_model_takes_the_targets_over(client: TestClient) -> None:
    client.post("/api/target", json={"box": [10, 20, 30, 40]})
    client.post("/api/model", json={"name": "two int8"})
    state = state_of(client)
    assert state["model"] == "two int8"
    assert [t["box"] for t in state["targets"]] == [[10, 20, 30, 40]]


def test_a_recording_holds_the_frames_and_a_line_for_each(client: TestClient, tmp_path: Path) -> None:
    client.post("/api/target", json={"box": [10, 20, 30, 40]})
    client.post("/api/record", json={"on": True})
    wait_for(lambda: state_of(client)["recorded"] >= 5)
    client.post("/api/record", json={"on": False})
    assert state_of(client)["recording"] is None
    (video,), (boxes,) = tmp_path.glob("recordings/*.mkv"), tmp_path.glob("recordings/*.jsonl")
    lines = [json.loads(line) for line in boxes.read_text().splitlines()]
    assert all(
        line["targets"] == [{"id": 1, "box": [10, 20, 30, 40], "score": 0.8, "state": "present"}] for line in lines
    )
    capture, frames = cv2.VideoCapture(str(video)), 0
    while capture.read()[0]:
        frames += 1
    assert frames == len(lines) >= 5


def test_a_recording_that_ended_by_itself_is_told_and_gives_way_to_the_next(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(video: VideoWriter, image: Image) -> None:
        raise PlaceError("the disk is full")

    monkeypatch.setattr(VideoWriter, "write", fail)
    for _ in range(2):
        engine.do(lambda: engine.record(True))
        wait_for(lambda: engine.status()["recording_problem"] == "the disk is full")
        assert engine.status()["recording"] is None
    assert len(list(tmp_path.glob("recordings/*.jsonl"))) == 2


def test_what_has_ended_is_not_recorded(client: TestClient) -> None:
    client.post("/api/source", json={"address": "synthetic:?frames=5&size=64x64&fps=60"})
    wait_for(lambda: state_of(client)["mode"] == "ended")
    answer = client.post("/api/record", json={"on": True})
    assert (answer.status_code, answer.json()["error"]) == (400, "no source is open that could be recorded")


def test_the_snapshot_is_a_jpeg_of_full_size(client: TestClient) -> None:
    answer = client.get("/api/snapshot.jpg")
    assert answer.headers["content-type"] == "image/jpeg"
    assert cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR).shape == (240, 320, 3)


def test_a_slow_client_gets_what_is_newest_when_it_answers(client: TestClient, engine: Engine) -> None:
    with client.websocket_connect("/api/stream?client=a", headers=OWN) as socket:
        newest = 0
        for _ in range(3):
            state, picture = read_message(socket.receive_bytes())
            assert state["frame"] >= newest, "frames were skipped, not sent late"
            assert picture.shape == (240, 320, 3)
            assert state["is_controller"]
            wait_for(lambda after=state["frame"]: engine.newest.frame.index > after + 5)  # type: ignore[misc, union-attr]
            assert engine.newest is not None
            newest = engine.newest.frame.index
            socket.send_text("next")


def test_a_client_that_left_leaves_no_picture_behind(engine: Engine) -> None:
    server = uvicorn.Server(uvicorn.Config(make_app(engine, Access("127.0.0.1")), log_level="error"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        gc.collect()
        gc.disable()  # what only the collector frees stays for minutes, a picture for each client that came and went
        try:
            for _ in range(8):
                with connect(f"ws://127.0.0.1:{listening.getsockname()[1]}/api/stream", open_timeout=60) as stream:
                    for _ in range(3):  # then it leaves while the server waits for a newer picture
                        stream.recv(timeout=60)
                        stream.send("next")
            wait_for(lambda: sum(type(each) is Snapshot for each in gc.get_objects()) <= 4)
        finally:
            gc.enable()
            server.should_exit = True
            thread.join(60)


def test_one_page_steers_and_the_others_watch(client: TestClient) -> None:
    with (
        client.websocket_connect("/api/stream?client=a", headers=OWN) as first,
        client.websocket_connect("/api/stream?client=b", headers=OWN) as other,
    ):
        assert read_message(first.receive_bytes())[0]["is_controller"]
        assert not read_message(other.receive_bytes())[0]["is_controller"]
        refused = client.post("/api/pause", headers={"X-Client": "b"})
        assert (refused.status_code, refused.json()["error"]) == (423, "another page is in control")
        assert client.post("/api/control", headers={"X-Client": "b"}).status_code == 200
        assert client.post("/api/pause", headers={"X-Client": "b"}).status_code == 200
        assert client.post("/api/pause", headers={"X-Client": "a"}).status_code == 423


def test_who_is_in_control_is_told_while_nothing_moves(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("siamedge.runtime.web.streaming.QUIET_S", 60.0)
    client.post("/api/pause", headers={"X-Client": "a"})
    with client.websocket_connect("/api/stream?client=a", headers=OWN) as first:
        client.post("/api/control", headers={"X-Client": "a"})
        told = next_told(first, lambda state: state["is_controller"])
        assert not told["is_watching"]
        with client.websocket_connect("/api/stream?client=b", headers=OWN) as other:
            assert read_state(other.receive_bytes())["is_watching"]
            other.send_text("next")
            client.post("/api/control", headers={"X-Client": "b"})
            next_told(first, lambda state: state["is_watching"])
            next_told(other, lambda state: state["is_controller"])
        next_told(first, lambda state: not state["is_watching"])


def next_told(stream: WebSocketTestSession, is_met: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The next state of a kind among twenty; of a picture that stays only the first message has a JPEG."""
    for _ in range(20):
        message = stream.receive_bytes()
        stream.send_text("next")
        if is_met(state := read_state(message)):
            return state
    raise AssertionError("it was not told")


def test_a_page_hears_in_time_that_nothing_is_new(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert QUIET_S <= 2, "the page takes four seconds of silence for trouble"
    monkeypatch.setattr("siamedge.runtime.web.streaming.QUIET_S", 0.05)
    client.post("/api/pause")
    with client.websocket_connect("/api/stream?client=a", headers=OWN) as stream:
        pictures = []
        for _ in range(4):
            message = stream.receive_bytes()
            pictures.append(message[4 + struct.unpack(">I", message[:4])[0] :])
            stream.send_text("next")
    assert pictures[0]
    assert pictures[-1] == b""


def test_a_camera_without_a_first_picture_is_told(tmp_path: Path) -> None:
    with running_camera() as camera:
        camera.is_stalled = True
        engine = make_engine(tmp_path, camera.url)
        engine.start()
        with (
            TestClient(make_app(engine, Access("127.0.0.1")), base_url=HOST) as client,
            client.websocket_connect("/api/stream?client=a", headers=OWN) as stream,
        ):
            told = next_told(stream, lambda state: state["source_state"] != "live")
            assert (told["frame"], told["targets"]) == (None, [])


def test_foreign_origins_and_names_are_refused(client: TestClient) -> None:
    refused = client.post("/api/pause", headers={"Origin": "http://evil.example"})
    assert (refused.status_code, refused.json()["error"]) == (403, "this request comes from another site's page")
    for host in ("evil.example", "["):
        assert client.get("/api/state", headers={"Host": host}).status_code == 403
    assert client.get("/api/state", headers={"Origin": "http://["}).status_code == 403
    assert client.get("/", headers={"Host": "localhost/x"}).status_code == 200
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("/api/stream", headers={**OWN, "Origin": "http://evil.example"}),
    ):
        pass


def test_a_token_is_needed_off_loopback_and_the_link_brings_it(engine: Engine) -> None:
    access = Access.for_host("0.0.0.0")
    with TestClient(make_app(engine, access), base_url="http://board.local:8765") as client:
        for path in ("/", "/main.js", "/api/state", "/api/snapshot.jpg"):
            assert client.get(path).status_code == 401
        assert client.get("/api/state?token=wrong").json()["error"].startswith("open the link with the token")
        for_a_person = client.get("/?token=wrong")
        assert for_a_person.headers["content-type"].startswith("text/html")
        assert "open the link with the token" in for_a_person.text
        assert client.post("/api/pause").status_code == 401
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/api/stream"):
            pass
        bearer = {"Authorization": f"Bearer {access.token}"}
        assert client.get("/api/state", headers=bearer).status_code == 200
        opened = client.get(f"/?token={access.token}", follow_redirects=False)
        assert (opened.status_code, opened.headers["location"]) == (307, "/")
        assert "HttpOnly" in opened.headers["set-cookie"]
        assert "SameSite=lax" in opened.headers["set-cookie"]
        assert opened.headers["set-cookie"].startswith("siamedge-8765=")
        assert client.get("/").status_code == 200


def test_the_document_names_every_verb_and_path(client: TestClient) -> None:
    document = client.get("/api/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    expected = {f"/api/{verb}" for verb in VERBS} | {"/api/control", "/api/state", "/api/snapshot.jpg", "/api/stream"}
    assert set(document["paths"]) == expected


def test_commands_are_answered_while_the_camera_stalls(tmp_path: Path) -> None:
    with running_camera() as camera:
        engine = make_engine(tmp_path, camera.url)
        engine.start()
        wait_for(lambda: engine.newest is not None)
        camera.is_stalled = True
        wait_for(lambda: engine.status()["source_state"] != "live")
        assert engine.do(lambda: engine.set_target(Box(10, 10, 20, 20))) == 1
        engine.close()


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
