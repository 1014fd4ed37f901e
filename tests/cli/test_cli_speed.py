"""siamedge tune and bench on the command line, and what track makes of a tuning."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import Run, refused

from siamedge.cli.bench import floor_of
from siamedge.export.evaluation.baselines import IdentityTracker
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.bundles.picking import Candidate
from siamedge.runtime.health import Health
from siamedge.runtime.speed.benchmark import Row, Stages
from siamedge.runtime.speed.measuring import Contention, Spread
from siamedge.runtime.speed.tuning_record import (
    SCHEMA,
    Trial,
    Tuning,
    bundle_sha256,
    fingerprint,
    record_path,
    save,
)

KNOWN = ["--source", "synthetic:frames=4"]


def test_track_uses_what_tune_chose_and_tunes_again_when_a_library_changed(siamedge: Run, default_bundle: Path) -> None:
    code, out, _ = siamedge("tune", default_bundle, "--rounds", "1", "--fps", "200", "--json")
    tuning = json.loads(out)
    chosen = [trial for trial in tuning["trials"] if trial["verdict"] == "chosen"]
    assert (code, len(chosen)) == (0, 1)
    assert {trial["backend"] for trial in tuning["trials"]} == {"onnxruntime"}
    assert siamedge("track", default_bundle, *KNOWN)[2].startswith(f"tuned: {tuning['reason']}\n")
    assert "tuned: " not in siamedge("track", default_bundle, *KNOWN, "--threads", "1")[2]

    (record,) = (Path(os.environ["SIAMEDGE_CACHE"]) / "tuning").iterdir()
    tuning["fingerprint"]["onnxruntime"] = "1.0"
    record.write_text(json.dumps(tuning))
    missing = refused("no such file or folder: none.mp4", "a camera is a number (0) or a path under /dev")
    assert siamedge("track", default_bundle, "--source", "none.mp4", "--init", "1,2,3,4") == missing
    assert siamedge("track", default_bundle, *KNOWN)[2].startswith("tuning again: onnxruntime was 1.0, is 1.")
    again = json.loads(record.read_text())
    assert again["fingerprint"]["onnxruntime"] != "1.0"
    assert again["fps"] == 200

    record.write_text("damaged")
    code, _, messages = siamedge("track", default_bundle, *KNOWN)
    assert code == 0
    assert "tuned: " not in messages


def test_tune_explains_every_candidate(siamedge: Run, default_bundle: Path) -> None:
    code, out, _ = siamedge("tune", default_bundle, "--rounds", "1", "--fps", "200", "--explain")
    assert code == 0
    assert out.count("onnxruntime") >= 2
    assert "chosen" in out


def test_bench_tells_stages_and_whether_they_are_valid(siamedge: Run, default_bundle: Path) -> None:
    code, out, _ = siamedge("bench", default_bundle, "--updates", "20", "--no-cold", "--json")
    found = json.loads(out)
    assert code == (3 if found["not_valid"] else 0)
    (row,) = found["rows"]
    assert (row["backend"], row["precision"], row["verdict"]) == ("onnxruntime", "fp32", "pass")
    assert row["update_ms"]["count"] == 20
    assert min(row["stages"].values()) > 0
    assert found["floor"]["mmacs"] == pytest.approx(219.5, rel=0.5)


def test_a_rival_needs_its_files(siamedge: Run, default_bundle: Path) -> None:
    assert siamedge("bench", default_bundle, "--against", "opencv")[0] == 2
    code, _, messages = siamedge("bench", default_bundle, "--opencv-models", "a,b")
    assert (code, "only with --against opencv" in messages) == (2, True)
    code, _, messages = siamedge("track", default_bundle, *KNOWN, "--opencv-models", "a,b")
    assert (code, "only with --mode opencv" in messages) == (2, True)


@pytest.mark.parametrize(
    ("models", "code", "message"),
    [
        ("nope.onnx,none.onnx", 1, "nope.onnx: no such file"),
        ("text.onnx", 2, "'text.onnx', expected BACKBONE.onnx,HEAD.onnx"),
        ("text.onnx,text.onnx", 1, "cv2.TrackerNano cannot read text.onnx and text.onnx: "),
    ],
)
def test_a_rivals_files_are_looked_at_before_anything_is_measured(
    siamedge: Run, default_bundle: Path, monkeypatch: pytest.MonkeyPatch, models: str, code: int, message: str
) -> None:
    monkeypatch.setattr("siamedge.cli.bench.measure", lambda *_, **__: pytest.fail("measured before"))
    Path("text.onnx").write_text("no network")
    outcome = siamedge("bench", default_bundle, "--against", "opencv", "--opencv-models", models)
    assert (outcome.code, outcome.stdout) == (code, "")
    assert message in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 2


def test_a_race_on_a_busy_machine_is_not_valid(
    siamedge: Run, default_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = Contention(0.4, 100.0, None, 1)
    monkeypatch.setattr("siamedge.cli.bench.rivals_of", lambda models, plan: {"cv2 TrackerNano": IdentityTracker()})
    monkeypatch.setattr("siamedge.cli.bench.measure", lambda *_, **__: {"not_valid": []})
    monkeypatch.setattr("siamedge.cli.bench.race_opencv", lambda *_: {"contention": busy})
    code, out, _ = siamedge("bench", default_bundle, "--against", "opencv", "--opencv-models", "a,b", "--json")
    assert (code, json.loads(out)["not_valid"]) == (3, [busy.reason])


def test_a_race_needs_a_second_frame(siamedge: Run, default_bundle: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((80, 80, 3), np.uint8))
    source = ("--source", tmp_path, "--init", "20,20,30,30")
    outcome = siamedge("bench", default_bundle, *source, "--against", "opencv", "--opencv-models", "a,b")
    assert outcome == refused("--against opencv needs two frames, the source has 1", "give a longer --source")


def test_a_race_is_of_what_the_cpu_computes(
    siamedge: Run, default_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("siamedge.cli.bench.rivals_of", lambda models, plan: {"cv2 TrackerNano": IdentityTracker()})
    on_npu = [Candidate("openvino", "fp32", "NPU", "pass")]
    monkeypatch.setattr("siamedge.cli.bench.chosen", lambda *_, **__: on_npu)
    race = ("--against", "opencv", "--opencv-models", "a,b", "--device", "NPU")
    code, out, messages = siamedge("bench", default_bundle, *race)
    assert (code, out) == (2, "")
    assert "it compares CPU time, in which the work of NPU is not; leave --device away" in messages


def test_a_share_of_the_processors_peak_is_only_told_of_the_processor(
    default_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("siamedge.export.arithmetic.peak_gmacs", lambda precision: 100.0)
    times = (Spread(1.0, 1.0, 1.0, 20), 1.0, Stages(0.1, 2.0, 0.1), 1.0, Contention(0.0, 0.0, None, 1))
    rows = [Row("openvino", "fp32", device, 1, "pass", 1.0, 1.0, *times) for device in ("CPU", "NPU")]
    found = floor_of(Bundle.open(default_bundle), rows)
    assert found["share"] == {"openvino fp32": found["floor_ms"]["fp32"] / 2.0}
    assert floor_of(Bundle.open(default_bundle), rows[1:])["share"] == {}


def test_throttling_between_two_candidates_is_seen(
    siamedge: Run, default_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = iter([Health(50.0, False), Health(80.0, True), Health(60.0, False)])
    twice = [Candidate("onnxruntime", "fp32", "CPU", "pass")] * 2
    monkeypatch.setattr("siamedge.cli.bench.chosen", lambda *_, **__: twice)
    monkeypatch.setattr("siamedge.runtime.health.read_health", lambda: next(states))
    code, out, _ = siamedge("bench", default_bundle, "--updates", "20", "--no-cold", "--json")
    assert code == 3
    assert "the processor is throttled" in json.loads(out)["not_valid"]


def test_a_start_box_without_its_source_is_refused(siamedge: Run, default_bundle: Path) -> None:
    code, _, messages = siamedge("bench", default_bundle, "--init", "1,2,30,40")
    assert (code, "the target in a drawn scene is known; give --source too" in messages) == (2, True)


def test_the_default_network_is_refused_in_mode_opencv(siamedge: Run, default_bundle: Path) -> None:
    code, _, messages = siamedge("track", default_bundle, *KNOWN, "--mode", "opencv")
    assert code == 1
    assert messages.endswith(
        "siamedge: mode opencv runs NanoTrack v1 and v2, this is another network\n"
        "  try: leave --mode away: cv2.TrackerNano cannot run this network\n"
    )


def test_a_device_that_is_not_there_ends_track_unless_the_cpu_may_take_its_place(
    siamedge: Run, default_bundle: Path
) -> None:
    code, out, messages = siamedge("track", default_bundle, *KNOWN, "--device", "NPU", "--json")
    assert (code, out) == (1, "")
    assert "NPU" in messages
    code, out, messages = siamedge("track", default_bundle, *KNOWN, "--device", "NPU", "--json", "--allow-fallback")
    assert (code, len(out.splitlines())) == (0, 4)
    assert messages.startswith("--allow-fallback: the CPU instead of NPU: no backend can run ")
    assert " on CPU" in messages


@pytest.mark.parametrize("changed", [{}, {"onnxruntime": "1.0"}])
def test_the_cpu_may_take_the_place_of_a_device_that_was_tuned_and_has_gone(
    siamedge: Run, default_bundle: Path, changed: dict[str, str]
) -> None:
    bundle = Bundle.open(default_bundle)
    trial = Trial("onnxruntime", "fp32", "NPU", 1, None, None, "chosen")
    made_for = {**fingerprint(), **changed}
    save(Tuning(SCHEMA, made_for, bundle_sha256(bundle), 30.0, (trial,), "fast"), record_path(bundle, "NPU"))
    asked = ("track", default_bundle, *KNOWN, "--device", "NPU", "--json")
    assert siamedge(*asked)[:2] == (1, "")
    code, out, messages = siamedge(*asked, "--allow-fallback")
    assert (code, len(out.splitlines())) == (0, 4)
    assert "--allow-fallback: the CPU instead of NPU: no backend can run " in messages


def test_a_cache_folder_that_cannot_be_looked_into_is_no_error(
    siamedge: Run, default_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIAMEDGE_CACHE", "c" * 300)
    assert siamedge("track", default_bundle, *KNOWN).code == 0


def test_a_table_in_a_terminal_of_80_columns_loses_no_digit(
    siamedge: Run, default_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = siamedge("bench", default_bundle, "--updates", "20", "--minutes", "0.001")
    heading, _, *rows = out.splitlines()[1:]
    assert heading.split() == [
        "backend",
        "p50",
        "p95",
        "p99",
        "last",
        "CPU",
        "crop",
        "net",
        "post",
        "peak",
        "init",
        "cold",
        "MiB",
    ]
    assert all(len(row.split()) == 14 for row in rows if row.startswith(("tflite", "openvino", "onnxruntime")))
    assert "…" not in out
    assert max(len(heading), len(rows[0])) <= 80


def test_bench_measures_the_cpu_in_place_of_a_device_that_is_not_there(siamedge: Run, default_bundle: Path) -> None:
    plan = ("--device", "NPU", "--updates", "20", "--no-cold", "--json")
    assert siamedge("bench", default_bundle, *plan)[0] == 1
    code, out, messages = siamedge("bench", default_bundle, *plan, "--allow-fallback")
    assert code in (0, 3)
    assert len(json.loads(out)["rows"]) == 1
    assert "--allow-fallback: the CPU instead of NPU: " in messages
