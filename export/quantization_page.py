"""What the search for int8 tried and what it chose, as one HTML page that needs nothing else."""

from collections.abc import Iterator, Mapping
from html import escape

from siamedge.export.evaluation.page import PAGE, STYLE, table
from siamedge.export.verification.tensors import BUDGETS, Measured
from siamedge.runtime.backends.backend import FORMATS, Format, Precision
from siamedge.runtime.bundles.manifest import Manifest, QuantizationTrial, Verification

Latencies = Mapping[tuple[Format, Precision], float]
FLOAT_MARK = "in float: "
"""Precedes the names in the note of an artifact that is partly float."""
CELLS = """
th, td { vertical-align: top; padding: 5px 9px; } th { white-space: normal; vertical-align: bottom; }
td:first-child { white-space: normal; min-width: 9em; }
.reasons td:last-child, .reasons th:last-child { text-align: left; white-space: normal; min-width: 13em; }
"""
"""Names and reasons are long: they have several lines, so that a table fits a screen."""
NO_SENSITIVITY = (
    "<p>No operator had to be tried in float: an earlier recipe is within budget, or no more were allowed.</p>"
)


def to_html(manifest: Manifest, measured: tuple[Measured, ...]) -> str:
    """Give the page.

    Args:
        manifest: Of the bundle.
        measured: Of each format and precision, for the times.
    """
    times = {(item.verification.format, item.verification.precision): item.latency_ms for item in measured}
    budget = BUDGETS["int8"]
    title = f"int8 of {manifest.name} ({manifest.tracker.arch})"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>Each model is compared with the source network on {manifest.verification[0].crops} search crops. "
        f"Budget of int8: the same peak on at least {budget.peak_agreement:.0%} of the crops (cells that the source "
        f"ranks alike to 0.05 logits are one peak), box edges at most {budget.box_px:g} px apart on average, and no "
        f"output off by more than {budget.relative_rms:.0%} (root mean square). "
        f"Calibrated on {escape(manifest.provenance.calibration or 'nothing')}.</p>",
        "<h2>What was made</h2>",
        "<p>Time is CPU time of the search graph on one thread of the machine that exported. A precision that is not "
        "at least 10&nbsp;% faster than a more precise one is not recommended.</p>",
        _with_reasons(
            ["model", "KiB", "of fp32", "peak", "box px", "ms", "lost below", "verdict", "recommended"],
            list(_models(manifest, times)),
        ),
        *(part for name in FORMATS for part in _search(manifest, name)),
    ]
    return PAGE.format(title=escape(title), style=STYLE + CELLS, body="\n".join(parts))


def _models(manifest: Manifest, times: Latencies) -> Iterator[list[str]]:
    for item in manifest.verification:
        size, whole = (_bytes(manifest, item.format, precision) for precision in (item.precision, "fp32"))
        found = next(a for a in manifest.artifacts if (a.role, a.format, a.precision) == ("search", *_kind(item)))
        below = manifest.tracker.params.lost_below if found.lost_below is None else found.lost_below
        choice = manifest.recommended.get(item.format)
        is_chosen = choice is not None and choice.precision == item.precision
        yield [
            f"{item.format} {item.precision}",
            f"{size / 1024:.0f}",
            f"{size / whole:.0%}" if whole else "-",
            f"{item.peak_agreement:.1%}",
            "-" if item.box_px is None else f"{item.box_px:.2f}",
            f"{times[_kind(item)]:.2f}",
            "-" if below is None else f"{below:.3f}",
            _verdict(item.verdict, item.reason),
            f'<span class="better">yes</span>: {escape(choice.reason)}' if is_chosen and choice else "",
        ]


def _kind(item: Verification) -> tuple[Format, Precision]:
    return item.format, item.precision


def _bytes(manifest: Manifest, name: Format, precision: str) -> int:
    artifacts = (item for item in manifest.artifacts if (item.format, item.precision) == (name, precision))
    return sum(entry.bytes for item in artifacts for entry in item.files)


def _verdict(verdict: str, reason: str) -> str:
    kind = "better" if verdict == "pass" else "worse"
    return f'<span class="{kind}">{escape(verdict)}</span>: {escape(reason)}'


def _search(manifest: Manifest, name: Format) -> Iterator[str]:
    """What was tried for one format, in order, what each group of operators costs, and what stayed float."""
    trials = [item for item in manifest.quantization if item.format == name]
    if not trials:
        return
    yield f"<h2>{name}: what was tried</h2>"
    head = [
        "recipe",
        "ranges",
        "why",
        "in float besides",
        "int8 products",
        "KiB",
        "peak",
        "box px",
        "tracking",
        "verdict",
    ]
    yield _with_reasons(head, [_trial(item) for item in trials])
    yield f"<h2>{name}: sensitivity</h2>"
    yield from _sensitivity(trials)
    chosen = next(item for item in trials if item.chosen)
    yield f"<h2>{name}: what computes in float</h2>"
    note = next(a.notes for a in manifest.artifacts if (a.role, a.format, a.precision) == ("search", name, "int8"))
    _, _, floating = note.partition(FLOAT_MARK)
    total = chosen.int8 + chosen.floating
    names = ", ".join(f"<code>{escape(item)}</code>" for item in floating.split(", ") if item)
    yield f"<p>{chosen.int8} of {total} convolutions and products compute in int8, counted in the graph. The others: "
    yield f"{names or 'see the note of the artifact: ' + escape(note)}.</p>"


def _with_reasons(head: list[str], rows: list[list[str]]) -> str:
    return f'<div class="reasons">{table(head, rows)}</div>'


def _trial(item: QuantizationTrial) -> list[str]:
    recipe = escape(item.recipe).replace("_", "_<wbr>").replace("+", "<wbr>+")
    name = f"<b>{recipe}</b> (chosen)" if item.chosen else recipe
    drop = "-" if item.tracking is None else f"{item.tracking.metric} {item.tracking.int8 - item.tracking.fp32:+.4f}"
    return [
        name,
        escape(item.calibration),
        escape(item.purpose),
        f"{len(item.excluded)} products",
        f"{item.int8} of {item.int8 + item.floating}",
        f"{item.bytes / 1024:.0f}",
        f"{item.peak_agreement:.1%}",
        "-" if item.box_px is None else f"{item.box_px:.2f}",
        drop,
        _verdict(item.verdict, item.reason),
    ]


def _sensitivity(trials: list[QuantizationTrial]) -> Iterator[str]:
    groups = [item for item in trials if item.purpose == "sensitivity"]
    if not groups:
        yield NO_SENSITIVITY
        return
    yield "<p>Each group of neighbouring operators was put back to float alone. What that gains is what it costs.</p>"
    rows = [
        [
            ", ".join(f"<code>{escape(label)}</code>" for label in item.excluded),
            f"{item.peak_agreement:.1%}",
            "-" if item.box_px is None else f"{item.box_px:.2f}",
        ]
        for item in groups
    ]
    yield table(["group in float", "peak", "box px"], rows)
