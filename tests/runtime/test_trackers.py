"""The trackers over sessions whose responses are known: where they move, and what they refuse."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from siamedge.runtime.backends.backend import Model
from siamedge.runtime.backends.fake_backend import FakeSession
from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.tensors import Array, TensorSpec
from siamedge.runtime.tracking.anchor_free import AnchorFreeTracker
from siamedge.runtime.tracking.params import AnchorFreeParams, SiamFCParams
from siamedge.runtime.tracking.siamfc import SiamFCTracker

NANO = AnchorFreeParams(127, 255, 16, 16, -128.0, "softmax", 0.49, 0.15, 0.385)
GRAY: Image = np.full((240, 320, 3), 120, np.uint8)
KERNEL = TensorSpec("kernel", (1, 8, 4), "float32", "NPC")


def session(
    inputs: list[TensorSpec], outputs: list[TensorSpec], compute: Callable[..., Mapping[str, Array]]
) -> FakeSession:
    return FakeSession(Model("fake", "fp32", b"", b"", tuple(inputs), tuple(outputs)), compute)


def template_of(side: int, crops: list[Array]) -> FakeSession:
    def compute(feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        crops.append(feeds["template"].copy())
        return {"kernel": np.ones(KERNEL.shape, np.float32)}

    return session([TensorSpec("template", (1, side, side, 3), "uint8", "NHWC")], [KERNEL], compute)


def nano(cell: tuple[int, int], half_px: float, crops: list[Array] | None = None) -> AnchorFreeTracker:
    """A tracker whose network sees the target in one cell, with a square box of 2 * half_px crop pixels."""
    seen: list[Array] = [] if crops is None else crops
    cls = np.full((1, 2, 16, 16), -6, np.float32)
    cls[0, 1, cell[1], cell[0]] = 6
    cls[0, 0] *= -1
    cls[0, 0, cell[1], cell[0]] = -6
    log_ltrb = np.full((1, 4, 16, 16), np.log(half_px), np.float32)
    outputs = [
        TensorSpec("cls", cls.shape, "float32", "NCHW"),
        TensorSpec("log_ltrb", log_ltrb.shape, "float32", "NCHW"),
    ]

    def compute(feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        seen.append(feeds["search"].copy())
        return {"cls": cls, "log_ltrb": log_ltrb}

    search = session([TensorSpec("search", (1, 255, 255, 3), "uint8", "NHWC"), KERNEL], outputs, compute)
    return AnchorFreeTracker(template_of(127, seen), search, NANO)


def test_a_peak_in_the_middle_cell_keeps_the_box() -> None:
    tracker = nano((8, 8), 127 / 4)
    tracker.init(GRAY, Box(100, 80, 40, 40))
    result = tracker.update(GRAY)
    assert tuple(result.box) == pytest.approx((100, 80, 40, 40), abs=1e-3)
    assert result.score == pytest.approx(1.0, abs=1e-4)
    assert not result.lost


def test_one_cell_to_the_right_moves_the_box_by_the_stride_in_the_image() -> None:
    tracker = nano((9, 8), 127 / 4)
    tracker.init(GRAY, Box(100, 80, 40, 40))
    assert tracker.update(GRAY).box.x == pytest.approx(100 + 16 * 80 / 127, abs=1e-3)


def test_the_center_stays_in_the_frame_and_the_side_above_ten_pixels() -> None:
    tracker = nano((9, 8), 20.0)
    tracker.init(GRAY, Box(300, 80, 12, 12))
    for _ in range(60):
        box = tracker.update(GRAY).box
    assert box.center.x == 320
    assert (box.w, box.h) == (10, 10)


def test_padding_has_the_color_of_the_first_frame() -> None:
    crops: list[Array] = []
    tracker = nano((8, 8), 127 / 4, crops)
    tracker.init(GRAY, Box(-10, -10, 40, 40))
    tracker.update(np.full_like(GRAY, 30))
    template, search = crops
    assert (template == 120).all()
    assert search[0, 0, 0].tolist() == [120, 120, 120]
    assert search[0, -1, -1].tolist() == [30, 30, 30]


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (Box(10, 10, 0, 5), "the start box is 0 x 5 pixels; a side has at least 1"),
        (Box(320, 10, 5, 5), "the start box 320,10,5,5 is outside the frame of 320 x 240 pixels"),
        (Box(float("nan"), 10, 5, 5), "the start box nan,10,5,5 has a side that is no number"),
    ],
)
def test_an_impossible_start_is_refused(box: Box, message: str) -> None:
    with pytest.raises(SourceError) as error:
        nano((8, 8), 30).init(GRAY, box)
    assert str(error.value) == message


def siamfc(response: Callable[[int], Array]) -> SiamFCTracker:
    """A tracker whose network answers the n-th search crop with response(n), (17, 17)."""
    calls = [0]

    def compute(feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        calls[0] += 1
        return {"response": response(calls[0] - 1)[None, None].astype(np.float32)}

    outputs = [TensorSpec("response", (1, 1, 17, 17), "float32", "NCHW")]
    search = session([TensorSpec("search", (1, 255, 255, 3), "uint8", "NHWC"), KERNEL], outputs, compute)
    return SiamFCTracker(template_of(127, []), search, SiamFCParams())


def bump(column: int, row: int, height: float) -> Array:
    y, x = np.mgrid[:17, :17]
    return height * np.exp(-((x - column) ** 2 + (y - row) ** 2) / 4.0)


def test_siamfc_keeps_a_centered_target() -> None:
    tracker = siamfc(lambda n: bump(8, 8, 1.0))
    tracker.init(GRAY, Box(100, 80, 40, 30))
    assert tuple(tracker.update(GRAY).box) == pytest.approx((100, 80, 40, 30), abs=0.5)


def test_siamfc_moves_by_the_stride_in_the_image() -> None:
    tracker = siamfc(lambda n: bump(10, 8, 1.0))
    tracker.init(GRAY, Box(100, 80, 40, 40))
    moved_px = tracker.update(GRAY).box.x - 100
    assert moved_px == pytest.approx(2 * 8 * 80 / 127, abs=1.0)


def test_siamfc_grows_when_the_larger_scale_wins_by_more_than_its_penalty() -> None:
    tracker = siamfc(lambda n: bump(8, 8, 1.0 if n % 3 < 2 else 1.2))
    tracker.init(GRAY, Box(100, 80, 40, 40))
    assert tracker.update(GRAY).box.w == pytest.approx(40 * (1 - 0.59 + 0.59 * 1.0375), rel=1e-5)


def test_siamfc_keeps_its_size_when_the_larger_scale_wins_by_less_than_its_penalty() -> None:
    tracker = siamfc(lambda n: bump(8, 8, 1.0 if n % 3 < 2 else 1.02))
    tracker.init(GRAY, Box(100, 80, 40, 40))
    assert tracker.update(GRAY).box.w == pytest.approx(40, rel=1e-6)
