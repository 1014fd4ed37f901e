"""SiamFC's post-processing against its formulas and hand-computed moves."""

import math
from collections.abc import Callable, Mapping

import cv2
import numpy as np
import pytest

from siamedge.runtime.backends.backend import Model
from siamedge.runtime.backends.fake_backend import FakeSession
from siamedge.runtime.geometry import Box
from siamedge.runtime.tensors import Array, TensorSpec
from siamedge.runtime.tracking.params import SiamFCParams
from siamedge.runtime.tracking.siamfc import ResponsePyramid, SiamFCTracker, cosine_window, scale_factors

PARAMS = SiamFCParams()
KERNEL = TensorSpec("kernel", (1, 36, 256), "float32", "NPC")
GRAY = np.full((240, 320, 3), 120, np.uint8)


def tracker_seeing(respond: Callable[[Array], Array], params: SiamFCParams = PARAMS) -> SiamFCTracker:
    """A tracker whose network turns a search crop (255, 255, 3) into a response (17, 17)."""

    def embed(feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        return {"kernel": np.ones(KERNEL.shape, np.float32)}

    def search(feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        return {"response": respond(feeds["search"][0])[None, None].astype(np.float32)}

    z, x = (TensorSpec(name, (1, s, s, 3), "uint8", "NHWC") for name, s in (("template", 127), ("search", 255)))
    response = TensorSpec("response", (1, 1, 17, 17), "float32", "NCHW")
    models = Model("z", "fp32", b"", b"", (z,), (KERNEL,)), Model("x", "fp32", b"", b"", (x, KERNEL), (response,))
    return SiamFCTracker(FakeSession(models[0], embed), FakeSession(models[1], search), params)


def bump(column: float, row: float) -> Array:
    y, x = np.mgrid[:17, :17]
    return np.exp(-((x - column) ** 2 + (y - row) ** 2) / 4)


def test_scales_are_a_geometric_row_around_one() -> None:
    assert scale_factors(PARAMS) == pytest.approx([1 / 1.0375, 1, 1.0375])
    assert scale_factors(SiamFCParams(scale_num=5, scale_step=2.0)) == pytest.approx([0.25, 0.5, 1, 2, 4])


def test_the_window_is_a_hann_window_of_sum_one() -> None:
    window = cosine_window(PARAMS)
    line = np.array([0.5 - 0.5 * math.cos(2 * math.pi * i / 271) for i in range(272)])
    np.testing.assert_allclose(window, np.outer(line, line) / np.outer(line, line).sum(), atol=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_the_peak_is_that_of_the_formulas(seed: int) -> None:
    responses = np.random.default_rng(seed).normal(0, 1, (3, 17, 17)).astype(np.float32)
    large = [cv2.resize(plane, (272, 272), interpolation=cv2.INTER_CUBIC).astype(float) for plane in responses]
    large[0], large[2] = large[0] * 0.9745, large[2] * 0.9745
    winner = max(range(3), key=lambda i: large[i].max())
    plane = large[winner] - large[winner].min()
    blended = (1 - 0.176) * plane / plane.sum() + 0.176 * cosine_window(PARAMS)
    row, column = divmod(int(blended.argmax()), 272)
    pyramid = ResponsePyramid(PARAMS)
    for scale, response in enumerate(responses):
        pyramid.add(scale, response)
    assert pyramid.best() == (winner, column - 135.5, row - 135.5)


def test_a_centered_peak_keeps_the_box() -> None:
    tracker = tracker_seeing(lambda crop: bump(8, 8))
    tracker.init(GRAY, Box(100, 80, 40, 30))
    assert tuple(tracker.update(GRAY).box) == pytest.approx((100, 80, 40, 30), abs=0.2)


def test_a_peak_two_cells_right_moves_by_two_strides() -> None:
    tracker = tracker_seeing(lambda crop: bump(10, 8), SiamFCParams(window_influence=0.0))
    tracker.init(GRAY, Box(100, 80, 40, 40))
    one_upsampled_cell_px = 0.5 * 80 / 127
    box = tracker.update(GRAY).box
    assert box.x == pytest.approx(100 + 2 * 8 * 80 / 127, abs=one_upsampled_cell_px)
    assert box.y == pytest.approx(80, abs=one_upsampled_cell_px)


def test_it_grows_when_the_target_fits_the_larger_crop_best() -> None:
    frame = np.zeros((240, 320, 3), np.uint8)
    frame[100:140, 140:180] = 255
    tracker = tracker_seeing(lambda crop: bump(8, 8) * (1000 - crop.mean()))
    tracker.init(frame, Box(140, 100, 40, 40))
    factor = 1 - 0.59 + 0.59 * 1.0375
    found = [tracker_size(tracker, frame) for _ in range(2)]
    assert found == [pytest.approx(40, rel=1e-6)] * 2, "a small gain does not outweigh the penalty"
    eager = tracker_seeing(lambda crop: bump(8, 8) * (100 - 5 * crop.mean()))
    eager.init(frame, Box(140, 100, 40, 40))
    assert tracker_size(eager, frame) == pytest.approx(40 * factor, rel=1e-6)


def tracker_size(tracker: SiamFCTracker, frame: Array) -> float:
    return tracker.update(frame).box.w


def test_the_center_stays_in_the_frame() -> None:
    tracker = tracker_seeing(lambda crop: bump(16, 16))
    tracker.init(GRAY, Box(280, 200, 60, 60))
    for _ in range(6):
        box = tracker.update(GRAY).box
    assert tuple(box.center) == (319.5, 239.5)


def test_a_start_box_partly_outside_is_padded_with_the_mean_color() -> None:
    seen: list[Array] = []
    frame = GRAY.copy()
    frame[:, 160:] = 20
    tracker = tracker_seeing(lambda crop: seen.append(crop.copy()) or bump(8, 8))
    tracker.init(frame, Box(-20, 100, 40, 40))
    tracker.update(frame)
    assert all((crop[:, :100] == 70).all() for crop in seen)
    assert all((crop[:, 140:] == 120).all() for crop in seen)


@pytest.mark.parametrize(("threshold", "is_lost"), [(None, False), (0.5, False), (1.5, True)])
def test_the_raw_peak_tells_loss_where_there_is_a_threshold(threshold: float | None, is_lost: bool) -> None:
    tracker = tracker_seeing(lambda crop: bump(8, 8), SiamFCParams(lost_below=threshold))
    tracker.init(GRAY, Box(100, 80, 40, 40))
    result = tracker.update(GRAY)
    assert (result.lost, result.score) == (is_lost, pytest.approx(1.0))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_response_without_numbers_keeps_the_box_and_is_lost(value: float) -> None:
    tracker = tracker_seeing(lambda crop: np.full((17, 17), value))
    tracker.init(GRAY, Box(100, 80, 40, 30))
    result = tracker.update(GRAY)
    assert tuple(result.box) == pytest.approx((100, 80, 40, 30))
    assert (result.score, result.lost) == (0.0, True)
