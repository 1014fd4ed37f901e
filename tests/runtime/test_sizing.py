"""Sizes: the network's error on the first frame is taken off; in doubt a size returns to that of surer frames."""

import math

import pytest

from siamedge.runtime.tracking.sizing import LARGEST_FIT, REMEMBER_RATE, RememberedSize, SizeFit


def test_a_size_that_is_sure_is_left_alone() -> None:
    size = RememberedSize(40.0, 20.0, 0.1)
    assert size.corrected(60.0, 30.0, 1.0) == (60.0, 30.0)


def test_in_a_frame_of_score_0_a_share_of_the_way_back_is_taken_and_the_aspect_stays() -> None:
    w, h = RememberedSize(40.0, 20.0, 0.25).corrected(160.0, 80.0, 0.0)
    assert (w, h) == pytest.approx((160.0 / 4**0.25, 80.0 / 4**0.25))  # a quarter of the way from 4 times to once


def test_a_target_that_changes_its_aspect_alone_keeps_its_size() -> None:
    assert RememberedSize(40.0, 20.0, 0.5).corrected(20.0, 40.0, 0.0) == pytest.approx((20.0, 40.0))


def test_what_is_remembered_follows_a_sure_target_and_not_one_of_score_0() -> None:
    sure, doubtful = RememberedSize(10.0, 10.0, 1.0), RememberedSize(10.0, 10.0, 1.0)
    for _ in range(200):
        sure.corrected(20.0, 20.0, 1.0)
        doubtful.corrected(20.0, 20.0, 0.0)
    kept = 10.0 * math.exp((1 - (1 - REMEMBER_RATE) ** 200) * math.log(2))
    assert sure.corrected(99.0, 99.0, 0.0) == pytest.approx((kept, kept))
    assert doubtful.corrected(99.0, 99.0, 0.0) == pytest.approx((10.0, 10.0))


def test_a_drift_in_doubt_ends_where_the_way_back_is_as_long() -> None:
    """2 % a frame against a tenth: each frame ends at log 1.02 * .9 / .1 above what is remembered. Alone: 50-fold."""
    size, side = RememberedSize(50.0, 50.0, 0.1), 50.0
    for _ in range(200):
        side, _ = size.corrected(side * 1.02, side * 1.02, 0.0)
    assert side == pytest.approx(50.0 * 1.02**9)


def test_factors_take_off_a_share_of_the_middle_error_of_each_side() -> None:
    """Widths found 1.21, 1.0 and 5 times as large as they are: the middle one counts, its root for a half."""
    fit = SizeFit([(1.0, 0.9), (1.21, 0.81), (5.0, 0.1)], 0.5)
    assert fit.factors(0.0) == pytest.approx((1 / 1.1, 1 / 0.9))
    assert SizeFit([(1.2, 0.8)], 1.0).factors(0.0) == pytest.approx((1 / 1.2, 1 / 0.8))


def test_an_error_without_sense_is_believed_to_a_limit() -> None:
    assert SizeFit([(9.0, 1e-9)], 1.0).factors(0.0) == pytest.approx((math.exp(-LARGEST_FIT), math.exp(LARGEST_FIT)))


def test_a_target_turned_by_a_quarter_has_its_height_for_width() -> None:
    fit = SizeFit([(1.2, 0.8)], 1.0)
    for angle in (90.0, 270.0):
        assert fit.factors(angle) == pytest.approx((1 / 0.8, 1 / 1.2))
    assert fit.factors(180.0) == pytest.approx(fit.factors(0.0))
    assert fit.factors(45.0) == pytest.approx([(1 / (1.2 * 0.8)) ** 0.5] * 2)
