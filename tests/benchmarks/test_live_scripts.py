"""Scripts that measure the live loop and the page, against a loopback camera."""

import re
from collections.abc import Callable
from pathlib import Path

import live_faults
import pytest
import web_load

Script = Callable[..., str]


def test_reconnects_and_overload_are_told(capfd: pytest.CaptureFixture[str]) -> None:
    live_faults.reconnects(25)
    live_faults.overload(0.5, 30.0, 45.0)
    first, second = capfd.readouterr().out.splitlines()
    assert re.match(r"25 reconnects: RSS \d+\.\d -> \d+\.\d MiB, descriptors \d+ -> \d+, threads \d+$", first)
    assert second.startswith("30 fps, 45 ms a frame, ")
    assert "floor 61.7; frames behind at start, worst " in second


def test_the_page_is_measured_with_and_without_slow_clients(script: Script, tiny_bundle: Path) -> None:
    out = script("web_load", tiny_bundle, "--rounds", "1", "--seconds", "2")
    rounds = re.findall(
        r"^( 0|10) slow clients: latency p50 .* ms, \d+ frames; CPU an update p50 .*", out, re.MULTILINE
    )
    assert rounds == [" 0", "10"]
    assert len(re.findall(r"^( 0|10) slow clients, all rounds: CPU an update p50", out, re.MULTILINE)) == 2


def test_a_page_of_a_bundle_that_is_not_there_is_one_line(script: Script) -> None:
    with pytest.raises(SystemExit, match=r"web_load\.py: nope\.siamedge: no such bundle"):
        script("web_load", "nope.siamedge")


def test_percentiles_of_a_run() -> None:
    assert web_load.row([float(value) for value in range(101)]) == "p50 50.00 p95 95.90 p99 99.98 ms, 101 frames"
