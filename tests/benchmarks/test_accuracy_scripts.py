"""Scripts that measure boxes: which frames count, what is kept of a table, and small numbers worked out by hand."""

import json
from collections.abc import Callable
from pathlib import Path

import accuracy_table
import large_targets
import numpy as np
import pytest
import start_boxes
from scenes import LENGTH, PatchTracker, truth_box, write_scene

from siamedge.export.evaluation.datasets import open_dataset
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.geometry import intersection_over_union

Script = Callable[..., str]
IDENTITY = ("--bundle", "identity", "--backends", "onnxruntime", "--precisions", "fp32", "--output", "out/table")


def hide(folder: Path, *frames: int) -> Path:
    """Make frames of a sequence lack their box."""
    lines = (folder / "groundtruth.txt").read_text().splitlines()
    hidden = ["nan,nan,nan,nan" if index in frames else line for index, line in enumerate(lines)]
    (folder / "groundtruth.txt").write_text("\n".join(hidden) + "\n")
    return folder


@pytest.mark.parametrize("hidden", [(), (3, 4, 7)])
def test_frames_without_a_box_do_not_count_in_large_targets(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, hidden: tuple[int, ...]
) -> None:
    monkeypatch.setattr(large_targets, "open_tracker", lambda *_: PatchTracker())
    monkeypatch.setattr(large_targets, "pick", lambda *_, **__: large_targets)
    monkeypatch.setattr(large_targets, "choice", None, raising=False)
    (sequence,) = open_dataset(hide(write_scene(tmp_path / "OTB_patch", one_based=True), *hidden))
    large, plain, ours = large_targets.overlaps(Bundle.open(tiny_bundle), sequence, 2.0, 120)
    assert (large, plain, ours) == (0.0, 1.0, 1.0)
    assert large_targets.overlaps(Bundle.open(tiny_bundle), sequence, 4.0, 120)[0] == 1.0


def test_large_targets_tells_the_mean_of_all_runs() -> None:
    results = {"a": [(1.0, 0.5, 0.75), (0.0, 0.5, 0.25)], "b": [(0.5, 0.5, 1.0), (0.5, 0.25, 0.75)]}
    assert large_targets.row("a", results["a"]) == "| a | 50% | 0.500 | 0.500 |"
    assert "Of 4 runs: mean difference +0.2500, its standard error 0.1768, median +0.3750" in large_targets.summary(
        results
    )


def test_accuracy_is_that_of_the_boxes(script: Script, tmp_path: Path) -> None:
    write_scene(tmp_path / "set/a")
    hide(write_scene(tmp_path / "set/b", seed=1), 5, 6, 7)
    out = script("accuracy", tmp_path / "set", *IDENTITY)
    overlaps = np.array([intersection_over_union(truth_box(0), truth_box(index)) for index in range(LENGTH)])
    bins = np.linspace(0, 1, 21)
    whole, seen = ((values[:, None] > bins).mean() for values in (overlaps, np.delete(overlaps, (5, 6, 7))))
    (row,) = json.loads(Path("out/table.json").read_text())["rows"]
    assert row["auc_by_sequence"] == pytest.approx({"a": whole, "b": seen * 9 / 12})
    assert row["scores"]["auc"]["value"] == pytest.approx((whole + seen * 9 / 12) / 2)
    assert row["auc_present"] == pytest.approx((whole + seen) / 2)
    assert "numpy" in row["versions"]
    line = f"| identity | onnxruntime | fp32 | {row['scores']['auc']['value']:.3f} ["
    assert line in out
    assert line in Path("out/table.md").read_text()


def test_rows_of_others_are_kept_and_figures_outlive_an_error(script: Script, tmp_path: Path) -> None:
    write_scene(tmp_path / "set/a")
    script("accuracy", tmp_path / "set", *IDENTITY)
    (row,) = json.loads(Path("out/table.json").read_text())["rows"]
    failed = {key: row[key] for key in ("tracker", "backend", "precision")} | {"error": "not installed"}
    better, other = row | {"auc_present": 1.0}, row | {"tracker": "other"}
    assert accuracy_table.merged([row, other], [failed]) == [row, other]
    assert accuracy_table.merged([row, other], [better]) == [better, other]
    assert accuracy_table.merged([failed], [row]) == [row]
    assert accuracy_table.merged([other], [failed]) == [other, failed]


@pytest.mark.parametrize("second", ["other/a", "set/b"])
def test_a_table_of_other_sequences_is_not_overwritten(script: Script, tmp_path: Path, second: str) -> None:
    write_scene(tmp_path / "set/a")
    script("accuracy", tmp_path / "set", *IDENTITY)
    before = Path("out/table.json").read_bytes()
    folder = write_scene(tmp_path / second).parent
    with pytest.raises(SystemExit, match=r"table\.json: holds figures of set, which are of other sequences than"):
        script("accuracy", folder, *IDENTITY)
    assert Path("out/table.json").read_bytes() == before


def test_a_bundle_that_is_not_there_is_no_row(script: Script, tmp_path: Path) -> None:
    write_scene(tmp_path / "set/a")
    with pytest.raises(SystemExit, match=r"accuracy\.py: nope\.siamedge: no such bundle"):
        script("accuracy", tmp_path / "set", "--bundle", "nope.siamedge", *IDENTITY[2:])
    assert not Path("out").exists()


def test_every_start_is_within_a_pixel_and_not_scored(script: Script, tmp_path: Path) -> None:
    (sequence,) = open_dataset(hide(write_scene(tmp_path / "set/a"), 0, 1))
    moved = start_boxes.moved(sequence, np.random.default_rng(0)).boxes - sequence.boxes
    assert np.isnan(moved[:2]).all()
    assert (abs(moved[2]) > 0).all()
    assert (abs(moved[2]) <= 1).all()
    assert (moved[3:] == 0).all()
    script("start_boxes", tmp_path / "set", "--bundle", "identity", "--backend", "onnxruntime", "--starts", "3")
    found = json.loads(Path("docs/results/start_boxes.json").read_text())["measured"]
    assert len(found["identity"]["a"]) == 3
    assert start_boxes.rows(found) == Path("docs/results/start_boxes.md").read_text().splitlines()[-2:]


def test_a_jump_between_starts_is_marked_and_means_are_over_sequences() -> None:
    table = {"x": {"a": [0.5, 0.25, 0.75], "b": [0.5, 0.54, 0.46]}}
    assert start_boxes.rows(table) == [
        "| x | **a** | 0.500 | 0.250 | 0.500 | 0.750 |",
        "| x | b | 0.500 | 0.460 | 0.500 | 0.540 |",
        "| x | **mean** | 0.500 | 0.395 | 0.500 | 0.605 |",
    ]


def test_one_start_is_no_comparison(script: Script, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        script("start_boxes", "set", "--bundle", "identity", "--starts", "1")
    message = "argument --starts: '1', expected a whole number of at least 2"
    assert (stop.value.code, message in capfd.readouterr().err) == (2, True)
