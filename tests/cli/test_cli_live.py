"""`siamedge track` with live options: the lines for what cannot be, and what reaches the outputs."""

import json
import re
import socket
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np
import pytest
from camera_server import running_camera
from command_line import Run
from file_server import serving

from siamedge.cli.live import cameras_here, parse_size, unique
from siamedge.cli.main import with_values
from siamedge.cli.outputs import tell_undelivered
from siamedge.runtime.bundles.picking import Candidate
from siamedge.runtime.errors import SourceError
from siamedge.runtime.outputs.window import has_windows

if TYPE_CHECKING:
    from siamedge.runtime.outputs.mqtt import MqttOutput


@pytest.fixture
def track(siamedge: Run, default_bundle: Path) -> Run:
    return partial(siamedge, "track", default_bundle)


SCENE = ("--source", "synthetic:?frames=3&size=320x240")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--size", "big"), "'big' is not WIDTHxHEIGHT, such as 1280x720"),
        (("--reacquire", "far"), "'far'"),
        (("--rotate", "45"), "'45'"),
        (("--fps", "0"), "0"),
        (("--threads", "5000"), "1<=x<=512"),
        (("--update-template",), "only with --reacquire near or full-frame"),
        (("--web", "--init", "1,2,30,40"), "'--web': --init does nothing with a page"),
        (("--web", "--output", "a.mp4"), "'--web': --output does nothing with a page"),
        (("--web", "--json"), "'--web': --json does nothing with a page"),
        (("--web", "--size", "640x480"), "'--source': --size does nothing with a drawn scene"),
        (("--web", "--source", __file__, "--reconnect", "5"), "'--source': --reconnect does nothing with a video file"),
        (("--size", "640x480"), "'--source': --size does nothing with a drawn scene (synthetic:?size=640x480)"),
        (("--reconnect", "5"), "'--source': --reconnect does nothing with a drawn scene"),
        (("--source", __file__, "--fps", "5"), "'--source': --fps does nothing with a video file"),
        (("--source", str(Path(__file__).parent), "--size", "8x8"), "--size does nothing with a folder of images"),
        (("--source", "rtsp://h/x", "--fps", "5"), "--fps does nothing with a stream: its sender decides"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(track: Run, arguments: tuple[str, ...], line: str) -> None:
    outcome = track(*SCENE, *arguments)
    assert outcome.code == 2
    assert line in outcome.stderr.splitlines()[0]
    assert outcome.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--web", "127.0.0.1:http"), "siamedge: --web 127.0.0.1:http: 'http' is no port"),
        (("--mqtt", "http://h"), "siamedge: --mqtt http://h: not mqtt://HOST[:PORT][/TOPIC]"),
        (("--restream", "h:1"), "siamedge: --restream h:1: not rtsp://HOST:PORT/PATH"),
        (("--pan-tilt", "h:1"), "siamedge: --pan-tilt h:1: not udp://HOST:PORT or serial:DEVICE"),
    ],
)
def test_bad_addresses_are_one_line_and_code_1(track: Run, arguments: tuple[str, ...], line: str) -> None:
    outcome = track(*SCENE, *arguments)
    assert (outcome.code, outcome.stderr.splitlines()[0]) == (1, line)


@pytest.mark.skipif(has_windows(), reason="this OpenCV has windows")
def test_a_window_that_cannot_be_is_one_line(track: Run) -> None:
    outcome = track(*SCENE, "--window")
    assert outcome.code == 1
    assert outcome.stderr.splitlines()[0] == "siamedge: --window: this OpenCV has no windows (opencv-python-headless)"


def test_a_camera_that_is_not_there_is_one_line(track: Run) -> None:
    outcome = track("--source", "93", "--init", "1,1,9,9")
    assert (outcome.code, outcome.stderr.splitlines()[0]) == (1, "siamedge: camera /dev/video93: no such device")


