"""Live sources against real servers on loopback: newest frame first, no hang, no leak, faults as states."""

import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest
from camera_server import Camera, number_in, numbered_picture, running_camera

from siamedge.runtime.errors import SourceError
from siamedge.runtime.sources import live
from siamedge.runtime.sources.cameras import RAW_DECODERS, CaptureFeed, fourcc_name
from siamedge.runtime.sources.live import LiveSource
from siamedge.runtime.sources.source import Frame, SourceEvent, SourceOptions, open_source, orient

QUICK: dict[str, Any] = {"open_timeout_s": 3, "read_timeout_s": 1.5, "first_backoff_s": 0.02, "longest_backoff_s": 0.2}


@pytest.fixture
def camera() -> Iterator[Camera]:
    with running_camera() as running:
        yield running


def open_live(address: str, events: list[SourceEvent] | None = None, **options: Any) -> LiveSource:
    listener = (lambda event: None) if events is None else events.append
    source = open_source(address, SourceOptions(**{**QUICK, "on_event": listener, **options}))
    assert isinstance(source, LiveSource)
    return source


def read_until(frames: Iterator[Frame], is_done: Callable[[Frame], bool], limit_s: float = 15.0) -> Frame:
    deadline_s = time.monotonic() + limit_s
    for frame in frames:
        if is_done(frame):
            return frame
        assert time.monotonic() < deadline_s, "the awaited frame did not come"
    raise AssertionError("the source ended")


def wait_for(is_met: Callable[[], bool], limit_s: float = 120.0) -> None:
    deadline_s = time.monotonic() + limit_s
    while not is_met():
        assert time.monotonic() < deadline_s, "what was waited for did not happen"
        time.sleep(0.005)


def kinds(events: list[SourceEvent]) -> list[str]:
    return [event.kind for event in events]


@pytest.mark.parametrize(("has_length", "has_thumbnail"), [(True, False), (False, False), (False, True)])
def test_frames_come_in_order_with_capture_times(camera: Camera, has_length: bool, has_thumbnail: bool) -> None:
    camera.has_length, camera.has_thumbnail = has_length, has_thumbnail
    with open_live(camera.url) as source:
        frames = [frame for frame, _ in zip(source, range(8), strict=False)]
    numbers = [number_in(frame.image) for frame in frames]
    assert numbers == sorted(set(numbers))
    assert [f.index - frames[0].index for f in frames] == [n - numbers[0] for n in numbers]
    assert frames[0].time_s == 0
    stamps = [f.captured_s for f in frames if f.captured_s is not None]
    assert [f.time_s for f in frames] == pytest.approx([s - stamps[0] for s in stamps])


def hold_until_all_arrived(camera: Camera, source: LiveSource) -> int:
    """Let the camera fall silent, and wait until what it sent has arrived; give the newest picture's number."""
    camera.is_held = True
    wait_for(lambda: camera.is_waiting and source.counters.captured == camera.sent_whole)
    return camera.sent


@pytest.mark.parametrize("fps", [5.0, 120.0])
@pytest.mark.parametrize("fault", ["none", "dies", "garbage", "size", "stalls"])
def test_a_slow_reader_gets_the_newest_frame_that_arrived(camera: Camera, fps: float, fault: str) -> None:
    camera.fps = fps
    events: list[SourceEvent] = []
    with open_live(camera.url, events, read_timeout_s=60, reconnect_for_s=60) as source:
        frames = iter(source)
        next(frames)
        for turn in range(3):
            before = camera.sent
            if turn == 1:
                break_and_mend(camera, source, fault)
            wait_for(lambda sent=before: camera.sent >= sent + 3)  # type: ignore[misc]
            newest = hold_until_all_arrived(camera, source)
            frame = next(frames)
            assert number_in(frame.image) == newest, "neither a queue nor a late frame"
            assert frame.index == source.counters.captured - 1
            camera.is_held = False
        counters = source.counters
    assert counters.delivered == 4
    assert counters.dropped == counters.captured - counters.unreadable - 4 >= 6
    assert ("reconnected" in kinds(events)) == (fault == "dies")
    assert ("resized" in kinds(events)) == (fault == "size")


