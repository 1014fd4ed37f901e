"""What a page is told as it happens: pictures, states, and who is in control."""

import gc
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="needs the extra [web]")
pytest.importorskip("httpx", reason="starlette's test client needs httpx")
pytest.importorskip("websockets", reason="needs the extra [web]")
import uvicorn
from camera_server import running_camera
from served import (
    HOST,
    OWN,
    make_engine,
    read_message,
    read_state,
    wait_for,
)
from starlette.testclient import TestClient, WebSocketTestSession
from websockets.sync.client import connect

from siamedge.runtime.geometry import Box
from siamedge.runtime.web.access import Access
from siamedge.runtime.web.engine import Engine
from siamedge.runtime.web.server import make_app
from siamedge.runtime.web.snapshot import Snapshot
from siamedge.runtime.web.streaming import QUIET_S


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


def test_commands_are_answered_while_the_camera_stalls(tmp_path: Path) -> None:
    with running_camera() as camera:
        engine = make_engine(tmp_path, camera.url)
        engine.start()
        wait_for(lambda: engine.newest is not None)
        camera.is_stalled = True
        wait_for(lambda: engine.status()["source_state"] != "live")
        assert engine.do(lambda: engine.set_target(Box(10, 10, 20, 20))) == 1
        engine.close()
