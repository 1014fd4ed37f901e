"""The HTTP interface over a real engine, a drawn scene and a tracker that knows the truth: its verbs."""

import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs the extra [web]")
pytest.importorskip("httpx", reason="starlette's test client needs httpx")
pytest.importorskip("websockets", reason="needs the extra [web]")
from served import HOST, SCENE, BrokenTracker, state_of, wait_for
from starlette.testclient import TestClient

from siamedge.runtime.errors import PlaceError
from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.outputs.video import VideoWriter
from siamedge.runtime.sources.source import SourceOptions
from siamedge.runtime.web.access import Access
from siamedge.runtime.web.engine import Engine, Setup
from siamedge.runtime.web.server import make_app
from siamedge.runtime.web.verbs import VERBS


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


def test_the_document_names_every_verb_and_path(client: TestClient) -> None:
    document = client.get("/api/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    expected = {f"/api/{verb}" for verb in VERBS} | {"/api/control", "/api/state", "/api/snapshot.jpg", "/api/stream"}
    assert set(document["paths"]) == expected
