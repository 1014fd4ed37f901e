"""Pan and tilt offsets over a real socket and a real terminal."""

import json
import os
import pty
import re
import select
import socket
import termios
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Box
from siamedge.runtime.loop import Step, Timing
from siamedge.runtime.outputs.pan_tilt import PanTiltOutput, offset_of
from siamedge.runtime.sources.source import Frame
from siamedge.runtime.tracking.presence import State
from siamedge.runtime.tracking.trackers import TrackResult


@pytest.mark.parametrize(
    ("box", "expected"),
    [(Box(300, 220, 40, 40), (0, 0)), (Box(-20, -20, 40, 40), (-1, -1)), (Box(460, 100, 40, 40), (0.5, -0.5))],
)
def test_the_middle_is_zero_and_the_edges_are_one(box: Box, expected: tuple[float, float]) -> None:
    assert offset_of(box, 640, 480) == pytest.approx(expected)


@pytest.mark.parametrize(("state", "pan"), [("present", 0.5), ("lost", 0.0)])
def test_each_frame_is_one_datagram_and_a_lost_target_turns_nothing(state: State, pan: float) -> None:
    frame = Frame(np.zeros((480, 640, 3), np.uint8), 7, 0.2)
    step = Step(frame, TrackResult(Box(460, 100, 40, 40), 0.9, lost=state == "lost"), state, Timing(1, 1))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gimbal:
        gimbal.bind(("127.0.0.1", 0))
        gimbal.settimeout(5)
        with PanTiltOutput(f"udp://127.0.0.1:{gimbal.getsockname()[1]}") as output:
            output.send(step)
        message = json.loads(gimbal.recv(1000))
    assert message == {"pan": pan, "tilt": -pan, "state": state, "frame": 7}


def test_nobody_listening_is_no_error() -> None:
    frame = Frame(np.zeros((48, 64, 3), np.uint8), 0, 0)
    step = Step(frame, TrackResult(Box(1, 1, 5, 5), 0.9, lost=False), "present", Timing(1, 1))
    with PanTiltOutput("udp://127.0.0.1:9") as output:
        for _ in range(5):
            output.send(step)


@pytest.mark.parametrize(
    "address", ["127.0.0.1:9", "udp://:9", "udp://h:0", "udp://h:70000", "tcp://h:9", "serial:ttyUSB0"]
)
def test_bad_addresses_are_named(address: str) -> None:
    with pytest.raises(
        SourceError, match=f"^{re.escape(f'--pan-tilt {address}: not udp://HOST:PORT or serial:DEVICE')}$"
    ):
        PanTiltOutput(address)


@pytest.mark.parametrize("host", ["192.168.1..20", ".", "a" * 64])
def test_a_name_that_no_host_has_is_told(host: str) -> None:
    line = re.escape(f"--pan-tilt udp://{host}:9000: no host has such a name")
    with pytest.raises(SourceError, match=f"^{line}$"):
        PanTiltOutput(f"udp://{host}:9000")


@pytest.fixture
def terminal() -> Iterator[tuple[int, str]]:
    """The gimbal's end of a line, and the device at ours."""
    ours, device = pty.openpty()
    yield ours, os.ttyname(device)
    os.close(ours)
    os.close(device)


def step_at(index: int) -> Step:
    frame = Frame(np.zeros((480, 640, 3), np.uint8), index, 0.2)
    return Step(frame, TrackResult(Box(460, 100, 40, 40), 0.9, lost=False), "present", Timing(1, 1))


def test_each_frame_is_a_line_on_a_serial_device_byte_for_byte(terminal: tuple[int, str]) -> None:
    gimbal, device = terminal
    with PanTiltOutput(f"serial:{device}?baud=57600") as output:
        output.send(step_at(7))
        output.send(step_at(8))
        attributes = termios.tcgetattr(gimbal)
    received = b""
    while received.count(b"\n") < 2:
        received += os.read(gimbal, 1000)
    expected = [{"pan": 0.5, "tilt": -0.5, "state": "present", "frame": frame} for frame in (7, 8)]
    assert [json.loads(line) for line in received.splitlines()] == expected
    assert b"\r" not in received, "line ends are not translated"
    assert attributes[4:6] == [termios.B57600, termios.B57600]


def test_a_gimbal_that_does_not_read_loses_lines_and_gets_no_torn_one(terminal: tuple[int, str]) -> None:
    gimbal, device = terminal
    with PanTiltOutput(f"serial:{device}") as output:
        for index in range(5000):
            output.send(step_at(index))
        received, index = b"", 5000
        while not re.search(rb'"frame": \d{5,}}\n|"frame": [5-9]\d{3}}\n', received) and index < 1_000_000:
            if select.select([gimbal], [], [], 0.01)[0]:
                received += os.read(gimbal, 65536)
            output.send(step_at(index := index + 1))
    whole = received[: received.rindex(b"\n")].splitlines()
    frames = [json.loads(line)["frame"] for line in whole]
    assert frames == sorted(set(frames))
    assert frames[0] == 0
    assert set(range(5000)) - set(frames), "lines were lost while nobody read"
    assert frames[-1] >= 5000, "and those after that came"


def test_what_is_no_serial_line_is_named(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    for address, line in (
        (f"serial:{plain}", f"--pan-tilt serial:{plain}: {plain} is no serial line"),
        (f"serial:{tmp_path}/no", f"--pan-tilt serial:{tmp_path}/no: No such file or directory"),
        ("serial:/dev/null?baud=1234", "--pan-tilt serial:/dev/null?baud=1234: no speed 1234"),
    ):
        with pytest.raises(SourceError, match=f"^{re.escape(line)}$"):
            PanTiltOutput(address)
