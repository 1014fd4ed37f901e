"""What is said of a long work where there is no terminal."""

import numpy as np
import pytest

from siamedge.cli.progress import Pulse, Status
from siamedge.runtime.bundles.picking import Candidate, Pick
from siamedge.runtime.geometry import Box
from siamedge.runtime.loop import Step, Timing
from siamedge.runtime.sources.source import Frame
from siamedge.runtime.sources.synthetic import SyntheticSource
from siamedge.runtime.tracking.trackers import TrackResult


def test_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now = [100.0]
    pulse = Pulse(60.0, lambda: now[0])
    for now[0], text in ((130.0, "early"), (160.0, "first"), (219.0, "too soon"), (221.0, "second")):
        pulse.add(text)
    assert capsys.readouterr().err == "first\nsecond\n"


def test_none_where_a_bar_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    pulse = Pulse(float("inf"), lambda: now)
    now = 1e9
    pulse.add("never")
    assert capsys.readouterr().err == ""


def test_the_loss_of_any_of_several_targets_is_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    frame = Frame(np.zeros((8, 8, 3), np.uint8), 0, 0.0)

    def step(is_lost: bool) -> Step:
        result = TrackResult(Box(1, 2, 3, 4), 0.5, lost=is_lost)
        return Step(frame, result, "lost" if is_lost else "present", Timing(1.0, 1.0))

    choice = Candidate("onnxruntime", "fp32", "CPU", "chosen")
    with Status(Pick(choice, ()), SyntheticSource(frames=4), None, is_explained=False) as status:
        for lost in ((False, False), (False, True), (True, True), (False, False)):
            status.add(*map(step, lost))
    assert capsys.readouterr().err.startswith("4 frames, a target lost in 2; onnxruntime fp32 on CPU")
