"""Calibration sets keep their content and refuse what is not crops."""

import resource
from pathlib import Path

import numpy as np
import pytest
from small_network import make_calibration

from siamedge.export.calibration.crop_sets import CalibrationSet
from siamedge.runtime.errors import ExportError

CROPS = np.zeros((2, 8, 8, 3), np.uint8)
PAIRS = np.zeros(2, np.int64)


def test_a_set_survives_the_file_and_keeps_its_digest(tmp_path: Path) -> None:
    calibration = make_calibration(3)
    calibration.save(tmp_path / "set.npz")
    again = CalibrationSet.load(tmp_path / "set.npz")
    assert again.sha256 == calibration.sha256
    np.testing.assert_array_equal(again.searches, calibration.searches)


def test_a_full_disk_leaves_the_set_that_was_there(tmp_path: Path) -> None:
    """Files of 100 bytes at most, as on a full disk."""
    path, limits = tmp_path / "set.npz", resource.getrlimit(resource.RLIMIT_FSIZE)
    make_calibration(1).save(path)
    before = path.read_bytes()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        with pytest.raises(OSError, match="large"):
            make_calibration(2).save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_targets_of_templates_stay_with_them_and_those_of_another_set_are_others(tmp_path: Path) -> None:
    own = CalibrationSet(np.stack([CROPS[0]] * 3), CROPS, np.array([0, 2]), np.array([4, 4, 5]))
    own.save(tmp_path / "set.npz")
    assert CalibrationSet.load(tmp_path / "set.npz").target_of_search.tolist() == [4, 5]
    assert own.subset([1]).target_of_template.tolist() == [5]
    assert own.joined(own).target_of_search.tolist() == [4, 5, 10, 11]
    assert CalibrationSet(CROPS, CROPS, np.array([1, 0])).target_of_search.tolist() == [1, 0]


def test_the_digest_depends_on_every_array() -> None:
    base = CalibrationSet(CROPS, CROPS, PAIRS)
    others = (CROPS + 1, CROPS, PAIRS), (CROPS, CROPS + 1, PAIRS), (CROPS, CROPS, PAIRS + 1)
    assert len({base.sha256, *(CalibrationSet(*arrays).sha256 for arrays in others)}) == 4


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((CROPS[0], CROPS, PAIRS), "templates is uint8 (8, 8, 3), expected uint8 (N, side, side, 3) with N >= 1"),
        ((CROPS, CROPS[:, :4], PAIRS), "searches is uint8 (2, 4, 8, 3), expected uint8 (N, side, side, 3) with N >= 1"),
        (
            (CROPS.astype(np.float32), CROPS, PAIRS),
            "templates is float32 (2, 8, 8, 3), expected uint8 (N, side, side, 3) with N >= 1",
        ),
        (
            (CROPS, CROPS[:0], PAIRS[:0]),
            "searches is uint8 (0, 8, 8, 3), expected uint8 (N, side, side, 3) with N >= 1",
        ),
        ((CROPS, CROPS, PAIRS[:1]), "pairs is int64 (1,), expected int64 (2,)"),
        ((CROPS, CROPS, PAIRS + 2), "pairs has indices 2..2, there are 2 templates"),
        ((CROPS, CROPS, np.array([0, 2])), "pairs has indices 0..2, there are 2 templates"),
        ((CROPS, CROPS, np.array([-1, 1])), "pairs has indices -1..1, there are 2 templates"),
        ((CROPS, CROPS, PAIRS - 1), "pairs has indices -1..-1, there are 2 templates"),
    ],
)
def test_misshaped_arrays_are_named_with_both_shapes(arrays: tuple[np.ndarray, ...], message: str) -> None:
    with pytest.raises(ExportError) as caught:
        CalibrationSet(*arrays)
    assert str(caught.value) == f"calibration set: {message}"


def test_a_set_for_another_network_names_both_sides() -> None:
    with pytest.raises(ExportError) as caught:
        make_calibration(1).check_sizes(32, 255)
    assert str(caught.value) == "calibration set: search crops are 64 px, the network takes 255 px"


def test_files_that_are_no_sets_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    with pytest.raises(ExportError) as caught:
        CalibrationSet.load(path)
    assert str(caught.value) == f"{path}: no such file"
    path.write_bytes(b"not a zip file")
    with pytest.raises(ExportError, match="not a calibration set"):
        CalibrationSet.load(path)
    with path.open("wb") as file:
        np.savez(file, templates=CROPS)
    with pytest.raises(ExportError) as caught:
        CalibrationSet.load(path)
    assert str(caught.value) == f"{path}: no array pairs, searches in the calibration set"
    with path.open("wb") as file:
        np.savez(file, templates=CROPS, searches=CROPS, pairs=np.array([object(), object()]))
    with pytest.raises(ExportError, match="not a calibration set: Object arrays cannot be loaded"):
        CalibrationSet.load(path)
