"""Where to look for a lost target: in rings around its last place, and in tiles over the whole frame."""

import math

from siamedge.runtime.geometry import Box, Image, Point

CROP_SIDES = 4.0
"""A search crop is about so many times as wide as a box of its target."""


def step_of(box: Box, step_share: float) -> float:
    """Distance of neighbouring places, pixels."""
    return step_share * CROP_SIDES * math.sqrt(box.w * box.h)


def ring_places(box: Box, rings: int, step_share: float, frame: Image) -> list[Box]:
    """Boxes of the same size around a box, ring by ring, their centres inside the frame.

    Args:
        box: In the middle.
        rings: Of 8, 16, 24 ... places.
        step_share: Distance of neighbours as a share of the search crop's side.
        frame: Its size bounds the places.
    """
    height, width = frame.shape[:2]
    step, center = step_of(box, step_share), box.center
    cells = [(x, y) for x in range(-rings, rings + 1) for y in range(-rings, rings + 1) if (x, y) != (0, 0)]
    cells.sort(key=lambda cell: (max(map(abs, cell)), math.atan2(cell[1], cell[0])))
    points = [Point(center.x + x * step, center.y + y * step) for x, y in cells]
    inside = [p for p in points if 0 <= p.x <= width and 0 <= p.y <= height]
    return [Box.around(point, box.w, box.h) for point in inside]


def tile_places(box: Box, step_share: float, frame: Image) -> list[Box]:
    """Boxes of the same size on a grid over the whole frame, row by row: the search crops around them cover it.

    Args:
        box: Its size is the target's.
        step_share: Largest distance of neighbours as a share of the search crop's side, < 1.
        frame: Its size is what is covered.
    """
    height, width = frame.shape[:2]
    step = step_of(box, step_share)
    columns, rows = max(1, math.ceil(width / step)), max(1, math.ceil(height / step))
    return [
        Box.around(Point((column + 0.5) * width / columns, (row + 0.5) * height / rows), box.w, box.h)
        for row in range(rows)
        for column in range(columns)
    ]
