"""Calibration crops are what the tracker saw of the user's pictures, and unusable sources are named."""

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny import CONFIG, make_network

from siamedge.export.calibration.choosing import split
from siamedge.export.calibration.rollout import CropRecorder, collect_crops, read_targets
from siamedge.export.families.torch_session import one_torch_thread
from siamedge.runtime.errors import ExportError
from siamedge.runtime.geometry import Box
from siamedge.runtime.sources.recordings import clips_in
from siamedge.runtime.tracking.params import AnchorFreeParams

NETWORK = make_network()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty different pictures of 96 x 72 with noise."""
    random = np.random.default_rng(0)
    for i in range(40):
        cv2.imwrite(str(tmp_path / f"{i:03}.png"), random.integers(0, 256, (72, 96, 3), np.uint8))
    return tmp_path


def collect(*addresses: Path | str, count: int = 20):  # type: ignore[no-untyped-def] # noqa: ANN201
    with one_torch_thread():
        return collect_crops(NETWORK, [str(address) for address in addresses], count)


def refusal(*addresses: Path | str) -> tuple[str, str]:
    with pytest.raises(ExportError) as caught:
        collect(*addresses)
    return str(caught.value), caught.value.hint


def test_crops_have_the_network_s_sizes_and_equal_rollouts_equal_hashes(folder: Path) -> None:
    crops, again = collect(folder), collect(folder)
    assert crops.searches.shape == (20, CONFIG.search_px, CONFIG.search_px, 3)
    assert crops.templates.shape == (2, CONFIG.template_px, CONFIG.template_px, 3), "a new target after 30 frames"
    assert set(crops.pairs.tolist()) == {0, 1}
    assert crops.sha256 == again.sha256
    assert collect(folder, count=19).sha256 != crops.sha256


def test_the_first_template_is_the_annotated_target_with_its_context(folder: Path) -> None:
    (folder / "groundtruth.txt").write_text("40,30,16,16\n" + "nan,nan,nan,nan\n" * 39)
    crops = collect(folder)
    first = cv2.imread(str(folder / "000.png"))
    assert len(crops.templates) == 1
    np.testing.assert_array_equal(crops.templates[0], first[22:54, 32:64])


def test_a_search_crop_belongs_to_the_template_whose_kernels_it_was_fed() -> None:
    """Trackers keep kernels: here the first target's are fed again after the second's were made."""
    random = np.random.default_rng(3)
    recorder = CropRecorder(NETWORK)
    template, search = recorder.sessions()
    made = []
    for _ in range(2):
        crop = random.integers(0, 256, (1, CONFIG.template_px, CONFIG.template_px, 3)).astype(np.float32)
        made.append({name: value.copy() for name, value in template.run({"template": crop}).items()})
    crop = random.integers(0, 256, (1, CONFIG.search_px, CONFIG.search_px, 3)).astype(np.float32)
    for kernels in (made[1], made[0], made[1]):
        search.run({"search": crop, **{name: kernels[name] for name in NETWORK.kernels}})
    assert recorder.pairs == [1, 0, 1]


def test_boxes_outside_the_picture_are_passed_over(folder: Path) -> None:
    (folder / "groundtruth.txt").write_text("500,30,16,16\n" * 30 + "40,30,16,16\n" * 10)
    assert len(collect(folder).templates) == 1
    (folder / "groundtruth.txt").write_text("500,30,16,16\n" * 40)
    message = f"calibration: {folder}: fewer than 2 frames with a target"
    assert refusal(folder) == (message, "give a longer video")


def test_a_still_camera_gives_each_different_crop_once(folder: Path) -> None:
    for i in range(1, 40):
        (folder / f"{i:03}.png").write_bytes((folder / "000.png").read_bytes())
    crops = collect(folder)
    assert len({crop.tobytes() for crop in crops.searches}) == len(crops.searches)


@pytest.mark.parametrize("size_fit", [0.0, 0.5])
def test_one_picture_is_too_few(tmp_path: Path, size_fit: float) -> None:
    """Even if the tracker searches the first one, too, to fit its sizes."""
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((72, 96, 3), np.uint8))
    (tmp_path / "groundtruth.txt").write_text("40,30,16,16\n")
    assert isinstance(NETWORK.params, AnchorFreeParams)
    network = replace(NETWORK, params=NETWORK.params._replace(size_fit=size_fit))
    with pytest.raises(ExportError, match=f"^calibration: {tmp_path}: fewer than 2 frames with a target$"):
        collect_crops(network, [str(tmp_path)], 20)


def test_a_folder_without_images_is_told(tmp_path: Path) -> None:
    assert refusal(tmp_path) == (
        f"calibration: {tmp_path}: no images in this folder (.bmp .jpeg .jpg .png .webp)",
        "give the folder that holds the images themselves",
    )


def test_a_folder_of_clips_gives_the_crops_of_each(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    clips = tmp_path_factory.mktemp("clips")
    for name in ("2", "10"):
        shutil.copytree(folder, clips / name / "img")
    for path in (clips / "10" / "img").iterdir():
        cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    (clips / "notes.txt").write_text("not a clip")
    assert clips_in(str(clips)) == [str(clips / "2"), str(clips / "10")]
    each, all_of_them = (collect(*given) for given in ((clips / "2", clips / "10"), (clips,)))
    assert len(all_of_them.templates) == 2 * len(collect(folder).templates)
    assert np.array_equal(all_of_them.searches, each.searches)


def test_boxes_are_read_beside_a_video_and_in_a_folder(tmp_path: Path) -> None:
    rows = "1,2,3,4\n 5 6 7.5 8 \nnan,nan,nan,nan\n1,2,0,4\nnan\n1,2,4,2,4,6,1,6\n\n"
    (tmp_path / "groundtruth.txt").write_text(rows)
    (tmp_path / "a.txt").write_text(rows)
    expected = [Box(1, 2, 3, 4), Box(5, 6, 7.5, 8), None, None, None, Box(0.5, 1.5, 4, 5)]
    assert read_targets(str(tmp_path)) == read_targets(str(tmp_path / "a.mp4")) == expected
    assert read_targets(str(tmp_path / "b.mp4")) == []


@pytest.mark.parametrize("row", ["1,2,3", "x", "\x00\x01"])
def test_a_row_that_is_no_box_is_named(folder: Path, row: str) -> None:
    (folder / "groundtruth.txt").write_text(f"1,2,3,4\n{row}\n")
    message, _ = refusal(folder)
    assert message.startswith(f"calibration: {folder / 'groundtruth.txt'}:2: ")


def test_verification_crops_are_set_apart_from_calibration(folder: Path) -> None:
    crops = collect(folder)
    calibration, verification = split(crops, 5)
    kept, apart = ({crop.tobytes() for crop in half.searches} for half in (calibration, verification))
    assert (len(kept), len(apart)) == (15, 5)
    assert not kept & apart
