"""Line charts from one description to SVG text or PNG bytes, without a plotting library."""

from collections.abc import Iterator
from collections.abc import Sequence as Rows
from dataclasses import dataclass
from html import escape

import cv2
import numpy as np

from siamedge.export.evaluation.overlap import Vector

COLORS = ("#0b6e99", "#d1495b", "#3f7d20", "#8e5ea2", "#c7740a", "#555555")
WIDTH, HEIGHT = 520, 380
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 40, 48
LEGEND_STEP = 18
INK, GRID = "#333333", "#dddddd"


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """A curve with its entry in the legend."""

    label: str
    values: Vector


@dataclass(frozen=True, slots=True, eq=False)
class Chart:
    """Curves over one axis; the vertical axis is 0..1.

    Attributes:
        title: Above.
        x_label: Below, with its unit.
        ticks: (K,) horizontal positions, rising.
        lines: Each with K values.
    """

    title: str
    x_label: str
    ticks: Vector
    lines: Rows[Line]


@dataclass(frozen=True, slots=True)
class Text:
    """Words at a point; anchor is start, middle or end."""

    words: str
    x: float
    y: float
    anchor: str = "start"
    size: int = 12
    color: str = INK


@dataclass(frozen=True, slots=True)
class Stroke:
    """A line through points."""

    points: tuple[tuple[float, float], ...]
    color: str
    width: float


Mark = Text | Stroke


def marks(chart: Chart) -> Iterator[Mark]:
    """Break a chart down into strokes and words, in a WIDTH x HEIGHT field with y downwards."""
    yield Text(chart.title, LEFT, 24, size=15)
    yield from _grid(chart)
    for line, color in zip(chart.lines, _colors(len(chart.lines)), strict=True):
        yield Stroke(_points(chart, line.values), color, 2.2)
    yield from _legend(chart)


def to_svg(chart: Chart) -> str:
    """Give a chart as an SVG element that can stand alone or in a page."""
    body = "\n".join(_svg_mark(mark) for mark in marks(chart))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-label="{escape(chart.title)}" font-family="DejaVu Sans, Helvetica, Arial, sans-serif">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def to_png(chart: Chart, scale: int = 2) -> bytes:
    """Give a chart as a PNG file, drawn at twice its final size for smooth edges."""
    fine = 2 * scale
    canvas = np.full((HEIGHT * fine, WIDTH * fine, 3), 255, dtype=np.uint8)
    for mark in marks(chart):
        if isinstance(mark, Stroke):
            points = np.round(np.array(mark.points) * fine * 16).astype(np.int32)
            width = max(1, round(mark.width * fine))
            cv2.polylines(canvas, [points], False, _bgr(mark.color), width, cv2.LINE_AA, shift=4)
        else:
            _write(canvas, mark, fine)
    small = cv2.resize(canvas, (WIDTH * scale, HEIGHT * scale), interpolation=cv2.INTER_AREA)
    return bytes(cv2.imencode(".png", small)[1].tobytes())


def _grid(chart: Chart) -> Iterator[Mark]:
    low, high = float(chart.ticks[0]), float(chart.ticks[-1])
    for step in range(6):
        share = step / 5
        y, x = _y(share), _x(chart, low + share * (high - low))
        yield Stroke(((LEFT, y), (WIDTH - RIGHT, y)), GRID, 1)
        yield Stroke(((x, TOP), (x, HEIGHT - BOTTOM)), GRID, 1)
        yield Text(f"{share:.1f}", LEFT - 8, y + 4, "end")
        yield Text(f"{low + share * (high - low):.3g}", x, HEIGHT - BOTTOM + 18, "middle")
    yield Text(chart.x_label, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "middle")


def _legend(chart: Chart) -> Iterator[Mark]:
    x, top = _free_corner(chart)
    for row, (line, color) in enumerate(zip(chart.lines, _colors(len(chart.lines)), strict=True)):
        y = top + LEGEND_STEP * row
        yield Stroke(((x, y - 4), (x + 22, y - 4)), color, 3)
        yield Text(line.label, x + 28, y)


def _free_corner(chart: Chart) -> tuple[float, float]:
    """Give where the legend covers the fewest points of the curves."""
    wide = 34 + 7 * max((len(line.label) for line in chart.lines), default=0)
    high = LEGEND_STEP * len(chart.lines)
    corners = [
        (x, y)
        for y in (HEIGHT - BOTTOM - high, TOP + 20)
        for x in (LEFT + 14, max(LEFT + 14, WIDTH - RIGHT - 8 - wide))
    ]
    points = np.array([point for line in chart.lines for point in _points(chart, line.values)] or [(0.0, 0.0)])

    def covered(corner: tuple[float, float]) -> int:
        inside = (points >= (corner[0] - 6, corner[1] - 20)) & (points <= (corner[0] + wide, corner[1] + high))
        return int(inside.all(axis=1).sum())

    return min(corners, key=covered)


def _points(chart: Chart, values: Vector) -> tuple[tuple[float, float], ...]:
    return tuple(
        (_x(chart, float(tick)), _y(float(value)))
        for tick, value in zip(chart.ticks, values, strict=True)
        if np.isfinite(value)
    )


def _x(chart: Chart, tick: float) -> float:
    low, high = float(chart.ticks[0]), float(chart.ticks[-1])
    return round(LEFT + (tick - low) / (high - low) * (WIDTH - LEFT - RIGHT), 2)


def _y(value: float) -> float:
    return round(HEIGHT - BOTTOM - value * (HEIGHT - TOP - BOTTOM), 2)


def _colors(count: int) -> list[str]:
    return [COLORS[i % len(COLORS)] for i in range(count)]


def _svg_mark(mark: Mark) -> str:
    if isinstance(mark, Stroke):
        points = " ".join(f"{x:g},{y:g}" for x, y in mark.points)
        return (
            f'<polyline points="{points}" fill="none" stroke="{mark.color}" stroke-width="{mark.width:g}" '
            'stroke-linejoin="round"/>'
        )
    return (
        f'<text x="{mark.x:g}" y="{mark.y:g}" font-size="{mark.size}" fill="{mark.color}" '
        f'text-anchor="{mark.anchor}">{escape(mark.words)}</text>'
    )


def _write(canvas: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], mark: Text, fine: int) -> None:
    scale, face = mark.size * fine / 30, cv2.FONT_HERSHEY_SIMPLEX
    thick = max(1, round(1.3 * fine / 2))
    width = cv2.getTextSize(mark.words, face, scale, thick)[0][0]
    shift = {"start": 0.0, "middle": width / 2, "end": float(width)}[mark.anchor]
    at = (round(mark.x * fine - shift), round(mark.y * fine))
    cv2.putText(canvas, mark.words, at, face, scale, _bgr(mark.color), thick, cv2.LINE_AA)


def _bgr(color: str) -> tuple[int, int, int]:
    return int(color[5:7], 16), int(color[3:5], 16), int(color[1:3], 16)
