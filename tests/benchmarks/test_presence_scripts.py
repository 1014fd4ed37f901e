"""Scenes of clips and the scripts about presence: exact boxes, figures worked out by hand, nothing written over."""

from collections.abc import Callable
from pathlib import Path

import clips
import cv2
import harder_scenes
import numpy as np
import pasted_scenes
import presence
import presence_regression
import presence_scenes
import pytest
from scenes import LENGTH, PatchTracker, truth_box, write_scene

from siamedge.runtime.errors import SourceError

Script = Callable[..., str]


@pytest.mark.parametrize(("name", "one_based"), [("mine", False), ("OTB_patch", True), ("UAV_patch", True)])
def test_a_clips_boxes_count_from_0(tmp_path: Path, name: str, one_based: bool) -> None:
    clip = clips.load(write_scene(tmp_path / name, one_based=one_based))
    assert [tuple(box) for box in clip.boxes] == [tuple(truth_box(index)) for index in range(LENGTH)]
    assert len(clip.images) == LENGTH


def test_a_clip_of_one_frame_is_refused(tmp_path: Path) -> None:
    (folder := tmp_path / "still" / "img").mkdir(parents=True)
    cv2.imwrite(str(folder / "1.png"), np.zeros((32, 32, 3), np.uint8))
    (folder.parent / "groundtruth.txt").write_text("1,2,10,10\n")
    with pytest.raises(SourceError, match="1 frame, a clip has at least two"):
        clips.load(folder.parent)


def test_harder_scenes_writes_three_suites_and_nothing_over_them(script: Script, tmp_path: Path) -> None:
    write_scene(tmp_path / "clips/a")
    out = script("harder_scenes", tmp_path / "clips", "out")
    assert out == "1 of 1\nno box in the first frame, or fewer than 8, left out: s4 of a (3)\n"
    low = clips.load(Path("out/low/000"))
    assert len(low.images) == LENGTH
    assert len(clips.load(Path("out/roll/000")).boxes) == LENGTH
    with pytest.raises(SystemExit, match=r"harder_scenes\.py: out/roll: is there already"):
        script("harder_scenes", tmp_path / "clips", "out")
    with pytest.raises(SystemExit, match="nope: no clips in it"):
        script("harder_scenes", "nope", "other")


def test_the_box_of_a_turned_target_is_that_of_its_ellipse() -> None:
    quarter = cv2.getRotationMatrix2D((50, 50), 90, 1.0)
    size = np.array([100, 100])
    turned = harder_scenes.turned_box(np.array([60.0, 40, 20, 10]), quarter, size)
    assert turned == pytest.approx([40, 20, 10, 20], abs=0.2)
    eighth = harder_scenes.turned_box(np.array([40.0, 40, 20, 20]), cv2.getRotationMatrix2D((50, 50), 45, 1.0), size)
    assert eighth == pytest.approx([40, 40, 20, 20], abs=0.2)  # a circle
    assert np.isnan(
        harder_scenes.turned_box(np.array([90.0, 40, 20, 10]), np.array([[1.0, 0, 9], [0, 1, 0]]), size)
    ).all()


def test_a_pasted_object_is_where_its_box_says(tmp_path: Path) -> None:
    clip = clips.load(write_scene(tmp_path / "a"))
    still = pasted_scenes.Path2D(20, (0, 0), (0.1, 0.1), (0, 0), 0, 0, 50)
    behind = clip._replace(images=[np.zeros_like(clip.images[0])] * 2)
    frames = list(pasted_scenes.scene(clip, behind, still))
    assert len(frames) == 4  # twice those behind
    for image, (x, y, w, h) in frames:
        rows, columns = np.nonzero(image.max(axis=2) > 60)
        assert (columns.min(), rows.min()) == pytest.approx((x, y), abs=2)
        assert (columns.max() + 1, rows.max() + 1) == pytest.approx((x + w, y + h), abs=2)


def test_clips_that_are_too_short_to_paste_are_named(script: Script, tmp_path: Path) -> None:
    write_scene(tmp_path / "clips/a")
    out = script("pasted_scenes", tmp_path / "clips", "out")
    assert out == "1 of 1\nfewer than 50 frames, left out: move of a (12), turn of a (12)\n"


