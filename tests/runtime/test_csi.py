"""Ribbon cameras: real programs that pipe JPEGs, standing in for the boards' tools."""

import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from camera_server import number_in

from siamedge.runtime.errors import SourceError
from siamedge.runtime.sources.csi import TOOLS, PipeFeed, connect_pipe, find_tool
from siamedge.runtime.sources.live import LiveSource
from siamedge.runtime.sources.source import SourceEvent, SourceOptions, open_source

TESTS = Path(__file__).parents[1]
STAND_IN = """#!{python}
import os, sys, time
sys.path.insert(0, {tests!r})
import cv2
from camera_server import numbered_picture
arguments = sys.argv[1:]
width, height = (int(arguments[arguments.index(name) + 1]) for name in ("--width", "--height"))
assert arguments[arguments.index("--codec") + 1] == "mjpeg" and arguments[-2:] == ["-o", "-"]
sys.stderr.write("[0:00:01] INFO Camera\\n")
for number in range(1, {frames}):
    jpeg = cv2.imencode(".jpg", numbered_picture(number, (width, height)))[1].tobytes()
    half = len(jpeg) // 2
    os.write(1, jpeg[:half]); time.sleep(0.005); os.write(1, jpeg[half:])
sys.stderr.write("ERROR: *** no cameras available ***\\n")
if {hangs}:
    time.sleep(100)
"""

CHATTY = """
import os, sys, time
sys.path.insert(0, {tests!r})
import cv2
from camera_server import numbered_picture
jpeg = cv2.imencode(".jpg", numbered_picture(1))[1].tobytes()
for _ in range(60):
    os.write(1, jpeg)
    os.write(2, b"x" * 99_999 + b"\\n")
    time.sleep(0.02)
os.write(2, b"last words")
"""


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, *, frames: int = 100_000, hangs: bool = False) -> None:
    tool = folder / "rpicam-vid"
    tool.write_text(STAND_IN.format(python=sys.executable, tests=str(TESTS), frames=frames, hangs=hangs))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")


def open_live(address: str, events: list[SourceEvent], **options: object) -> LiveSource:
    values = {"size": (320, 240), "first_backoff_s": 0.02, "on_event": events.append, **options}
    source = open_source(address, SourceOptions(**values))  # type: ignore[arg-type]
    assert isinstance(source, LiveSource)
    return source


def test_frames_come_from_the_boards_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch)
    with open_live("csi:", []) as source:
        frames = [frame for frame, _ in zip(source, range(5), strict=False)]
    numbers = [number_in(frame.image) for frame in frames]
    assert numbers == sorted(set(numbers))
    assert {frame.image.shape for frame in frames} == {(240, 320, 3)}


PICAMERA2 = {
    "__init__.py": """
class Picamera2:
    def __init__(self, number):
        assert number == 1
    def create_video_configuration(self, main, controls):
        return main["size"], controls["FrameRate"]
    def configure(self, configuration):
        self.size, self.fps = configuration
    def start_recording(self, encoder, output):
        import sys, threading, time
        sys.path.insert(0, {tests!r})
        import cv2
        from camera_server import numbered_picture
        def run():
            for number in range(1, 100_000):
                output.file.write(cv2.imencode(".jpg", numbered_picture(number, self.size))[1].tobytes())
                output.file.flush()
                time.sleep(1 / self.fps)
        threading.Thread(target=run, daemon=True).start()
""",
    "encoders.py": "class MJPEGEncoder:\n    pass\n",
    "outputs.py": "class FileOutput:\n    def __init__(self, file):\n        self.file = file\n",
}
"""A stand-in with the calls of Raspberry Pi's library that are used."""


def test_frames_come_through_picamera2_where_the_system_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "usr/lib/python3/dist-packages/picamera2"
    package.mkdir(parents=True)
    for name, text in PICAMERA2.items():
        (package / name).write_text(text.replace("{tests!r}", repr(str(TESTS))))
    name, command = find_tool("csi:1", tmp_path)
    assert name == "picamera2"
    argv = command(1, (320, 240), 50)
    assert argv[0] == "/usr/bin/python3"
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    feed = connect_pipe([sys.executable, *argv[1:]], "test", 50, SourceOptions(open_timeout_s=60, read_timeout_s=60))
    try:
        images = [feed.read().decode() for _ in range(3)]
    finally:
        feed.close()
    numbers = [number_in(image) for image in images if image is not None]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 3


def test_a_chatty_tool_fills_no_disk(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", CHATTY.format(tests=str(TESTS))]
    feed, sizes = PipeFeed(argv, "test", 30, SourceOptions(read_timeout_s=20)), []
    try:
        # What was written between the last cut and the end may be cut too.
        with pytest.raises(SourceError, match=r"^test: the program ended(: last words)?$"):
            while True:
                feed.read()
                sizes.append(os.fstat(feed._remarks.fileno()).st_size)
    finally:
        feed.close()
    assert len(sizes) == 60
    assert min(sizes[30:]) < 1_000_000


def test_a_tool_that_ends_is_started_again_and_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, frames=4)
    events: list[SourceEvent] = []
    with open_live("csi:1", events) as source:
        for _ in source:
            if source.counters.reconnects >= 2:
                break
    detail = next(event.detail for event in events if event.kind == "reconnecting")
    assert detail.startswith("csi:1 (rpicam-vid): the program ended: ERROR: *** no cameras available ***")


def test_a_tool_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, frames=3, hangs=True)
    events: list[SourceEvent] = []
    with open_live("csi:", events, read_timeout_s=1.0, reconnect_for_s=0) as source:
        start_s = time.monotonic()
        for _ in source:
            pass
        assert time.monotonic() - start_s < 20
    assert [event.kind for event in events if event.kind != "stalled"] == ["ended"]
    assert events[-1].detail == "csi: (rpicam-vid): no more frames came in time: ERROR: *** no cameras available ***"


def test_a_tool_without_a_camera_is_an_error_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, frames=0)
    with pytest.raises(SourceError) as caught:
        open_source("csi:", SourceOptions(size=(320, 240)))
    assert str(caught.value) == "csi: (rpicam-vid): the program ended: ERROR: *** no cameras available ***"


def test_a_machine_without_the_tools_gets_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError) as caught:
        open_source("csi:")
    assert str(caught.value) == "csi:: none of picamera2, rpicam-vid, libcamera-vid, gst-launch-1.0 is installed"
    with pytest.raises(SourceError, match=r"^csi:front: 'front' is no camera number$"):
        open_source("csi:front")


def test_gstreamers_pipe_is_read() -> None:
    tool = shutil.which("gst-launch-1.0")
    if not tool:
        pytest.skip("needs gstreamer1.0-tools and gstreamer1.0-plugins-good")
    argv = TOOLS["gst-launch-1.0"](0, (320, 240), 30)
    # The same pipe with GStreamer's own source and encoder in place of NVIDIA's.
    front = ["videotestsrc", "is-live=true", "pattern=ball", "!", "video/x-raw,width=320,height=240,framerate=30/1"]
    argv = [*argv[:2], *front, "!", "jpegenc", *argv[argv.index("nvjpegenc") + 1 :]]
    feed = PipeFeed(argv, "test", 30, SourceOptions(read_timeout_s=20))
    try:
        images = [feed.read().decode() for _ in range(4)]
    finally:
        feed.close()
    assert all(image is not None and image.shape == (240, 320, 3) for image in images)
    assert any(not np.array_equal(images[0], image) for image in images[1:])