def break_and_mend(camera: Camera, source: LiveSource, fault: str) -> None:
    """Let a camera fail in one way until the source has met it, and be well again."""
    if fault == "dies":
        asked, camera.is_dead = camera.requests, True
        wait_for(lambda: camera.requests > asked)
        camera.is_dead = False
        wait_for(lambda: source.counters.reconnects == 1)
    elif fault == "garbage":
        camera.is_garbage, before = True, camera.sent
        wait_for(lambda: camera.sent >= before + 3)
        camera.is_garbage, before = False, camera.sent
        wait_for(lambda: camera.sent >= before + 2)
    elif fault == "size":
        camera.size = (640, 480)
        before = camera.sent
        wait_for(lambda: camera.sent >= before + 2)
    elif fault == "stalls":
        camera.is_stalled = True
        wait_for(lambda: camera.is_waiting)
        camera.is_stalled = False


def test_a_stall_is_a_state_and_then_a_reconnect(camera: Camera) -> None:
    events: list[SourceEvent] = []
    with open_live(camera.url, events, read_timeout_s=2.0) as source:
        frames = iter(source)
        next(frames)
        camera.is_stalled = True
        timer = threading.Timer(5.0, lambda: setattr(camera, "is_stalled", False))
        timer.start()
        before = camera.sent
        read_until(frames, lambda frame: number_in(frame.image) > before + 2)
        assert source.state == "live"
        timer.cancel()
    assert kinds(events)[0] == "stalled"
    assert kinds(events)[-1] == "resumed"
    assert "reconnecting" in kinds(events)
    assert any(re.search(r"no frame within 2 s; next try in 0.02 s$", event.detail) for event in events)


def test_a_camera_that_dies_and_returns_is_found_again(camera: Camera) -> None:
    events: list[SourceEvent] = []
    with open_live(camera.url, events) as source:
        frames = iter(source)
        next(frames)
        camera.is_dead = True
        threading.Timer(0.6, lambda: setattr(camera, "is_dead", False)).start()
        read_until(frames, lambda frame: source.counters.reconnects > 0)
        read_until(frames, lambda frame: source.state == "live")
        assert source.counters.reconnects == 1
    assert kinds(events)[0] == "reconnecting"
    assert events[0].detail == f"{camera.url}: the stream ended; next try in 0.02 s"
    assert any("the server answers 503 Service Unavailable" in event.detail for event in events)
    assert kinds(events)[-2:] == ["reconnected", "resumed"]


def test_a_camera_that_stays_away_ends_the_iteration(camera: Camera) -> None:
    events: list[SourceEvent] = []
    with open_live(camera.url, events, reconnect_for_s=0.5) as source:
        frames = iter(source)
        next(frames)
        camera.is_dead = True
        for _ in frames:
            pass
        assert source.state == "ended"
    assert kinds(events)[-1] == "ended"


def test_a_camera_that_answers_and_sends_nothing_stays_away(camera: Camera) -> None:
    events: list[SourceEvent] = []
    with open_live(camera.url, events, read_timeout_s=0.3, reconnect_for_s=1) as source:
        frames = iter(source)
        next(frames)
        camera.is_stalled = True
        mend = threading.Timer(10, lambda: setattr(camera, "is_stalled", False))
        mend.start()
        assert next(frames, None) is None
        mend.cancel()
        assert (source.state, source.counters.reconnects) == ("ended", 0)
    tries = [event.detail.rpartition(" in ")[2] for event in events if event.kind == "reconnecting"]
    assert tries[:2] == ["0.02 s", "0.2 s"]
    assert camera.requests >= 3
    assert set(kinds(events)) <= {"stalled", "reconnecting", "ended"}


def test_a_change_of_size_is_an_event_and_frames_go_on(camera: Camera) -> None:
    events: list[SourceEvent] = []
    with open_live(camera.url, events) as source:
        frames = iter(source)
        next(frames)
        camera.size = (640, 480)
        frame = read_until(frames, lambda frame: frame.image.shape == (480, 640, 3))
        assert number_in(frame.image) > 1
    assert [(e.kind, e.detail) for e in events] == [("resized", "320x240 to 640x480")]


def test_garbage_is_counted_and_survived(camera: Camera) -> None:
    events: list[SourceEvent] = []
    with open_live(camera.url, events) as source:
        frames = iter(source)
        next(frames)
        camera.is_garbage = True
        threading.Timer(0.3, lambda: setattr(camera, "is_garbage", False)).start()
        read_until(frames, lambda frame: source.counters.unreadable > 0)
    assert set(kinds(events)) == {"unreadable"}


