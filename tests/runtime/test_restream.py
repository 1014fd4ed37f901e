"""The tracked picture by RTSP, read back through GStreamer's server by our own source."""

import socket
import threading
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from camera_server import number_in, numbered_picture

from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Box
from siamedge.runtime.loop import Step, Timing
from siamedge.runtime.outputs.overlay import COLORS
from siamedge.runtime.outputs.restream import RestreamOutput, encode, find_python, fitted, parse_rtsp
from siamedge.runtime.sources.live import LiveSource
from siamedge.runtime.sources.source import Frame, SourceOptions, open_source
from siamedge.runtime.tracking.trackers import TrackResult


def step_at(number: int) -> Step:
    box = Box(100, 100, 80, 60)
    # Upside down: the labels are at the top.
    frame = Frame(np.ascontiguousarray(numbered_picture(number)[::-1]), number, 0.0)
    return Step(frame, TrackResult(box, 0.9, lost=False), "present", Timing(1, 1))


@pytest.fixture
def output() -> Iterator[RestreamOutput]:
    try:
        find_python("")
    except SourceError as error:
        pytest.skip(str(error.hint))
    with RestreamOutput("rtsp://127.0.0.1:0/target") as running:
        yield running


def test_a_player_sees_the_newest_frames_with_the_box(output: RestreamOutput) -> None:
    is_over, sent = threading.Event(), [0]

    def play() -> None:
        while not is_over.wait(0.02):
            sent[0] += 1
            output.send(step_at(sent[0]))

    player = threading.Thread(target=play)
    player.start()
    try:
        with open_source(output.address, SourceOptions(open_timeout_s=60, read_timeout_s=30)) as source:
            assert isinstance(source, LiveSource)
            frames = [frame.image for frame, _ in zip(source, range(10), strict=False)]
    finally:
        is_over.set()
        player.join()
    numbers = [number_in(image[::-1]) for image in frames]
    assert numbers == sorted(set(numbers))
    assert 0 < numbers[0] <= numbers[-1] <= sent[0]
    assert {image.shape for image in frames} == {(240, 320, 3)}
    edge = frames[-1][130, 97:104].astype(int)
    assert np.abs(edge - COLORS["present"]).sum(1).min() < 150, "the box's left edge is drawn in its colour"


def test_a_taken_port_is_one_line(output: RestreamOutput) -> None:
    port = output.address.rpartition(":")[2].partition("/")[0]
    with pytest.raises(SourceError) as caught:
        RestreamOutput(f"rtsp://127.0.0.1:{port}/again")
    assert str(caught.value) == f"--restream rtsp://127.0.0.1:{port}/again: the port is taken"


def test_nobody_listens_and_nothing_waits(output: RestreamOutput) -> None:
    for number in range(200):
        output.send(step_at(number))
    with socket.create_connection(("127.0.0.1", int(output.address.split(":")[2].split("/")[0])), timeout=30):
        pass


@pytest.mark.parametrize("address", ["rtsp://h/x", "rtsp://h:99999/x", "http://h:1/x", "rtsp://h:1", "rtsp://u@h:1/x"])
def test_bad_addresses_are_named(address: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse_rtsp(address)
    assert str(caught.value) == f"--restream {address}: not rtsp://HOST:PORT/PATH"


def test_pictures_fit_into_rtp() -> None:
    for shape in ((1080, 1920), (4000, 300), (241, 321), (5, 5)):
        image = fitted(np.zeros((*shape, 3), np.uint8))
        decoded = cv2.imdecode(np.frombuffer(encode(image), np.uint8), cv2.IMREAD_COLOR)
        assert decoded.shape == image.shape
        assert all(side % 8 == 0 and 8 <= side <= 2040 for side in decoded.shape[:2])
