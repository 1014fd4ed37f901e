"""Where a search crop lies: read back from crops of pictures whose pixels tell their place."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from siamedge.runtime.geometry import Point
from siamedge.runtime.tracking.crops import crop_square
from siamedge.runtime.tracking.views import Cut, View, published_view, true_view

CROP_PX, SIDE = 64, 256
RISING = np.repeat(np.broadcast_to(np.arange(SIDE, dtype=np.uint8), (SIDE, SIDE))[..., None], 3, axis=2).copy()
"""Pixel i of each row has the value i; so its place, the middle of it, is its value + 0.5."""


def seen_at(view: View, axis: int) -> float:
    """Column (axis 0) or row of the frame in the crop's middle, by the pixels of a picture and of its inverse."""
    picture = RISING if axis == 0 else RISING.transpose(1, 0, 2).copy()
    means = []
    for frame in (picture, 255 - picture):  # what rounding adds to one, it adds to the other
        crop = np.empty((CROP_PX, CROP_PX, 3), np.uint8)
        crop_square(frame, view.square, crop, (0.0, 0.0, 0.0), exact=True)
        means.append(float(crop.mean()))
    return (means[0] + 255 - means[1]) / 2 + 0.5


def errors(cut: Cut) -> NDArray[np.float64]:
    """By how much the crop's middle is beside where the view says it is, for a hundred centres and sides."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(100):
        center, side = Point(*random.uniform(100, 156, 2)), float(random.uniform(40, 90))
        view = cut(center, side, CROP_PX)
        found.append([where - seen_at(view, axis) for axis, where in enumerate(view.point(0.0, 0.0))])
    return np.array(found)


def test_a_true_view_says_where_its_middle_is() -> None:
    assert np.abs(errors(true_view)).max() < 0.05


def test_a_published_view_is_half_a_pixel_off_as_its_trackers_are() -> None:
    off = errors(published_view)
    assert off.mean(axis=0) == pytest.approx((0.5, 0.5), abs=0.1)
    assert 0.9 < off.max() < 1.1


@settings(max_examples=50, deadline=None)
@example(x=-(2.0**-52), y=0.0, side=5.0)
@given(x=st.floats(-300, 900), y=st.floats(-300, 900), side=st.floats(0.1, 700))
def test_a_true_view_is_the_nearest_square_of_whole_pixels(x: float, y: float, side: float) -> None:
    view = true_view(Point(x, y), side, CROP_PX)
    assert view.center == pytest.approx((x, y), abs=0.5 + 1e-9, rel=0)
    assert abs(view.square.side - side) <= 1
    assert view.ratio == view.square.side / CROP_PX


@pytest.mark.parametrize("cut", [true_view, published_view])
def test_a_place_in_the_crop_is_where_its_point_leads_back_to(cut: Cut) -> None:
    view = cut(Point(120.3, 80.9), 131.0, CROP_PX)
    place = view.place(Point(140.0, 77.0), 30.0, 20.0)
    assert view.point(place.dx, place.dy) == pytest.approx((140.0, 77.0))
    assert (place.w * view.ratio, place.h * view.ratio) == pytest.approx((30.0, 20.0))
