"""A target that turns in the picture: the first look is turned as it is, when the score falls, and only then."""

from collections.abc import Mapping

import cv2
import numpy as np
import pytest

from siamedge.runtime.backends.backend import Model
from siamedge.runtime.backends.fake_backend import FakeSession
from siamedge.runtime.geometry import Box, Image, Point
from siamedge.runtime.tensors import Array, TensorSpec
from siamedge.runtime.tracking.anchor_free import AnchorFreeTracker
from siamedge.runtime.tracking.crops import Square, crop_square, square_around
from siamedge.runtime.tracking.params import AnchorFreeParams
from siamedge.runtime.tracking.turning import FirstLook, Turn, crop_with_room, room_px

PARAMS = AnchorFreeParams(32, 64, 8, 8, -28.0, "sigmoid", 0.0, 0.0, 0.0, turn_step_deg=30.0)
KERNEL = TensorSpec("kernel", (1, 1, 1), "float32", "NPC")
MAPS = [TensorSpec("cls", (1, 1, 8, 8), "float32", "NCHW"), TensorSpec("log_ltrb", (1, 4, 8, 8), "float32", "NCHW")]


def pattern(side: int) -> Image:
    """Smooth, and different in every direction."""
    noise = np.random.default_rng(0).integers(0, 255, (side // 8, side // 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)


def roomy(center: Point, side_px: float, template_px: int) -> Square:
    return square_around(center, side_px * room_px(template_px) / template_px)


def no_kernels(_: Image) -> Mapping[str, Array]:
    return {}


def test_a_look_turned_by_quarters_is_the_template_crop_turned() -> None:
    frame, center, padding = pattern(320), Point(160.0, 150.0), (0.0, 0.0, 0.0)
    look = FirstLook(crop_with_room(frame, roomy(center, 112.0, 112), 112, padding), 112, no_kernels, {})
    crop = np.empty((112, 112, 3), np.uint8)
    crop_square(frame, square_around(center, 112.0), crop, padding)
    for quarter in range(4):
        assert np.abs(look.turned(90.0 * quarter).astype(int) - np.rot90(crop, quarter)).max() <= 1


def test_a_turned_look_has_no_border_where_the_frame_goes_on() -> None:
    look = FirstLook(
        crop_with_room(np.full((300, 300, 3), 200, np.uint8), roomy(Point(150, 150), 90.0, 112), 112, (0,) * 3),
        112,
        no_kernels,
        {},
    )
    assert all((look.turned(float(angle)) == 200).all() for angle in range(0, 360, 15))


def test_each_angle_is_run_once() -> None:
    seen: list[Image] = []

    def run(crop: Image) -> Mapping[str, Array]:
        seen.append(crop)
        return {"kernel": crop[:1, :1, :1]}

    look = FirstLook(crop_with_room(pattern(320), roomy(Point(160, 160), 64.0, 32), 32, (0,) * 3), 32, run, {})
    first = look.kernels(30.0)
    assert look.kernels(30.0) is first
    assert look.kernels(60.0) is not first
    assert len(seen) == 2


def turn() -> Turn:
    look = FirstLook(crop_with_room(pattern(160), roomy(Point(80, 80), 32.0, 32), 32, (0,) * 3), 32, no_kernels, {})
    found = Turn(look, 30.0, 0.8)
    found.remember(0.9)
    return found


def test_a_usual_score_asks_for_nothing_and_a_low_one_for_either_side_in_turn() -> None:
    found = turn()
    assert found.further(0.75) is None  # 0.72 is 0.8 of 0.9
    assert found.further(0.5) == 30.0
    assert found.is_taken(30.0, 0.6, 0.5)
    assert found.angle_deg == 30.0
    assert found.further(0.5) == 0.0
    assert not found.is_taken(0.0, 0.54, 0.5), "no clearer than by chance"
    assert found.angle_deg == 30.0


def test_after_looks_in_vain_more_and_more_frames_are_passed_over() -> None:
    found, asked = turn(), []
    for frame in range(20):
        if (angle := found.further(0.2)) is not None:
            asked.append(frame)
            found.is_taken(angle, 0.1, 0.2)
    assert asked == [0, 2, 5, 10, 15]


def turning_network(angle_of_frame: list[float]) -> tuple[AnchorFreeTracker, list[float]]:
    """A tracker whose kernel is a crop's angle and whose score falls with its distance from that of the frame.

    The pattern has a bright half, whose direction from the middle tells by how much a crop is turned.
    """
    searched: list[float] = []

    def template(feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        rows, columns = np.nonzero(feeds["template"][0, ..., 0] > 128)
        angle = np.rad2deg(np.arctan2(15.5 - rows.mean(), columns.mean() - 15.5)) % 360
        return {"kernel": np.full(KERNEL.shape, angle, np.float32)}

    def search(feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        kernel = float(feeds["kernel"].item())
        searched.append(kernel)
        away = abs((kernel - angle_of_frame[0] + 180) % 360 - 180)
        cls = np.full((1, 1, 8, 8), -9, np.float32)
        cls[0, 0, 4, 4] = 3 - away / 10
        return {"cls": cls, "log_ltrb": np.zeros((1, 4, 8, 8), np.float32)}

    crops = {
        name: TensorSpec(name, (1, side, side, 3), "uint8", "NHWC") for name, side in (("template", 32), ("search", 64))
    }
    sessions = (
        FakeSession(Model("fake", "fp32", b"", b"", (crops["template"],), (KERNEL,)), template),
        FakeSession(Model("fake", "fp32", b"", b"", (crops["search"], KERNEL), tuple(MAPS)), search),
    )
    return AnchorFreeTracker(*sessions, PARAMS), searched


def half_bright() -> Image:
    frame = np.zeros((200, 200, 3), np.uint8)
    frame[:, 100:] = 255
    return frame


def test_a_tracker_follows_a_target_that_turns_all_the_way_round() -> None:
    truth = [0.0]
    tracker, searched = turning_network(truth)
    frame = half_bright()
    tracker.init(frame, Box(84, 84, 32, 32))
    for angle in range(0, 720, 4):
        truth[0] = float(angle % 360)
        result = tracker.update(frame)
        assert result.score > 0.3, "within 38 degrees of what is searched for"
    assert {round(kernel / 30) % 12 for kernel in searched} == set(range(12))


def test_a_steady_target_is_searched_for_once_an_update() -> None:
    tracker, searched = turning_network([0.0])
    tracker.init(half_bright(), Box(84, 84, 32, 32))
    for _ in range(10):
        tracker.update(half_bright())
    assert len(searched) == 10


def test_the_first_look_is_searched_for_again_after_a_look_in_vain() -> None:
    truth = [0.0]
    tracker, searched = turning_network(truth)
    tracker.init(half_bright(), Box(84, 84, 32, 32))
    tracker.update(half_bright())
    truth[0] = 180.0  # nowhere near
    assert tracker.update(half_bright()).score == pytest.approx(0.0, abs=1e-3)
    tracker.update(half_bright())
    assert [30 * round(kernel / 30) for kernel in searched] == [0, 0, 30, 0]
