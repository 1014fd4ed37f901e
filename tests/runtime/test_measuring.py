"""Measuring: what is timed, what is compared, and when a number is not valid."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from siamedge.runtime.errors import BackendError
from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.health import Health, read_health
from siamedge.runtime.speed.benchmark import Start, TimedSession, peak_mib, stages_of, start_once
from siamedge.runtime.speed.measuring import (
    UPDATES,
    Contention,
    ContentionMeter,
    Scene,
    delayed_s,
    race,
    ratio_to,
)
from siamedge.runtime.tensors import Array, TensorSpec
from siamedge.runtime.tracking.trackers import TrackResult

FRAME: Image = np.zeros((8, 8, 3), np.uint8)
SCENES = [Scene(FRAME, FRAME, Box(float(i), 0, 2, 2)) for i in range(3)]


class Spinning:
    """A tracker that computes for a while and remembers what it was asked."""

    def __init__(self, name: str, log: list[str], ms: float) -> None:
        self._name, self._log, self._ms = name, log, ms

    def init(self, frame: Image, box: Box) -> None:
        self._log.append(f"{self._name} init {box.x:g}")

    def update(self, frame: Image) -> TrackResult:
        self._log.append(f"{self._name} update")
        until = time.process_time() + self._ms / 1000
        while time.process_time() < until:
            pass
        return TrackResult(Box(0, 0, 2, 2), 1.0, lost=False)


def test_a_race_sets_every_tracker_on_every_box_in_turn() -> None:
    log: list[str] = []
    medians = race({"a": Spinning("a", log, 0.2), "b": Spinning("b", log, 1.0)}, SCENES, rounds=2)
    updates = ["update"] * (1 + UPDATES)  # the first one is not timed
    one_round = [f"{name} {what}" for name in "ab" for i in range(3) for what in (f"init {i}", *updates)]
    assert log == one_round * 3
    assert {name: len(taken) for name, taken in medians.items()} == {"a": 2, "b": 2}
    assert ratio_to(medians["b"], medians["a"]) > 1


def test_opencv_computes_on_one_thread_in_a_race() -> None:
    seen: list[int] = []

    class Looking(Spinning):
        def update(self, frame: Image) -> TrackResult:
            seen.append(cv2.getNumThreads())
            return super().update(frame)

    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        race({"a": Looking("a", [], 0.1)}, SCENES, rounds=1)
        assert set(seen) == {1}
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)


def test_a_ratio_is_taken_within_rounds() -> None:
    assert ratio_to([4.0, 40.0, 4.0], [2.0, 20.0, 1.0]) == 2.0


def test_waiting_is_seen() -> None:
    with ContentionMeter() as meter:
        time.sleep(0.05)
    assert meter.result.waiting_share > 0.5
    assert str(meter.result.reason).startswith("the machine was busy: ")
    assert Contention(0.05, 3.0, 0.5, 2).reason is None
    assert Contention(0.25, 3.0, 9.5, 2).reason == "the machine was busy: 25% of the time went to others (limit 10%)"


def test_what_another_device_computes_is_no_waiting(tmp_path: Path) -> None:
    with ContentionMeter("NPU") as meter:
        time.sleep(0.05)
    assert meter.result.waiting_share < 0.5
    for thread, numbers in enumerate(("900 250000000 7", "800 500000000 3")):
        (tmp_path / f"task/{thread}").mkdir(parents=True)
        (tmp_path / f"task/{thread}/schedstat").write_text(f"{numbers}\n")
    assert delayed_s(tmp_path) == 0.75
    assert delayed_s(tmp_path / "task") == 0


def test_an_update_is_split_at_its_networks_runs() -> None:
    stages = stages_of(1_000_000, [(2_000_000, 5_000_000), (6_000_000, 8_000_000)], 8_500_000)
    assert (stages.crop, stages.network, stages.post) == (2.0, 5.0, 0.5)


def test_a_timed_session_passes_everything_on() -> None:
    class Doubling:
        inputs: Mapping[str, TensorSpec] = {"x": TensorSpec("x", (1,), "float32", "NPC")}
        outputs: Mapping[str, TensorSpec] = {"y": TensorSpec("y", (1,), "float32", "NPC")}

        def run(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
            return {"y": feeds["x"] * 2}

        def close(self) -> None:
            self.inputs = {}

    session = TimedSession(Doubling())
    assert session.run({"x": np.ones(1, np.float32)})["y"].tolist() == [2]
    assert len(session.runs) == 1
    session.close()
    assert session.inputs == {}


def test_health_is_read_from_the_system(tmp_path: Path) -> None:
    assert read_health(tmp_path) == Health(None, None)
    for zone, millidegrees in enumerate((41000, 62500)):
        folder = tmp_path / f"sys/class/thermal/thermal_zone{zone}"
        folder.mkdir(parents=True)
        (folder / "temp").write_text(f"{millidegrees}\n")
    firmware = tmp_path / "sys/devices/platform/soc/soc:firmware"
    firmware.mkdir(parents=True)
    (firmware / "get_throttled").write_text("50000\n")
    assert read_health(tmp_path) == Health(62.5, False)
    (firmware / "get_throttled").write_text("4\n")
    assert read_health(tmp_path).reason == "the processor is throttled"


def test_memory_is_read_from_the_process_status() -> None:
    assert peak_mib("Name: x\nVmHWM:\t  92160 kB\nVmRSS: 1 kB\n") == 90
    assert peak_mib("nothing") is None


def test_a_start_that_had_to_wait_for_others_is_not_valid() -> None:
    def start(waited_s: float) -> Start:
        told = f"VmHWM: 2048 kB\nSchedstat: 5 {waited_s * 1e9:.0f} 6\n"
        return start_once([sys.executable, "-c", f"import sys; print(1, flush=True); sys.stderr.write({told!r})"])

    assert (start(0.0).reason, start(0.0).rss_mib) == (None, 2)
    assert str(start(60.0).reason).startswith("the machine was busy: ")
    silent = start_once([sys.executable, "-c", "print(1)"])
    assert (silent.reason, silent.rss_mib) == (None, None)


def test_a_start_that_fails_tells_why() -> None:
    with pytest.raises(BackendError) as error:
        start_once([sys.executable, "-c", "import sys; sys.exit('siamedge: no such bundle')"])
    assert str(error.value) == "siamedge track ended with 1: siamedge: no such bundle"
