"""A user's own recordings: reading them, cutting crops, scoring weights on them."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from siamedge.export.families.dart import Dart, DartConfig, save_dart
from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Box
from siamedge.runtime.sources.source import quiet_opencv
from siamedge.training.crops.annotated import cut_crop, cut_recordings, find_recordings
from siamedge.training.crops.store import CropStore
from siamedge.training.evaluation import evaluate


def write_recording(folder: Path, rows: list[str]) -> Path:
    (folder / "img").mkdir(parents=True)
    for index in range(len(rows)):
        picture = np.full((120, 160, 3), 60, np.uint8)
        cv2.rectangle(picture, (40 + 4 * index, 50), (59 + 4 * index, 69), (20, 200, 240), -1)
        cv2.imwrite(str(folder / "img" / f"{index:04d}.png"), picture)
    (folder / "groundtruth.txt").write_text("\n".join(rows) + "\n")
    return folder


def write_video(path: Path, rows: list[str]) -> None:
    quiet_opencv()
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for _ in rows:
        writer.write(np.full((48, 64, 3), 60, np.uint8))
    writer.release()
    path.with_suffix(".txt").write_text("\n".join(rows) + "\n")


def test_a_crop_is_centred_and_scaled_to_its_context() -> None:
    frame = np.zeros((100, 200, 3), np.uint8)
    frame[40:60, 90:110] = 255
    crop, valid, box = cut_crop(frame, Box(90, 40, 20, 20))
    assert (box.w, box.h) == (48, 48)  # the context of a square is twice its side
    assert box.center == (168, 168)
    assert valid == [0, 48, 336, 288]
    assert crop[168, 145:191].min() > 250
    assert crop[168, :140].max() < 20


def test_recordings_become_crops_and_absent_targets_are_skipped(tmp_path: Path) -> None:
    write_recording(tmp_path / "own/clip", ["40,50,20,20", "nan,nan,nan,nan", "48 50 20 20"])
    recordings = find_recordings(tmp_path / "own")
    store = CropStore([cut_recordings(recordings, tmp_path / "crops")])
    assert [crop.frame for crop in store.crops] == [0, 2]
    first = store.crops[0]
    # At 2.4 px a pixel, of the crop's 336 px: 120 rows in the middle, and columns from x = 168 - 2.4 * 50 to its end.
    assert first.image.shape == (288, 288, 3)
    x, y = first.box.center
    assert first.image[round(y), round(x)].tolist() == [20, 200, 240]


def test_crops_are_spread_over_a_recording_from_first_to_last(tmp_path: Path) -> None:
    write_recording(tmp_path / "clip", ["40,50,20,20"] * 9)
    store = CropStore([cut_recordings(find_recordings(tmp_path), tmp_path / "crops", crops_each=3)])
    assert [crop.frame for crop in store.crops] == [0, 4, 8]


def test_crops_of_other_recordings_or_other_boxes_are_cut_again(tmp_path: Path) -> None:
    rows = ["40,50,20,20"] * 3
    first = write_recording(tmp_path / "first", rows)
    second = write_recording(tmp_path / "second", [*rows, rows[0]])

    def frames_of(recording: Path) -> list[int]:
        return [
            crop.frame for crop in CropStore([cut_recordings(find_recordings(recording), tmp_path / "crops")]).crops
        ]

    assert frames_of(first) == [0, 1, 2]
    made = (tmp_path / "crops/annotations.jsonl").stat().st_mtime_ns
    assert frames_of(first) == [0, 1, 2]
    assert (tmp_path / "crops/annotations.jsonl").stat().st_mtime_ns == made
    assert frames_of(second) == [0, 1, 2, 3]
    (second / "groundtruth.txt").write_text("40,50,20,20\n" * 3 + "nan\n")
    assert frames_of(second) == [0, 1, 2]
    assert not (tmp_path / "crops.part").exists()


def test_a_run_that_is_begun_is_not_given_other_crops(tmp_path: Path) -> None:
    recording = write_recording(tmp_path / "clip", ["40,50,20,20"] * 3)
    cut_recordings(find_recordings(recording), tmp_path / "crops", is_begun=True)
    made = (tmp_path / "crops/annotations.jsonl").read_bytes()
    cut_recordings(find_recordings(recording), tmp_path / "crops", is_begun=True)
    (recording / "groundtruth.txt").write_text("40,50,20,20\n" * 2 + "44,50,20,20\n")
    with pytest.raises(SourceError, match=r"crops: cut from other frames or boxes than the recordings have"):
        cut_recordings(find_recordings(recording), tmp_path / "crops", is_begun=True)
    assert (tmp_path / "crops/annotations.jsonl").read_bytes() == made


def test_frames_in_which_the_data_set_says_that_the_target_is_hidden_are_skipped(tmp_path: Path) -> None:
    """As LaSOT does, whose rows of such frames hold a box all the same."""
    folder = write_recording(tmp_path / "data/clip", ["40,50,20,20"] * 4)
    (folder / "full_occlusion.txt").write_text("0,1,1,0")
    (recording,) = find_recordings(tmp_path / "data")
    assert (recording.name, recording.frames) == ("clip", (0, 3))
    (folder / "full_occlusion.txt").write_text("1,1,1,1")
    with pytest.raises(SourceError, match=r"^clip: the data set says of each frame"):
        find_recordings(tmp_path / "data")


def test_a_box_outside_its_frame_is_named(tmp_path: Path) -> None:
    recording = write_recording(tmp_path / "clip", ["40,50,20,20", "150,110,20,20", "160,50,20,20"])
    message = r"^clip: row 3 of its boxes: 160, 50, 20, 20 lies outside the frame of 160 x 120 px$"
    with pytest.raises(SourceError, match=message):
        cut_recordings(find_recordings(recording), tmp_path / "crops")
    assert not (tmp_path / "crops").exists()


def test_videos_beside_folders_are_found_too(tmp_path: Path) -> None:
    write_recording(tmp_path / "clip", ["40,50,20,20"] * 3)
    write_video(tmp_path / "film.avi", ["1,2,3,4", "nan,nan,nan,nan", "1,2,3,4"])
    assert {recording.name: recording.frames for recording in find_recordings(tmp_path)} == {
        "clip": (0, 1, 2),
        "film": (0, 2),
    }


def test_a_row_that_is_no_box_is_named(tmp_path: Path) -> None:
    recording = write_recording(tmp_path / "clip", ["40,50,20,20", "40,50,20"])
    with pytest.raises(SourceError, match=r"groundtruth\.txt:2: 3 numbers, expected 4 or 8"):
        find_recordings(recording)


def test_a_folder_without_recordings_is_a_source_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="layout not recognised"):
        find_recordings(tmp_path)


def test_weights_are_scored_on_recordings(tmp_path: Path) -> None:
    config = DartConfig(layers=((4, 2), (8, 2), (8, 2), (8, 2)), channels=8, head=8, tower=1)
    save_dart(Dart(config), tmp_path / "a.safetensors")
    recording = write_recording(tmp_path / "clip", ["40,50,20,20", "44,50,20,20"])
    (score,) = evaluate(tmp_path / "a.safetensors", find_recordings(recording))
    assert score.name == "clip"
    assert 20 / 21 / 2 <= score.area <= 20 / 21


def test_a_tracker_is_judged_on_the_stretch_alone(tmp_path: Path) -> None:
    config = DartConfig(layers=((4, 2), (8, 2), (8, 2), (8, 2)), channels=8, head=8, tower=1)
    save_dart(Dart(config), tmp_path / "a.safetensors")
    (whole,) = find_recordings(write_recording(tmp_path / "clip", ["40,50,20,20"] * 4))
    last = whole._replace(frames=(3,))
    assert last.name == "clip 3-3"
    assert evaluate(tmp_path / "a.safetensors", [last])[0].area == pytest.approx(20 / 21)