def test_a_stream_of_garbage_alone_ends_with_a_line(camera: Camera) -> None:
    camera.is_garbage = True
    with open_live(camera.url, reconnect_for_s=0) as source:
        threading.Timer(0.5, lambda: setattr(camera, "is_dead", True)).start()
        with pytest.raises(SourceError, match=r"/: connected, but no readable frame came$"):
            next(iter(source))


def test_a_stream_of_nothing_but_garbage_is_stalled_and_given_up(camera: Camera) -> None:
    camera.is_garbage = True
    events: list[SourceEvent] = []
    end = threading.Timer(20, lambda: setattr(camera, "is_dead", True))
    end.start()
    line = r"/: connected, but no readable frame came$"
    options = {"read_timeout_s": 1.2, "reconnect_for_s": 0}
    with open_live(camera.url, events, **options) as source, pytest.raises(SourceError, match=line):
        next(iter(source))
    end.cancel()
    assert not camera.is_dead
    assert set(kinds(events)) == {"unreadable", "stalled"}


class OneRowMoves:
    """A capture of 480 rows of which one changes, from picture to picture or never."""

    def __init__(self, is_moving: bool) -> None:
        self._picture, self._is_moving = np.zeros((480, 64, 3), np.uint8), is_moving

    def get(self, setting: int) -> float:
        return 0.0

    def grab(self) -> bool:
        time.sleep(0.01)
        return True

    def retrieve(self) -> tuple[bool, np.ndarray]:
        self._picture[35] += self._is_moving
        return True, self._picture.copy()

    def release(self) -> None:
        pass


@pytest.mark.parametrize("is_moving", [False, True])
def test_a_picture_is_frozen_only_if_no_bit_of_it_changes(monkeypatch: pytest.MonkeyPatch, is_moving: bool) -> None:
    monkeypatch.setattr(live, "FROZEN_AFTER_S", 0.1)
    events: list[SourceEvent] = []
    capture = cast(cv2.VideoCapture, OneRowMoves(is_moving))
    options = SourceOptions(on_event=events.append)
    with LiveSource("capture", lambda: CaptureFeed(capture, "capture"), options) as source:
        read_until(iter(source), lambda frame: frame.time_s > 0.3)
    assert kinds(events) == ([] if is_moving else ["frozen"])


def test_a_frozen_camera_is_a_state(camera: Camera) -> None:
    events: list[SourceEvent] = []
    with open_live(camera.url, events) as source:
        frames = iter(source)
        next(frames)
        camera.is_frozen = True
        read_until(frames, lambda frame: source.state == "frozen")
        camera.is_frozen = False
        read_until(frames, lambda frame: source.state == "live")
    assert kinds(events) == ["frozen", "resumed"]


def test_leaving_while_the_camera_stalls_takes_no_read_time_out(camera: Camera) -> None:
    with open_live(camera.url, read_timeout_s=60) as source:
        next(iter(source))
        camera.is_stalled = True
        start_s = time.monotonic()
    assert time.monotonic() - start_s < 10


def test_silent_and_refusing_servers_get_their_lines(camera: Camera) -> None:
    with pytest.raises(SourceError) as caught:
        open_live(f"{camera.url}missing")
    assert str(caught.value) == f"{camera.url}missing: the server answers 404 Not Found"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(SourceError) as caught:
            open_live(address, open_timeout_s=0.3)
    assert str(caught.value) == f"{address}: no answer within 0.3 s"


@pytest.mark.parametrize(
    "place", ["/", "stream.mjpg", "stream?camera=1", "/go?to=http://127.0.0.1:9/", "//{host}/stream"]
)
def test_redirects_are_followed(camera: Camera, place: str) -> None:
    camera.moved_to = place.format(host=camera.url.split("/")[2])
    with open_live(f"{camera.url}moved") as source:
        assert next(iter(source)).image.shape == (240, 320, 3)


def test_a_redirect_to_nowhere_gets_its_line(camera: Camera) -> None:
    camera.moved_to = "http://user:secret@[::1/x"
    with pytest.raises(SourceError) as caught:
        open_live(f"{camera.url}moved")
    assert str(caught.value) == f"{camera.url}moved: redirected to http://***@[::1/x, which is no address"


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 0


