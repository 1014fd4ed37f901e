"""What is said of a long work where there is no terminal."""

import pytest

from siamedge.cli.progress import Pulse


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
