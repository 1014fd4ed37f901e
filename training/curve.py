"""A training log as a small SVG picture, drawn without a plotting library."""

import csv
from collections.abc import Sequence
from pathlib import Path

_WIDTH, _HEIGHT, _MARGIN = 720, 300, 48
_COLORS = {
    "loss": "#333333",
    "cls": "#c0392b",
    "box": "#2471a3",
    "quality": "#b7950b",
    "features": "#1e8449",
    "score": "#7d3c98",
    "teacher_box": "#d35400",
}
_WINDOW = 15
"""Rows in the running mean."""


def read_log(path: Path) -> dict[str, list[float]]:
    """Read a log.csv as columns."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else ())}


def draw_curve(log: Path, out: Path) -> None:
    """Draw total loss and those of its parts that the run had, over the pairs seen, as running means.

    Args:
        log: From a training run.
        out: The .svg file.
    """
    columns = read_log(log)
    pairs = columns["pairs"]
    colors = {name: color for name, color in _COLORS.items() if any(columns.get(name, ()))}
    highest = max(max(_smooth(columns[name])) for name in colors)
    lines = [_line(pairs, _smooth(columns[name]), highest, color) for name, color in colors.items()]
    labels = [_label(name, color, row) for row, (name, color) in enumerate(colors.items())]
    frame = f'<rect x="{_MARGIN}" y="10" width="{_WIDTH - _MARGIN - 10}" height="{_HEIGHT - _MARGIN}" fill="none"/>'
    ends = [
        _text(_MARGIN, _HEIGHT - 18, f"{pairs[0]:,.0f} pairs"),
        _text(_WIDTH - 10, _HEIGHT - 18, f"{pairs[-1]:,.0f} pairs", anchor="end"),
        _text(_MARGIN - 6, 18, f"{highest:.2f}", anchor="end"),
        _text(_MARGIN - 6, _HEIGHT - _MARGIN + 10, "0", anchor="end"),
    ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" stroke="#999" font-size="12">'
    out.write_text("\n".join([head, frame, *lines, *labels, *ends, "</svg>"]) + "\n", encoding="utf-8")


def _smooth(values: Sequence[float]) -> list[float]:
    starts = [max(0, index - _WINDOW + 1) for index in range(len(values))]
    return [sum(values[start : end + 1]) / (end + 1 - start) for end, start in enumerate(starts)]


def _line(pairs: Sequence[float], values: Sequence[float], highest: float, color: str) -> str:
    span = max(pairs[-1] - pairs[0], 1.0)
    x = [_MARGIN + (_WIDTH - _MARGIN - 10) * (pair - pairs[0]) / span for pair in pairs]
    y = [10 + (_HEIGHT - _MARGIN) * (1 - value / highest) for value in values]
    points = " ".join(f"{px:.1f},{py:.1f}" for px, py in zip(x, y, strict=True))
    return f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.5"/>'


def _label(name: str, color: str, row: int) -> str:
    return _text(_WIDTH - 20, 30 + 16 * row, name, anchor="end", color=color)


def _text(x: float, y: float, text: str, *, anchor: str = "start", color: str = "#555") -> str:
    return f'<text x="{x}" y="{y}" fill="{color}" stroke="none" text-anchor="{anchor}">{text}</text>'
