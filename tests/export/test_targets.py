"""What is followed where nobody says what: the square that moves, else the one with the strongest texture."""

import numpy as np
import pytest

from siamedge.export.calibration.targets import find_target
from siamedge.runtime.geometry import Box, intersection_over_union

HEIGHT, WIDTH = 240, 320


def make_picture() -> np.ndarray:
    """Flat grey with a checkered square at (200, 20)."""
    picture = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    picture[20:80, 200:260] = np.kron(np.indices((10, 10)).sum(0) % 2 * 200, np.ones((6, 6))).astype(np.uint8)[
        ..., None
    ]
    return picture


def test_what_moves_is_preferred_to_what_is_textured() -> None:
    before, now = make_picture(), make_picture()
    now[140:200, 40:100] += 40
    assert intersection_over_union(find_target(before, now, []), Box(40, 140, 60, 60)) > 0.8


def test_where_nothing_moves_texture_is_followed() -> None:
    noise = np.random.default_rng(0).integers(0, 3, (HEIGHT, WIDTH, 3), np.uint8)
    found = find_target(make_picture(), make_picture() + noise, [])
    assert intersection_over_union(found, Box(200, 20, 60, 60)) > 0.8


def test_the_next_target_is_another_one_of_another_size() -> None:
    before, now = make_picture(), make_picture()
    now[140:200, 40:100] += 40
    first = find_target(before, now, [])
    second = find_target(before, now, [first])
    assert intersection_over_union(first, second) == 0
    assert second.w == first.w / 2


def test_equal_pictures_give_equal_targets_inside_the_picture() -> None:
    flat = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    taken: list[Box] = []
    for _ in range(40):
        taken.append(find_target(flat, flat, taken))
    assert taken[5] == find_target(flat, flat, taken[:5])
    assert all(box.x >= 0 and box.y >= 0 and box.x + box.w <= WIDTH and box.y + box.h <= HEIGHT for box in taken)


@pytest.mark.parametrize("size", [(20, 4000), (2000, 8), (1, 1), (1, 5000)])
def test_a_picture_that_is_a_line_or_a_dot_has_a_target_too(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    x, y, w, h = find_target(noise[0], noise[1], [])
    assert min(w, h) > 0
    assert x >= 0
    assert y >= 0
