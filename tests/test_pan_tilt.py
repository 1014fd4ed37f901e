"""Pan and tilt offsets over a real socket."""

import json
import re
import socket

import numpy as np
import pytest

from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Box
from siamedge.runtime.loop import Step, Timing
from siamedge.runtime.pan_tilt import PanTiltOutput, offset_of
from siamedge.runtime.presence import State
from siamedge.runtime.sources import Frame
from siamedge.runtime.trackers import TrackResult


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


@pytest.mark.parametrize("address", ["127.0.0.1:9", "udp://:9", "udp://h:0", "udp://h:70000", "tcp://h:9"])
def test_bad_addresses_are_named(address: str) -> None:
    with pytest.raises(SourceError, match=f"^{re.escape(f'--pan-tilt {address}: not udp://HOST:PORT')}$"):
        PanTiltOutput(address)
