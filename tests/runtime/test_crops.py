"""Crops against the plain form: pad the frame, cut the square, resize it."""

import tracemalloc

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from siamedge.runtime.geometry import Image, Point
from siamedge.runtime.tracking.crops import (
    SHRUNK_FROM,
    THINNED_FROM,
    Square,
    context_side,
    crop_square,
    span_in,
    square_around,
    thinned_rows,
)

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
    side=st.integers(1, 509),
    side_px=st.sampled_from([255, 256]),
)
def test_crops_up_to_the_limit_are_those_of_the_plain_form(left: int, top: int, side: int, side_px: int) -> None:
    assert side < SHRUNK_FROM * side_px
    square = Square(left, top, side)
    assert np.array_equal(cut(NOISE, square, side_px), plain_crop(NOISE, square, side_px))


@pytest.mark.parametrize("side", [255, 300, 380])
def test_crops_inside_the_frame_from_which_no_rows_are_left_out_are_those_of_the_plain_form(side: int) -> None:
    assert SHRUNK_FROM * 127 <= side < THINNED_FROM * 127
    square = Square(11, 17, side)
    assert np.array_equal(cut(NOISE, square, 127), plain_crop(NOISE, square, 127))


def centers(first: float, step: float, side: float, out_px: int) -> NDArray[np.float64]:
    """Where bilinear resizing reads: the centres of a crop's pixels, in pixels of what is resized."""
    return first + step * ((np.arange(out_px) + 0.5) * side / out_px - 0.5)


@settings(deadline=None)
@given(first=st.integers(0, 99), out_px=st.integers(100, 300), times=st.floats(1, 16))
def test_left_out_rows_move_no_row_of_the_crop_by_half_of_its_height(first: int, out_px: int, times: float) -> None:
    count = round(times * out_px)
    rows = range(first + count)[thinned_rows(first, count, out_px)]
    assert rows[0] >= first
    assert rows[-1] < first + count
    assert len(rows) <= THINNED_FROM * out_px
    moved = np.abs(centers(rows[0], rows.step, len(rows), out_px) - centers(first, 1, count, out_px)) * out_px / count
    assert moved.max() < 0.5
    assert moved[out_px // 2] < 0.25


@settings(deadline=None)
@given(limit=st.integers(1, 4000), start=st.integers(-3000, 4000), out_px=st.integers(1, 256), times=st.floats(2, 16))
def test_a_span_holds_the_pixels_of_the_crop_that_lie_in_the_frame(
    limit: int, start: int, out_px: int, times: float
) -> None:
    side = round(times * out_px)
    span, exact = span_in(limit, start, side, out_px), centers(start, 1, side, out_px)
    inside = (exact >= side / out_px / 2 - 0.5) & (exact <= limit - 0.5 - side / out_px / 2)
    assert span.filled in (inside.sum(), 0) or abs(span.filled - inside.sum()) <= 1
    if span.filled:
        assert span.start >= 0
        assert span.start + span.size <= limit
        found = centers(span.start, 1, span.size, span.filled)
        assert np.abs(found - exact[span.before : span.before + span.filled]).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("times", [2.0, 2.9, 3.0, 3.4, 5.7, 9.0])
@pytest.mark.parametrize("place", [(300, 200), (-200, -150), (900, 700)])
def test_large_crops_are_no_further_from_the_mean_of_their_pixels_than_the_plain_form(
    times: float, place: tuple[int, int]
) -> None:
    side = round(127 * times)
    frame = np.asarray(cv2.GaussianBlur(np.tile(NOISE, (2, 2, 1)), (0, 0), 2.0), np.uint8)
    square = Square(*place, side)
    large = plain_crop(frame, square, side)
    truth = np.asarray(cv2.resize(large, (127, 127), interpolation=cv2.INTER_AREA), np.float64)
    rows, columns = (
        (centers(at, 1, side, 127) > times) & (centers(at, 1, side, 127) < limit - times)
        for at, limit in ((square.top, frame.shape[0]), (square.left, frame.shape[1]))
    )
    plain, ours = (
        np.abs(crop - truth)[np.ix_(rows, columns)].mean()
        for crop in (plain_crop(frame, square, 127), cut(frame, square, 127))
    )
    assert ours < 1.25 * plain + 0.1


@pytest.mark.parametrize("square", [Square(40, 30, 640), Square(-500, 100, 1200), Square(0, 0, 381)])
def test_an_exact_crop_of_a_large_square_is_that_of_the_plain_form(square: Square) -> None:
    crop = np.empty((127, 127, 3), np.uint8)
    crop_square(NOISE, square, crop, PADDING, exact=True)
    assert np.array_equal(crop, plain_crop(NOISE, square, 127))


def test_a_large_square_is_not_copied() -> None:
    """With its padding this one is 40 MB; what lies in the frame is 2 MB."""
    crop = np.empty((255, 255, 3), np.uint8)
    tracemalloc.start()
    try:
        crop_square(NOISE, Square(-1400, -1400, 3648), crop, PADDING)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2e6


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
