"""Crops against the plain form: pad the frame, cut the square, resize it."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siamedge.runtime.crops import WARP_FROM_PX, WARPS_EXACTLY, Square, context_side, crop_square, square_around
from siamedge.runtime.geometry import Image, Point

PADDING = (10.4, 20.0, 199.6)
NOISE: Image = np.random.default_rng(0).integers(0, 256, (700, 900, 3), np.uint8)


def plain_crop(frame: Image, square: Square, side_px: int) -> Image:
    margin = 2000
    padded = cv2.copyMakeBorder(frame, *[margin] * 4, cv2.BORDER_CONSTANT, value=np.rint(PADDING).tolist())
    left, top, side = square
    cut = padded[top + margin : top + margin + side, left + margin : left + margin + side]
    return np.asarray(cv2.resize(cut, (side_px, side_px), interpolation=cv2.INTER_LINEAR), np.uint8)


def cut(frame: Image, square: Square, side_px: int) -> Image:
    crop = np.full((side_px, side_px, 3), 7, np.uint8)
    crop_square(frame, square, crop, PADDING)
    return crop


@settings(max_examples=40, deadline=None)
@given(
    left=st.integers(-300, 950),
    top=st.integers(-300, 750),
    side=st.integers(1, WARP_FROM_PX),
    side_px=st.sampled_from([127, 128, 255, 256]),
)
def test_crops_up_to_the_limit_are_those_of_the_plain_form(left: int, top: int, side: int, side_px: int) -> None:
    square = Square(left, top, side)
    assert np.array_equal(cut(NOISE, square, side_px), plain_crop(NOISE, square, side_px))


@pytest.mark.parametrize("side", [WARP_FROM_PX + 1, 700, 701])
def test_large_crops_inside_the_frame_are_those_of_the_plain_form(side: int) -> None:
    frame = np.tile(NOISE, (2, 1, 1))
    square = Square(11, 17, side)
    assert np.array_equal(cut(frame, square, 255), plain_crop(frame, square, 255))


@pytest.mark.skipif(not WARPS_EXACTLY, reason="OpenCV 4 copies large padded squares")
@settings(max_examples=25, deadline=None)
@given(left=st.integers(-1500, 850), top=st.integers(-1500, 650), side=st.integers(WARP_FROM_PX + 1, 1900))
def test_large_padded_crops_differ_from_the_plain_form_by_one_level_at_most(left: int, top: int, side: int) -> None:
    square = Square(left, top, side)
    difference = np.abs(cut(NOISE, square, 255).astype(int) - plain_crop(NOISE, square, 255))
    assert difference.max() <= 1
    assert difference.mean() < 0.25


@pytest.mark.parametrize("square", [Square(-60, 10, 50), Square(900, 10, 50), Square(0, -700, 700), Square(5, 700, 9)])
def test_a_square_outside_the_frame_is_all_padding(square: Square) -> None:
    assert (cut(NOISE, square, 31) == np.rint(PADDING)).all()


def test_a_frame_that_is_a_view_is_cropped_like_its_copy() -> None:
    view = NOISE[::2, 100:700:2]
    for square in (Square(10, 20, 100), Square(-10, -20, 100)):
        assert np.array_equal(cut(view, square, 64), cut(view.copy(), square, 64))


def test_an_odd_square_is_centered_on_the_pixel_that_holds_the_point() -> None:
    assert square_around(Point(10.5, 20.5), 3.2) == Square(9, 19, 3)
    assert square_around(Point(10.0, 20.0), 4.0) == Square(8, 18, 4)
    assert square_around(Point(10.0, 20.0), 0.2).side == 1


def test_context_of_a_square_target_doubles_its_side() -> None:
    assert context_side(40, 40, 0.5) == 80
    assert context_side(30, 60, 0.5) == pytest.approx(((30 + 45) * (60 + 45)) ** 0.5)
