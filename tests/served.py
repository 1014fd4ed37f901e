"""The HTTP interface over a real engine, a drawn scene and a tracker that knows the truth."""

import json
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs the extra [web]")
pytest.importorskip("httpx", reason="starlette's test client needs httpx")
pytest.importorskip("websockets", reason="needs the extra [web]")
from starlette.testclient import TestClient

from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.sources.source import SourceOptions
from siamedge.runtime.tracking.trackers import TrackResult
from siamedge.runtime.web.engine import Engine, Setup

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
