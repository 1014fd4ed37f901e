"""The programs of the documentation: they are Python, and what needs no ROS is right."""

import importlib.util
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from shared import ROOT

from siamedge.runtime.geometry import Box
from siamedge.runtime.loop import Step, Timing
from siamedge.runtime.sources.source import Frame
from siamedge.runtime.tracking.presence import State
from siamedge.runtime.tracking.trackers import TrackResult

EXAMPLES = sorted((ROOT / "docs/examples").glob("*.py"))


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def node() -> Iterator[ModuleType]:
    yield load(ROOT / "docs/examples/ros2_node.py")


def step(state: State = "present") -> Step:
    frame = Frame(np.zeros((480, 640, 3), np.uint8), 7, 0.25)
    return Step(frame, TrackResult(Box(100, 50, 40, 20), 0.75, lost=state == "lost"), state, Timing(1, 1))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_python_and_import_no_robot_before_they_run(path: Path) -> None:
    load(path)
    assert "rclpy" not in sys.modules


def test_a_step_becomes_centre_size_score_and_stamp(node: ModuleType) -> None:
    found = node.detection_of(step(), 1_700_000_000.5)
    assert (found.center, found.size, found.score) == ((120, 60), (40, 20), 0.75)
    assert found.stamp[0] == 1_700_000_000
    assert found.stamp[1] == pytest.approx(750_000_000, abs=1000)


def test_the_stamp_of_a_live_frame_is_the_time_of_its_capture(
    node: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever passed before the first frame: loading the bundle, opening the camera, following the target."""
    monkeypatch.setattr("time.monotonic", lambda: 50.0)
    live = Frame(np.zeros((480, 640, 3), np.uint8), 3, 0.25, captured_s=49.5)
    start_s = node.start_of(live, 1000.0)
    assert node.detection_of(step()._replace(frame=live), start_s).stamp == (999, 500_000_000)
    recorded = Frame(live.image, 0, 0.0)
    assert node.start_of(recorded, 1000.0) == 1000.0


def test_a_lost_target_has_no_place(node: ModuleType) -> None:
    assert node.detection_of(step("lost"), 0.0) is None


def test_the_message_has_the_fields_of_vision_msgs(node: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against classes with exactly the fields of vision_msgs 4 (ROS 2 Humble and newer); others cannot be set."""

    def record(name: str, **fields: object) -> type:
        def start(self: object) -> None:
            for key, make in fields.items():
                object.__setattr__(self, key, make() if callable(make) else make)

        def put(self: object, key: str, value: object) -> None:
            assert key in fields, f"{name} has no {key}"
            object.__setattr__(self, key, value)

        return type(name, (), {"__init__": start, "__setattr__": put})

    stamp = record("Time", sec=0, nanosec=0)
    point = record("Point2D", x=0.0, y=0.0)
    box = record("BoundingBox2D", center=record("Pose2D", position=point, theta=0.0), size_x=0.0, size_y=0.0)
    detection = record("Detection2D", header=record("Header", frame_id="", stamp=stamp), bbox=box, results=list, id="")
    guess = record("ObjectHypothesisWithPose", hypothesis=record("ObjectHypothesis", class_id="", score=0.0), pose=None)
    messages = types.ModuleType("vision_msgs.msg")
    messages.Detection2D, messages.ObjectHypothesisWithPose = detection, guess  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vision_msgs", types.ModuleType("vision_msgs"))
    monkeypatch.setitem(sys.modules, "vision_msgs.msg", messages)
    message = node.message_of(node.detection_of(step(), 3.0), "camera")
    assert (message.bbox.center.position.x, message.bbox.center.position.y) == (120, 60)
    assert (message.bbox.size_x, message.bbox.size_y) == (40, 20)
    assert (message.header.frame_id, message.header.stamp.sec, message.header.stamp.nanosec) == ("camera", 3, 250000000)
    assert [(r.hypothesis.class_id, r.hypothesis.score) for r in message.results] == [("target", 0.75)]
