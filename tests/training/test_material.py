"""What is trained on and what is held out."""

import json
from pathlib import Path

import numpy as np
import pytest

from siamedge.export.evaluation.sequences import Sequence
from siamedge.runtime.errors import SourceError
from siamedge.training.crops.annotated import Recording
from siamedge.training.crops.material import Material, divide, gather
from siamedge.training.crops.store import matches, read_rows
from siamedge.training.crops.synthetic import write_synthetic


def recording(name: str, frames: int) -> Recording:
    boxes = np.tile([10.0, 10.0, 20.0, 20.0], (frames, 1))
    absent = np.zeros(frames, np.bool_)
    sequence = Sequence(name, tuple(Path(f"{name}/{i}.jpg") for i in range(frames)), boxes, 0, absent)
    return Recording(sequence, tuple(range(frames)))


def write_clip(folder: Path, frames: int) -> Path:
    (folder / "img").mkdir(parents=True)
    for index in range(frames):
        (folder / "img" / f"{index:04d}.jpg").touch()
    (folder / "groundtruth.txt").write_text("10,10,20,20\n" * frames)
    return folder


def names(recordings: tuple[Recording, ...] | list[Recording]) -> list[str]:
    return [item.name for item in recordings]


def test_every_fifth_recording_from_the_last_is_held_out() -> None:
    trained, held = divide([recording(f"r{number}", 20) for number in range(7)])
    assert names(held) == ["r1", "r6"]
    assert names(trained) == ["r0", "r2", "r3", "r4", "r5"]


def test_of_two_recordings_one_is_held_out() -> None:
    assert [names(part) for part in divide([recording("a", 20), recording("b", 20)])] == [["a"], ["b"]]


def test_a_single_recording_keeps_its_last_fifth_back() -> None:
    (trained,), (held,) = divide([recording("a", 20)])
    assert trained.frames == tuple(range(16))
    assert held.frames == tuple(range(16, 20))
    assert (trained.name, held.name) == ("a 0-15", "a 16-19")


def test_a_single_recording_of_nine_boxes_is_too_short() -> None:
    with pytest.raises(SourceError, match=r"^a: 9 frames with a box, 10 are needed$"):
        divide([recording("a", 9)])


def test_a_recording_that_is_named_judges_and_does_not_train(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_clip(tmp_path / name, 3)
    found = gather([tmp_path], [str(tmp_path / "b")])
    assert (names(found.trained), names(found.held_out)) == (["a", "c"], ["b"])


def test_nothing_is_left_when_all_is_held_out(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"^all recordings are held out$"):
        gather([write_clip(tmp_path / "a", 3)], [str(tmp_path / "a")])


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    write_synthetic(tmp_path / "drawn", tracks=11, frames=1, seed=0)
    return tmp_path / "drawn"


def test_every_fifth_track_of_crops_is_held_out_by_its_whole_name(drawn: Path) -> None:
    found = gather([drawn])
    assert found == Material(crop_roots=(drawn,), held_tracks=("synthetic_9$", "synthetic_4$", "synthetic_0$"))
    assert found.describe() == ["crops: drawn; held out: synthetic_9, synthetic_4, synthetic_0"]


def test_the_tracks_that_a_recipe_holds_out_are_held_out(drawn: Path) -> None:
    assert gather([drawn], usual=("synthetic_1", "OTB")).held_tracks == ("synthetic_1", "OTB")


def test_a_wish_is_the_start_of_a_name(drawn: Path) -> None:
    assert gather([drawn], ["synthetic_1"]).held_tracks == ("synthetic_1",)
    with pytest.raises(SourceError, match=r"^nothing to hold out at 'cat'$"):
        gather([drawn], ["cat"])


def test_a_dollar_wants_the_whole_name() -> None:
    assert matches("own_10", ("own_1",))
    assert not matches("own_10", ("own_1$",))
    assert matches("own_1", ("own_1$",))


def test_a_bad_row_is_named(tmp_path: Path) -> None:
    (tmp_path / "annotations.jsonl").write_text('{"image": "a.png"}\n')
    with pytest.raises(SourceError, match=r"annotations\.jsonl:1: no source, cls, track, box, valid$"):
        read_rows(tmp_path)
    (tmp_path / "annotations.jsonl").write_text(json.dumps(7) + "\n")
    with pytest.raises(SourceError, match=r"annotations\.jsonl:1: no JSON object"):
        read_rows(tmp_path)
