"""`siamedge calibrate`: the same videos give the same set, export's reader takes it, and a seed chooses other crops."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny import make_network

from siamedge.export.calibration.choosing import choose_crops, name_of, read_crops, split
from siamedge.export.calibration.crop_sets import CalibrationSet
from siamedge.export.calibration.rollout import collect_crops
from siamedge.export.families.torch_session import one_torch_thread
from siamedge.export.int8.gate import Effort
from siamedge.export.pipeline import ExportRequest, check_request
from siamedge.runtime.errors import ExportError
from siamedge.runtime.sources.synthetic import SyntheticSource

NETWORK = make_network()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_torch_thread():
        yield


def no_progress(step: str) -> None:
    """Nobody is told."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    for frame in SyntheticSource(seed=5, frames=130):
        cv2.imwrite(str(folder / f"{frame.index:04d}.png"), frame.image)
    return folder


def test_equal_clips_give_equal_sets_and_a_file_keeps_them(clip: Path, tmp_path: Path) -> None:
    one, other = (collect_crops(NETWORK, [str(clip)], 24) for _ in range(2))
    assert one.sha256 == other.sha256
    assert len(one.searches) == 24
    assert len(one.templates) > 1
    one.save(tmp_path / "set.npz")
    again = read_crops(NETWORK, [str(tmp_path / "set.npz")], 5, no_progress)
    assert again.sha256 == one.sha256
    assert len({crop.tobytes() for crop in again.searches}) == 24


def test_a_seed_chooses_other_crops_and_the_same_ones_again(clip: Path) -> None:
    even, seeded, again, other = (collect_crops(NETWORK, [str(clip)], 12, seed) for seed in (None, 1, 1, 2))
    assert seeded.sha256 == again.sha256
    assert len({item.sha256 for item in (even, seeded, other)}) == 3


def test_verification_takes_other_targets(clip: Path) -> None:
    crops = collect_crops(NETWORK, [str(clip)], 60)
    kept, apart = split(crops, 20)
    templates = [{crop.tobytes() for crop in half.templates} for half in (kept, apart)]
    assert not templates[0] & templates[1]
    assert len(kept.searches) + len(apart.searches) == 60


def test_one_target_is_not_divided_between_calibration_and_verification() -> None:
    """Five targets, of which a tracker took three templates each as they turned."""
    targets = np.repeat(np.arange(5), 3)
    crops = np.arange(15 * 8 * 8 * 3, dtype=np.uint8).reshape(15, 8, 8, 3)
    halves = split(CalibrationSet(crops, crops, np.arange(15), targets), 6)
    found = [set(half.target_of_search.tolist()) for half in halves]
    assert found == [{1, 2, 3}, {0, 4}]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("rtsp://admin:s3cret@camera/stream?token=TOP", "a stream"),
        ("http://host/b.avi?token=TOP", "a stream"),
        ("0", "a camera"),
    ],
)
def test_a_bundle_does_not_say_at_which_address_crops_were_taken(address: str, name: str) -> None:
    assert name_of(address) == name


def test_crops_of_other_clips_leave_the_whole_set_for_calibration(clip: Path, tmp_path: Path) -> None:
    crops = collect_crops(NETWORK, [str(clip)], 12)
    crops.save(tmp_path / "a.npz")
    chosen = choose_crops(NETWORK, [str(tmp_path / "a.npz")], [str(tmp_path / "a.npz")], no_progress, int8=True)
    assert chosen.calibration is not None
    assert chosen.calibration.sha256 == chosen.verification.sha256 == crops.sha256
    assert chosen.origin == "a.npz"


def test_a_set_among_videos_is_refused(clip: Path) -> None:
    with pytest.raises(ExportError) as caught:
        read_crops(NETWORK, ["a.npz", "b.mp4"], 5, no_progress)
    assert str(caught.value) == "2 calibration sources, one of them a set: a.npz, b.mp4"
    assert caught.value.hint == "give one .npz set, or videos and folders only"


def test_a_set_of_another_network_is_refused(tmp_path: Path) -> None:
    crops = CalibrationSet(
        np.zeros((1, 16, 16, 3), np.uint8), np.zeros((1, 48, 48, 3), np.uint8), np.zeros(1, np.int64)
    )
    crops.save(tmp_path / "other.npz")
    with pytest.raises(ExportError) as caught:
        read_crops(NETWORK, [str(tmp_path / "other.npz")], 5, no_progress)
    assert str(caught.value) == "calibration set: template crops are 16 px, the network takes 32 px"


def test_a_drop_needs_a_data_set() -> None:
    with pytest.raises(ExportError) as caught:
        check_request(ExportRequest(Path("a.siamedge"), effort=Effort(1), max_drop=0.01))
    assert str(caught.value) == "--max-drop needs --validation: annotated sequences to track on"
