"""Tuning: the choice follows the measurements, the record holds for one bundle and one device only."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.speed.measuring import Spread, spread_of
from siamedge.runtime.speed.tuning import Pace, Runner, busy_remark, choose, thread_counts, verdicts_of
from siamedge.runtime.speed.tuning_record import (
    SCHEMA,
    Trial,
    Tuning,
    differences,
    fingerprint,
    load_record,
    save,
)
from siamedge.runtime.tracking.trackers import TrackResult

FRAME: Image = np.zeros((48, 64, 3), np.uint8)


def trial(backend: str, ms: float, threads: int = 1, verdict: str = "measured") -> Trial:
    return Trial(backend, "fp32", "CPU", threads, Spread(ms, ms, ms, 30), ms, verdict)


def test_the_fastest_is_chosen() -> None:
    chosen, reason = choose({0: trial("openvino", 1.4), 2: trial("tflite", 1.2), 3: trial("onnxruntime", 1.6)})
    assert chosen == 2
    assert reason == "1.20 ms, the fastest of 3 within the accuracy budget"


def test_on_a_near_tie_fewer_threads_win() -> None:
    chosen, reason = choose({0: trial("tflite", 1.02), 1: trial("tflite", 1.0, threads=2)})
    assert chosen == 0
    assert reason == "1.02 ms with fewer threads; tflite fp32 on CPU, 2 threads takes 1.00 ms"


def test_two_threads_that_gain_enough_win() -> None:
    assert choose({0: trial("tflite", 1.7), 1: trial("tflite", 1.0, threads=2)})[0] == 1


def test_equal_verdicts_of_a_backend_are_told_once() -> None:
    gone = [trial("tflite", 0, count, "not installed") for count in (1, 2)]
    other = replace(gone[0], precision="int8")
    odd = replace(other, verdict="beyond the accuracy budget: boxes 0.7 px, budget 0.5")
    expected = "tflite fp32, int8: not installed; tflite int8: beyond the accuracy budget: boxes 0.7 px, budget 0.5"
    assert verdicts_of([*gone, other, odd]) == expected


def test_every_update_but_the_first_of_a_round_is_counted() -> None:
    class Counting:
        updates = 0

        def init(self, frame: Image, box: Box) -> None:
            pass

        def update(self, frame: Image) -> TrackResult:
            self.updates += 1
            return TrackResult(Box(0, 0, 1, 1), 1.0, lost=False)

    tracker = Counting()
    runner = Runner(tracker, [FRAME] * 3, Box(1, 1, 9, 9))
    pace = Pace(fps=None, frames=5, rounds=2)
    runner.run(pace)
    runner.run(pace)
    assert tracker.updates == 12
    latency = runner.measured(trial("tflite", 0)).latency_ms
    assert latency is not None
    assert latency.count == 10


def test_percentiles_are_times_that_were_measured() -> None:
    assert spread_of([3.0, 1.0, 2.0]) == Spread(2.0, 3.0, 3.0, 3)
    assert spread_of([float(i) for i in range(100)]) == Spread(50.0, 95.0, 99.0, 100)


def test_thread_counts_do_not_exceed_the_processors() -> None:
    assert [thread_counts(n) for n in (1, 2, 3, 8)] == [(1,), (1, 2), (1, 2), (1, 2, 4)]


def tuning(**changes: object) -> Tuning:
    trials = (trial("tflite", 1.0, verdict="chosen"), Trial("openvino", "int8", "CPU", 1, None, None, "no openvino"))
    values = {"fingerprint": fingerprint(), "bundle_sha256": "ab", "fps": 30.0, "trials": trials, "reason": "fast"}
    return Tuning(schema=SCHEMA, **{**values, **changes})  # type: ignore[arg-type]


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "tuning" / "record.json"
    save(tuning(), path)
    read = load_record(path, "ab")
    assert read == tuning()
    assert read.choice.backend == "tflite"
    assert differences(read, fingerprint()) == []


@pytest.mark.parametrize("damage", ["", "{", '{"schema": 1}', "[]"])
def test_a_damaged_record_is_no_record(tmp_path: Path, damage: str) -> None:
    (tmp_path / "record.json").write_text(damage)
    assert load_record(tmp_path / "record.json", "ab") is None


def test_a_record_of_another_bundle_schema_or_without_choice_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    save(tuning(), path)
    assert load_record(path, "cd") is None
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": SCHEMA + 1}))
    assert load_record(path, "ab") is None
    save(tuning(trials=(trial("tflite", 1.0),)), path)
    assert load_record(path, "ab") is None


def test_a_record_of_an_unknown_precision_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    save(tuning(), path)
    path.write_text(path.read_text().replace('"precision": "fp32"', '"precision": "fp8"'))
    assert load_record(path, "ab") is None


def test_a_changed_library_is_named(tmp_path: Path) -> None:
    now = {**fingerprint(), "openvino": "2027.1"}
    old = tuning(fingerprint={**fingerprint(), "openvino": "2026.4.1"})
    assert differences(old, now) == ["openvino was 2026.4.1, is 2027.1"]
    assert differences(old, {k: v for k, v in now.items() if k != "openvino"}) == ["openvino was 2026.4.1, is nothing"]


def test_a_busy_machine_is_mentioned() -> None:
    assert busy_remark(1.4, 2) == ""
    assert busy_remark(7.04, 2) == (
        " (measured on a busy machine: load 7.0 on 2 processors; tune again when it is idle)"
    )