def test_reconnects_leave_no_descriptor_and_no_thread_behind(camera: Camera) -> None:
    camera.fps, camera.cut_after = 500, 2
    before = (open_files(), threading.active_count())
    with open_live(camera.url, first_backoff_s=0.0) as source:
        read_until(iter(source), lambda frame: source.counters.reconnects >= 25)
    camera.is_dead = True
    deadline_s = time.monotonic() + 5
    while (open_files(), threading.active_count()) > before and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert (open_files(), threading.active_count()) <= before


def test_frames_are_turned_and_mirrored() -> None:
    image = np.arange(6, dtype=np.uint8).reshape(2, 3, 1).repeat(3, axis=2)
    rows = {
        (0, False): [[0, 1, 2], [3, 4, 5]],
        (90, False): [[3, 0], [4, 1], [5, 2]],
        (180, False): [[5, 4, 3], [2, 1, 0]],
        (270, False): [[2, 5], [1, 4], [0, 3]],
        (0, True): [[2, 1, 0], [5, 4, 3]],
    }
    for (degrees, is_mirrored), expected in rows.items():
        turned = orient(image, SourceOptions(rotate_deg=degrees, is_mirrored=is_mirrored))  # type: ignore[arg-type]
        assert turned[:, :, 0].tolist() == expected


def test_raw_camera_formats_decode_to_the_picture_that_they_hold() -> None:
    bgr = np.full((4, 6, 3), (40, 120, 200), np.uint8)
    y, v, u = cv2.cvtColor(bgr, cv2.COLOR_BGR2YCrCb)[0, 0]
    yuyv = np.tile(np.array([[y, u], [y, v]], np.uint8), (4, 3, 1))
    for name, raw in (("YUYV", yuyv), ("UYVY", yuyv[:, :, ::-1].copy()), ("MJPG", cv2.imencode(".jpg", bgr)[1])):
        decoded = RAW_DECODERS[name](raw)
        assert decoded is not None
        assert np.abs(decoded.astype(int) - bgr).max() <= 24, name
    grey = RAW_DECODERS["Y16 "](np.full((4, 6), 77 << 8, np.uint16))
    assert grey is not None
    assert (grey == 77).all()
    assert fourcc_name(cv2.VideoWriter.fourcc(*"YUYV")) == "YUYV"


RTSP_SERVER = """
import gi, sys
gi.require_version("Gst", "1.0"); gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
server = GstRtspServer.RTSPServer(address="127.0.0.1", service="0")
factory = GstRtspServer.RTSPMediaFactory(shared=True)
factory.set_launch("( videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=25/1 "
                   "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=5 ! rtph264pay name=pay0 pt=96 )")
server.get_mount_points().add_factory("/camera", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.timeout_add_seconds(60, sys.exit)
GLib.MainLoop().run()
"""


def test_rtsp_is_read_and_its_end_noticed() -> None:
    python = "/usr/bin/python3"
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    if not shutil.which(python) or subprocess.run([python, "-c", probe], capture_output=True, check=False).returncode:
        pytest.skip("needs gir1.2-gst-rtsp-server-1.0 and gstreamer1.0-plugins-ugly")
    server = subprocess.Popen([python, "-c", RTSP_SERVER], stdout=subprocess.PIPE, text=True)
    events: list[SourceEvent] = []
    try:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        address = f"rtsp://127.0.0.1:{port}/camera"
        with open_live(address, events, open_timeout_s=10, read_timeout_s=2, reconnect_for_s=0.5) as source:
            frames = iter(source)
            shapes = {next(frames).image.shape for _ in range(10)}
            server.kill()
            for _ in frames:
                pass
            assert source.state == "ended"
        assert shapes == {(240, 320, 3)}
        assert kinds(events)[-1] == "ended"
    finally:
        server.kill()
        server.wait(5)
        if server.stdout:
            server.stdout.close()


def test_numbered_pictures_survive_jpeg() -> None:
    for number in (0, 1, 4660, 65535):
        jpeg = cv2.imencode(".jpg", numbered_picture(number))[1]
        assert number_in(cv2.imdecode(jpeg, cv2.IMREAD_COLOR)) == number
