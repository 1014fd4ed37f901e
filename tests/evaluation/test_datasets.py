"""Every layout is recognised, and its boxes, frames, origins, absent frames and anchors are read."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from siamedge.export.annotations import read_boxes, rectangle_of_corners
from siamedge.export.evaluation.datasets import LAYOUTS, open_dataset, origin_of, recognise
from siamedge.export.evaluation.sequences import Sequence, read_frames, read_picture
from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Box
from siamedge.runtime.sources.recordings import ImageFolder
from siamedge.runtime.sources.source import SourceOptions

BOXES = "5,6,10,8\n6,6,10,8\n7,6,10,8\n"


def pictures(folder: Path, count: int = 3, name: str = "{:04d}.jpg") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, count + 1):
        cv2.imwrite(str(folder / name.format(number)), np.full((24, 32, 3), (40 * number) % 256, np.uint8))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def names(sequences: tuple[Sequence, ...]) -> list[str]:
    return [sequence.name for sequence in sequences]


def test_otb_takes_any_delimiter_and_is_one_based(tmp_path: Path) -> None:
    for name, text in (("Boy", BOXES.replace(",", "\t")), ("Car", BOXES), ("Dog", BOXES.replace(",", "  "))):
        pictures(tmp_path / name / "img")
        write(tmp_path / name / "groundtruth_rect.txt", text)
    assert recognise(tmp_path) == "otb"
    found = open_dataset(tmp_path)
    assert names(found) == ["Boy", "Car", "Dog"]
    assert {sequence.box(0) for sequence in found} == {Box(4, 5, 10, 8)}


def test_otb_makes_a_sequence_of_each_target(tmp_path: Path) -> None:
    pictures(tmp_path / "Jogging" / "img")
    write(tmp_path / "Jogging" / "groundtruth_rect.1.txt", BOXES)
    write(tmp_path / "Jogging" / "groundtruth_rect.2.txt", BOXES)
    assert names(open_dataset(tmp_path)) == ["Jogging.1", "Jogging.2"]


def test_otb_leaves_out_the_frames_that_the_benchmark_does_not_use(tmp_path: Path) -> None:
    pictures(tmp_path / "Football1" / "img", 76)
    write(tmp_path / "Football1" / "groundtruth_rect.txt", "1,1,9,9\n" * 74)
    (sequence,) = open_dataset(tmp_path)
    assert (len(sequence), sequence.frames[-1].name) == (74, "0074.jpg")


def test_dtb70_is_named_or_recognised_as_the_same_layout(tmp_path: Path) -> None:
    pictures(tmp_path / "Girl1" / "img", name="{:05d}.jpg")
    write(tmp_path / "Girl1" / "groundtruth_rect.txt", BOXES)
    assert names(open_dataset(tmp_path, "dtb70")) == names(open_dataset(tmp_path)) == ["Girl1"]


def test_uav123_cuts_stretches_out_of_a_video_as_its_script_says(tmp_path: Path) -> None:
    pictures(tmp_path / "data_seq" / "UAV123" / "bird1", 8, "{:06d}.jpg")
    pictures(tmp_path / "data_seq" / "UAV123" / "boat1", 3, "{:06d}.jpg")
    for name in ("bird1_1", "bird1_2", "boat1"):
        write(tmp_path / "anno" / "UAV123" / f"{name}.txt", BOXES)
    write(
        tmp_path / "configSeqs.m",
        "seqs={struct('name','bird1_1','path','C:\\data_seq\\UAV123\\bird1\\','startFrame',1,'endFrame',3,'nz',6),...\n"
        "struct('name','bird1_2','path','C:\\data_seq\\UAV123\\bird1\\','startFrame',5,'endFrame',7,'nz',6)};",
    )
    assert recognise(tmp_path) == "uav123"
    found = {sequence.name: sequence for sequence in open_dataset(tmp_path)}
    assert [path.name for path in found["bird1_2"].frames] == ["000005.jpg", "000006.jpg", "000007.jpg"]
    assert len(found["boat1"].frames) == 3


def test_uav123_without_the_table_asks_for_it(tmp_path: Path) -> None:
    pictures(tmp_path / "data_seq" / "UAV123" / "bird1", 8, "{:06d}.jpg")
    write(tmp_path / "anno" / "UAV123" / "bird1_1.txt", BOXES)
    with pytest.raises(SourceError, match="'bird1_1' is part of a longer video, and nothing says which frames"):
        open_dataset(tmp_path)


def test_got10k_reads_the_validation_set_and_which_frames_are_visible(tmp_path: Path) -> None:
    folder = tmp_path / "val" / "GOT-10k_Val_000001"
    pictures(folder, name="{:08d}.jpg")
    write(folder / "groundtruth.txt", BOXES)
    write(folder / "cover.label", "8\n0\n3\n")
    write(tmp_path / "val" / "list.txt", "GOT-10k_Val_000001\n")
    assert recognise(tmp_path) == "got10k"
    (sequence,) = open_dataset(tmp_path)
    assert sequence.absent.tolist() == [False, True, False]


def test_a_list_that_names_missing_sequences_is_an_error_with_both_numbers(tmp_path: Path) -> None:
    pictures(tmp_path / "a")
    write(tmp_path / "a" / "groundtruth.txt", BOXES)
    write(tmp_path / "list.txt", "a\nb\n")
    with pytest.raises(SourceError, match=r"list.txt: lists 2 sequences, 1 have no groundtruth.txt, first 'b'"):
        open_dataset(tmp_path)


def test_lasot_is_absent_where_occluded_or_out_of_view(tmp_path: Path) -> None:
    folder = tmp_path / "cat" / "cat-1"
    pictures(folder / "img", name="{:08d}.jpg")
    write(folder / "groundtruth.txt", BOXES)
    write(folder / "full_occlusion.txt", "0,1,0")
    write(folder / "out_of_view.txt", "0,0,1")
    assert recognise(tmp_path) == "lasot"
    (sequence,) = open_dataset(tmp_path)
    assert (sequence.name, sequence.absent.tolist()) == ("cat-1", [False, True, True])


def test_vot_reads_anchors_and_is_zero_based(tmp_path: Path) -> None:
    folder = tmp_path / "sequences" / "ants1"
    pictures(folder / "color", name="{:08d}.jpg")
    write(folder / "groundtruth.txt", "5,6,10,8\nnan,nan,nan,nan\n7,6,10,8\n")
    write(folder / "anchor.value", "1\n0\n-1\n")
    write(tmp_path / "sequences" / "list.txt", "ants1\n")
    assert recognise(tmp_path) == "vot"
    (sequence,) = open_dataset(tmp_path)
    assert sequence.anchors == {0: 1, 2: -1}
    assert sequence.box(0) == Box(5, 6, 10, 8)
    assert sequence.valid.tolist() == [True, False, True]


def test_a_quadrilateral_becomes_an_upright_box_of_its_centre() -> None:
    x, y, w, h = rectangle_of_corners(np.array([10.0, 10, 30, 10, 30, 20, 10, 20]))
    assert (x + w / 2, y + h / 2) == (20, 15)
    assert (w, h) == (21, 11)


def test_a_plain_folder_says_its_origin_in_a_file_or_by_its_name(tmp_path: Path) -> None:
    for name in ("OTB_Boy", "DAVIS_car", "mine"):
        pictures(tmp_path / name / "img")
        write(tmp_path / name / "groundtruth.txt", BOXES)
    assert recognise(tmp_path) == "plain"
    assert [sequence.origin for sequence in open_dataset(tmp_path)] == [0, 1, 0]
    write(tmp_path / "origin.txt", "1\n")
    assert [sequence.origin for sequence in open_dataset(tmp_path)] == [1, 1, 1]
    write(tmp_path / "mine" / "origin.txt", "0\n")
    assert [sequence.origin for sequence in open_dataset(tmp_path)] == [1, 1, 0]
    assert [sequence.origin for sequence in open_dataset(tmp_path, origin="zero")] == [0, 0, 0]


def test_a_wrong_origin_file_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "origin.txt", "one")
    with pytest.raises(SourceError, match=r"origin.txt: 'one', expected 0 or 1"):
        origin_of(tmp_path, "mine")


def test_one_sequence_is_a_data_set_too(tmp_path: Path) -> None:
    pictures(tmp_path / "mine" / "img")
    write(tmp_path / "mine" / "groundtruth.txt", BOXES)
    assert names(open_dataset(tmp_path / "mine")) == ["mine"]


def test_a_video_with_its_boxes_beside_it(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 30, (32, 24))
    for shade in (0, 100, 200):
        writer.write(np.full((24, 32, 3), shade, np.uint8))
    writer.release()
    write(tmp_path / "clip.txt", BOXES)
    for path in (tmp_path, tmp_path / "clip.avi"):
        (sequence,) = open_dataset(path)
        assert sequence.name == "clip"
        for order in (range(3), range(2, -1, -1)):
            shades = [float(picture.mean()) for picture in read_frames(sequence, order)]
            assert shades == pytest.approx([100 * index for index in order], abs=6)


def test_a_video_shorter_than_its_boxes_is_an_error_with_both_numbers(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 30, (32, 24))
    writer.write(np.zeros((24, 32, 3), np.uint8))
    writer.release()
    write(tmp_path / "clip.txt", BOXES)
    (sequence,) = open_dataset(tmp_path)
    with pytest.raises(SourceError, match=r"clip.avi: 1 frames, 3 are annotated"):
        list(read_frames(sequence, range(3)))


def test_pictures_and_boxes_must_match_in_number(tmp_path: Path) -> None:
    pictures(tmp_path / "mine" / "img", 2)
    write(tmp_path / "mine" / "groundtruth.txt", BOXES)
    with pytest.raises(SourceError, match="mine: 2 pictures and 3 boxes"):
        open_dataset(tmp_path)


def test_a_sequence_without_any_box_is_an_error(tmp_path: Path) -> None:
    pictures(tmp_path / "mine" / "img", 2)
    write(tmp_path / "mine" / "groundtruth.txt", "nan,nan,nan,nan\n0,0,0,0\n")
    with pytest.raises(SourceError, match="mine: no frame has a box"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no boxes in it"),
        ("1,2,3\n", "boxes.txt:1: 3 numbers, expected 4 or 8"),
        ("1,2,3,4\n1,2,x,4\n", "boxes.txt:2: could not convert string to float: 'x'"),
        ("m0,0,4,4,3,2\n", "boxes.txt:1: a mask, not a box"),
    ],
)
def test_a_bad_box_file_names_the_line(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path / "boxes.txt", text)
    with pytest.raises(SourceError) as caught:
        read_boxes(tmp_path / "boxes.txt")
    assert message in str(caught.value)


def test_a_missing_data_set_an_unknown_layout_and_an_unrecognised_folder_are_errors(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such data set"):
        open_dataset(tmp_path / "none")
    with pytest.raises(SourceError, match="unknown layout 'tc128'"):
        open_dataset(tmp_path, "tc128")
    with pytest.raises(SourceError, match="layout not recognised"):
        open_dataset(tmp_path)


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    pictures(tmp_path / "mine" / "img")
    write(tmp_path / "mine" / "groundtruth.txt", BOXES)
    (tmp_path / "mine" / "img" / "0002.jpg").write_bytes(b"no picture")
    (sequence,) = open_dataset(tmp_path)
    with pytest.raises(SourceError, match=r"0002.jpg: no picture that OpenCV can decode, or cut off"):
        list(read_frames(sequence, range(3)))


def test_pictures_are_taken_in_the_order_in_which_they_are_tracked(tmp_path: Path) -> None:
    pictures(tmp_path / "mine" / "img", 11, "{}.jpg")
    (tmp_path / "mine" / "img" / "._1.jpg").write_bytes(b"of another system")
    write(tmp_path / "mine" / "groundtruth.txt", "1,1,9,9\n" * 11)
    write(tmp_path / "._mine" / "groundtruth.txt", BOXES)
    (sequence,) = open_dataset(tmp_path)
    assert [int(path.stem) for path in sequence.frames] == list(range(1, 12))
    assert list(sequence.frames) == ImageFolder(str(tmp_path / "mine"), SourceOptions()).paths


def test_a_picture_that_is_cut_off_is_named(tmp_path: Path) -> None:
    pictures(tmp_path)
    content = (tmp_path / "0002.jpg").read_bytes()
    (tmp_path / "0002.jpg").write_bytes(content[: len(content) // 3 * 2])
    with pytest.raises(SourceError, match=r"0002\.jpg: no picture that OpenCV can decode, or cut off"):
        read_picture(tmp_path / "0002.jpg")
    with pytest.raises(SourceError, match=r"0009\.jpg: cannot be read \(No such file or directory\)"):
        read_picture(tmp_path / "0009.jpg")


def test_videos_beside_sequences_are_found_too_and_a_byte_order_mark_is_no_number(tmp_path: Path) -> None:
    pictures(tmp_path / "mine" / "img")
    write(tmp_path / "mine" / "groundtruth.txt", "\ufeff" + BOXES)
    (tmp_path / "film.avi").touch()
    write(tmp_path / "film.txt", "\ufeff" + BOXES)
    assert names(open_dataset(tmp_path)) == ["mine", "film"]
    assert names(open_dataset(tmp_path, "plain")) == ["mine"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_path_in_another_layout_than_the_named_one_is_told(tmp_path: Path, layout: str) -> None:
    pictures(tmp_path / "empty")
    write(tmp_path / "film.avi", "no box file beside it")
    for path in (tmp_path / "empty", tmp_path / "film.avi"):
        with pytest.raises(SourceError, match=f"no sequence in the layout '{layout}'"):
            open_dataset(path, layout)


def test_frames_of_a_video_after_its_last_box_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "film.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 30, (32, 24))
    for _ in range(5):
        writer.write(np.zeros((24, 32, 3), np.uint8))
    writer.release()
    write(tmp_path / "film.txt", BOXES)
    (sequence,) = open_dataset(tmp_path)
    assert len(sequence) == 3
    assert caplog.messages == ["film: 5 frames and 3 boxes; only those with a row are used"]