def test_a_gone_target_is_absent_for_twenty_frames_and_comes_back(tmp_path: Path) -> None:
    clip = clips.load(write_scene(tmp_path / "a"))
    longer = clip._replace(images=clip.images * 5, boxes=np.tile(clip.boxes, (5, 1)))
    away = presence_scenes.gone(longer, longer)
    absent = np.flatnonzero(np.isnan(away.boxes).any(axis=1))
    assert absent.tolist() == list(range(30, 50))
    x, y, w, h = (int(side) for side in longer.boxes[31])
    assert (away.images[31][y : y + h, x : x + w] != longer.images[31][y : y + h, x : x + w]).mean() > 0.5
    assert (away.images[29] == longer.images[29]).all()


def test_figures_of_presence_by_hand() -> None:
    assert presence_regression.roc_auc(np.array([0.9, 0.5]), np.array([0.5, 0.1])) == 3.5 / 4
    assert np.isnan(presence_regression.roc_auc(np.array([0.9]), np.array([])))
    assert presence.success_auc(np.array([0.52, np.nan, 0.0])) == pytest.approx((20 + 11 + 0) / 21 / 3)
    here = np.array([1, 0, 0, 1, 1, 1, 0, 1], bool)
    lost = np.array([0, 1, 1, 1, 0, 0, 1, 1], bool)
    overlap = np.array([0.9, np.nan, np.nan, 0.0, 0.1, 0.8, np.nan, 0.0])
    assert presence.returns(presence.Run(here, here * 1.0, lost, overlap)) == [2, None]


def test_a_regression_finds_the_odds_that_rows_were_drawn_with() -> None:
    random = np.random.default_rng(0)
    inputs = random.normal(0, 2, (4000, 2))
    truth = random.random(4000) < 1 / (1 + np.exp(-(0.5 + inputs @ [1.5, -0.5])))
    found = presence_regression.logistic(inputs, truth.astype(float), np.ones(4000))
    assert found == pytest.approx([0.5, 1.5, -0.5], abs=0.15)


def test_presence_of_a_tracker_that_never_loses_its_target(
    script: Script, tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "open_tracker", lambda *_: PatchTracker())
    monkeypatch.setattr(presence, "watch", lambda tracker, *_: tracker)
    write_scene(tmp_path / "set/a")
    out = script("presence", tiny_bundle, "--sequences", tmp_path / "set", "--kinds", "plain,black")
    assert "a                            plain   overlap 1.000 lost when there 0.000" in out
    assert "black   overlap 1.000 lost when there 0.000  lost when away 1.000" in out
    assert "false lost 0.0000 of frames" in out
    assert "success AUC of 1 always-present sequences: plain 0.9524, watching 0.9524" in out


def test_presence_without_a_sequence_that_is_always_there_says_nan(
    script: Script, tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "open_tracker", lambda *_: PatchTracker())
    monkeypatch.setattr(presence, "watch", lambda tracker, *_: tracker)
    folder = write_scene(tmp_path / "set/a")
    lines = (folder / "groundtruth.txt").read_text().splitlines()
    (folder / "groundtruth.txt").write_text("\n".join([*lines[:-1], "nan,nan,nan,nan"]) + "\n")
    out = script("presence", tiny_bundle, "--sequences", tmp_path / "set", "--kinds", "plain")
    assert "false lost nan of frames" in out
    assert "success AUC of 0 always-present sequences: plain nan, watching nan" in out


@pytest.mark.parametrize(
    ("kinds", "message"), [("scene", "'scene' lacks plain"), ("plain,noon", "'noon', expected some of plain,fast")]
)
def test_kinds_that_there_are_not_are_refused(
    script: Script, capfd: pytest.CaptureFixture[str], kinds: str, message: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        script("presence", "a.siamedge", "--sequences", "x", "--kinds", kinds)
    assert (stop.value.code, message in capfd.readouterr().err) == (2, True)
