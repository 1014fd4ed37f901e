"""Boxes: their centres, and overlaps counted on squared paper."""

import pytest

from siamedge.runtime.geometry import Box, Point, intersection_over_union


@pytest.mark.parametrize(
    ("other", "overlap"),
    [
        (Box(0, 0, 4, 2), 1.0),
        (Box(2, 0, 4, 2), 4 / 12),
        (Box(1, 1, 2, 4), 2 / 14),
        (Box(1, 0.5, 2, 1), 2 / 8),
        (Box(-3, -3, 10, 10), 8 / 100),
        (Box(4, 0, 4, 2), 0.0),
        (Box(6, 0, 4, 2), 0.0),
        (Box(0, -7, 4, 2), 0.0),
        (Box(9, 9, 4, 2), 0.0),
        (Box(1, 1, 0, 0), 0.0),
    ],
    ids=["equal", "half", "crossed", "inside", "around", "side by side", "right", "above", "far", "empty"],
)
def test_the_overlap_is_the_shared_area_by_that_of_both(other: Box, overlap: float) -> None:
    for unit in (1.0, 0.1, 1000.0):
        a, b = (Box(*(unit * side for side in box)) for box in (Box(0, 0, 4, 2), other))
        assert intersection_over_union(a, b) == intersection_over_union(b, a) == pytest.approx(overlap)


def test_two_empty_boxes_do_not_overlap() -> None:
    assert intersection_over_union(Box(1, 1, 0, 0), Box(1, 1, 0, 0)) == 0.0


def test_a_box_around_its_own_centre_is_the_same_box() -> None:
    assert Box(0, 0, 2, 2).center == Point(1, 1)
    assert Box.around(Box(3, 5, 7, 9).center, 7, 9) == Box(3, 5, 7, 9)