def test_a_recording_on_a_server_is_not_connected_to_again(track: Run, tmp_path: Path) -> None:
    writer = cv2.VideoWriter(f"{tmp_path}/clip.avi", cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(3):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    with serving((tmp_path / "clip.avi").read_bytes(), "clip.avi") as file:
        outcome = track("--source", file.url, "--init", "1,1,9,9", "--reconnect", "5")
    assert outcome.code == 2
    assert "'--source': --reconnect does nothing with a recording" in outcome.stderr.splitlines()[0]


def test_a_live_camera_gives_frames_events_and_a_summary(track: Run) -> None:
    with running_camera() as camera:
        camera.cut_after = 12
        arguments = (
            "--source",
            camera.url,
            "--init",
            "20,60,80,80",
            "--json",
            "--reconnect",
            "0",
            "--reacquire",
            "near",
        )
        outcome = track(*arguments)
    lines = [json.loads(line) for line in outcome.stdout.splitlines()]
    frames, events = ([line for line in lines if ("event" in line) is kind] for kind in (False, True))
    assert outcome.code == 0
    assert [line["frame"] for line in frames] == sorted({line["frame"] for line in frames})
    assert frames[0]["box"] == [20, 60, 80, 80]
    assert [event["event"] for event in events] == ["ended"]
    assert events[0]["detail"] == f"{camera.url}: the stream ended"
    assert re.search(r"capture to box: [\d.]+ ms \(p50\), .* 0 reconnects", outcome.stderr)


def test_the_video_of_a_live_source_lasts_as_long_as_its_frames_came(track: Run, tmp_path: Path) -> None:
    with running_camera() as camera:
        camera.fps, camera.cut_after = 10.0, 15
        outcome = track(
            "--source", camera.url, "--init", "20,60,80,80", "--reconnect", "0", "--json", "--output", "a.mp4"
        )
    assert outcome.code == 0
    lasted_s = max(json.loads(line)["time_s"] for line in outcome.stdout.splitlines())
    video = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) / video.get(cv2.CAP_PROP_FPS) == pytest.approx(lasted_s, abs=0.15)


def test_a_turned_scene_and_a_gimbal(track: Run) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gimbal:
        gimbal.bind(("127.0.0.1", 0))
        gimbal.settimeout(5)
        outcome = track(*SCENE, "--pan-tilt", f"udp://127.0.0.1:{gimbal.getsockname()[1]}")
        messages = [json.loads(gimbal.recv(1000)) for _ in range(3)]
    assert outcome.code == 0
    assert [message["frame"] for message in messages] == [0, 1, 2]
    assert messages[0]["pan"] == pytest.approx(-0.5, abs=0.01)


def test_boxes_that_a_broker_did_not_get_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """As the error that ends the run, or as a line before another one."""
    output = cast("MqttOutput", SimpleNamespace(where="mqtt broker h:1883", offered=400, delivered=280))
    line = "mqtt broker h:1883: 120 of 400 boxes were not delivered"
    with pytest.raises(SourceError, match=f"^{line}$"):
        tell_undelivered(output, None)
    tell_undelivered(output, KeyboardInterrupt)
    tell_undelivered(cast("MqttOutput", SimpleNamespace(offered=400, delivered=400)), None)
    assert capsys.readouterr().err == f"{line}\n"


def test_web_may_stand_alone() -> None:
    assert with_values(["track", "b", "--web"]) == ["track", "b", "--web", "127.0.0.1:8765"]
    assert with_values(["track", "--web", "--source", "0"]) == ["track", "--web", "127.0.0.1:8765", "--source", "0"]
    assert with_values(["track", "--web", ":9", "b"]) == ["track", "--web", ":9", "b"]


def test_the_page_starts_with_the_model_that_was_chosen() -> None:
    chosen, other = Candidate("tflite", "int8", "CPU", "chosen"), Candidate("tflite", "fp32", "CPU", "usable")
    assert unique([chosen, other, chosen._replace(verdict="usable")]) == [chosen, other]


def test_sizes_and_cameras(tmp_path: Path) -> None:
    assert parse_size("1280x720") == (1280, 720)
    assert parse_size(None) is None
    (tmp_path / "dev").mkdir()
    for name in ("video10", "video2", "video-enc", "null"):
        (tmp_path / "dev" / name).touch()
    assert cameras_here(tmp_path) == [str(tmp_path / "dev/video2"), str(tmp_path / "dev/video10")]
