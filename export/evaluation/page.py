"""A comparison of runs as one HTML page that needs nothing else: tables, intervals and plots."""

from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Rows
from html import escape
from math import isfinite

import numpy as np

from siamedge.export.evaluation.bootstrap import Estimate
from siamedge.export.evaluation.charts import COLORS, Chart, Line, to_svg
from siamedge.export.evaluation.conventions import Convention
from siamedge.export.evaluation.reports import Report, latency

STYLE = """
:root { --ink: #222; --soft: #666; --line: #ddd; --paper: #fff; --shade: #f5f6f8; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px; max-width: 1200px; color: var(--ink); background: var(--paper);
  font: 15px/1.5 "DejaVu Sans", Helvetica, Arial, sans-serif; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 32px 0 8px; }
p { margin: 4px 0 12px; color: var(--soft); max-width: 80ch; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 12px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; background: var(--shade); } th:first-child, td:first-child { text-align: left; }
.scroll { overflow-x: auto; } .charts { display: flex; flex-wrap: wrap; gap: 16px; }
.charts svg { max-width: 100%; height: auto; border: 1px solid var(--line); border-radius: 4px; }
.key { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin-right: 7px; }
.range { color: var(--soft); font-size: 13px; } .worse { color: #b3261e; } .better { color: #1b6e3c; }
"""
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""


def to_html(reports: Rows[Report], convention: Convention, against: Mapping[str, Mapping[str, Estimate]]) -> str:
    """Give the page.

    Args:
        reports: The run that it is about, then those that it is compared with, all over the same sequences.
        convention: Of all of them.
        against: Label of each of the others to the paired differences, ours minus theirs.
    """
    first = reports[0]
    title = f"{first.label} on {len(first.names)} sequences"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>Convention <code>{escape(first.convention)}</code>, following {escape(convention.source)}; "
        f"{first.frames} frames tracked.</p>",
        "<h2>Scores</h2>",
        "<p>In brackets the 95&nbsp;% bootstrap interval over sequences: how far the number would move with other "
        "sequences of the same kind. Latency is wall time of an update on the machine that ran it.</p>",
        _scores(reports, convention),
        *_comparison(against, convention),
        "<h2>Curves</h2>",
        f'<div class="charts">{"".join(to_svg(chart) for chart in charts(reports, convention))}</div>',
        "<h2>Sequences</h2>",
        _sequences(reports, convention),
    ]
    return PAGE.format(title=escape(title), style=STYLE, body="\n".join(parts))


def charts(reports: Rows[Report], convention: Convention) -> Iterator[Chart]:
    """Give the charts of a convention, one line a report with its score in the legend."""
    for name, axis in convention.axes.items():
        label = convention.metrics[axis.metric].label
        lines = [Line(f"{item.label} [{item.scores[axis.metric].value:.3f}]", item.curves[name]) for item in reports]
        yield Chart(f"{axis.title} [{label}]", axis.label, axis.ticks, lines)


def _scores(reports: Rows[Report], convention: Convention) -> str:
    head = ["tracker", *(metric.label for metric in convention.metrics.values()), "median ms", "95 % under, ms"]
    rows = []
    for index, report in enumerate(reports):
        timing = latency(report)
        cells = [_estimate(report.scores[key]) for key in convention.metrics]
        rows.append([_key(index, report.label), *cells, _number(timing["median_ms"], 2), _number(timing["p95_ms"], 2)])
    return table(head, rows)


def _comparison(against: Mapping[str, Mapping[str, Estimate]], convention: Convention) -> list[str]:
    if not against:
        return []
    rows = [
        [escape(f"minus {label}"), *(_difference(found[key]) for key in convention.metrics)]
        for label, found in against.items()
    ]
    return [
        "<h2>Paired differences</h2>",
        "<p>Both runs saw the same sequences, so their differences vary less than their scores. An interval that holds "
        "0 means that these sequences do not tell which one is better.</p>",
        table(["difference", *(metric.label for metric in convention.metrics.values())], rows),
    ]


def _sequences(reports: Rows[Report], convention: Convention) -> str:
    key, metric = next(iter(convention.metrics.items()))
    rows = []
    for index in np.argsort([report_value(reports[0], key, i) for i in range(len(reports[0].names))]):
        values = [report_value(report, key, int(index)) for report in reports]
        gaps = [_signed(values[0] - value) for value in values[1:]]
        bar = _bar(values)
        rows.append([escape(reports[0].names[index]), *(_number(value, 3) for value in values), *gaps, bar])
    labels = [escape(report.label) for report in reports]
    head = ["sequence", *labels, *(f"minus {label}" for label in labels[1:]), escape(metric.label)]
    return table(head, rows)


def report_value(report: Report, key: str, index: int) -> float:
    """Give a metric of one sequence."""
    return report.by_sequence[key][index]


def _bar(values: list[float]) -> str:
    height = 7 * len(values) + 2
    bars = "".join(
        f'<rect x="0" y="{1 + 7 * i}" width="{200 * value:.1f}" height="5" fill="{COLORS[i % len(COLORS)]}"/>'
        for i, value in enumerate(values)
        if isfinite(value)
    )
    return f'<svg width="200" height="{height}"><rect width="200" height="{height}" fill="#f0f0f0"/>{bars}</svg>'


def table(head: Rows[str], rows: Rows[Rows[str]]) -> str:
    """Give a table that scrolls sideways where it is too wide; cells are HTML already."""
    first = "".join(f"<th>{cell}</th>" for cell in head)
    body = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table>\n<tr>{first}</tr>\n{body}\n</table></div>'


def _key(index: int, label: str) -> str:
    return f'<span class="key" style="background:{COLORS[index % len(COLORS)]}"></span>{escape(label)}'


def _estimate(found: Estimate) -> str:
    value = f"<b>{_number(found.value, 3)}</b>"
    if not isfinite(found.low):
        return value
    return f'{value} <span class="range">[{found.low:.3f}, {found.high:.3f}]</span>'


def _difference(found: Estimate) -> str:
    if not isfinite(found.low):
        return _signed(found.value)
    return f'{_signed(found.value)} <span class="range">[{found.low:+.3f}, {found.high:+.3f}]</span>'


def _signed(value: float) -> str:
    if not isfinite(value):
        return "-"
    kind = "better" if value >= 0.0005 else "worse" if value <= -0.0005 else "same"
    return f'<span class="{kind}">{value:+.3f}</span>'


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if isfinite(value) else "-"
