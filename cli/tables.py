"""What a bundle says of itself, as tables for a person."""

from collections.abc import Mapping

from rich import box
from rich.table import Table

from siamedge.runtime.backends.backend import Format, Precision
from siamedge.runtime.bundles.manifest import Manifest, QuantizationTrial, Verification

Latencies = Mapping[tuple[Format, Precision], float]


def verification_table(manifest: Manifest, latencies: Latencies | None = None) -> Table:
    """Show how far each format and precision is from the source network.

    Args:
        manifest: Of the bundle.
        latencies: CPU milliseconds of the search graph where they were measured, if they were.
    """
    crops = manifest.verification[0].crops if manifest.verification else 0
    title = f"{manifest.name} ({manifest.tracker.arch}) against the source network on {crops} crops"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("model", no_wrap=True)
    headings = ("KiB", "max diff", "cosine", "peak", "box px", *(("ms",) if latencies is not None else ()))
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for item in manifest.verification:
        row = _row(manifest, item)
        if latencies is not None:
            row.append(f"{latencies[item.format, item.precision]:.2f}")
        table.add_row(*row, "pass" if item.verdict == "pass" else "over budget")
    return table


def _row(manifest: Manifest, item: Verification) -> list[str]:
    artifacts = [a for a in manifest.artifacts if (a.format, a.precision) == (item.format, item.precision)]
    size = sum(entry.bytes for artifact in artifacts for entry in artifact.files)
    outputs = [
        name for artifact in artifacts if artifact.role == "search" for name in (o.name for o in artifact.outputs)
    ]
    found = [item.differences[name] for name in outputs]
    return [
        f"{item.format} {item.precision}",
        f"{size / 1024:.0f}",
        f"{max(d.max_abs for d in found):.2g}",
        f"{min(d.cosine for d in found):.5f}",
        f"{item.peak_agreement:.0%}",
        "-" if item.box_px is None else f"{item.box_px:.2f}",
    ]


def quantization_lines(manifest: Manifest) -> list[str]:
    """Say for each format which int8 was chosen, out of how many that were tried, and what it costs in tracking."""
    lines = []
    for item in (trial for trial in manifest.quantization if trial.chosen):
        tried = sum(trial.format == item.format for trial in manifest.quantization)
        verdict = "within budget" if item.verdict == "pass" else "none within budget, this is the nearest"
        boxes = "" if item.box_px is None else f", boxes {item.box_px:.2f} px"
        lines.append(
            f"{item.format} int8: {verdict} after {tried} tried: {item.calibration}, {item.int8} of "
            f"{item.int8 + item.floating} products in int8, peak {item.peak_agreement:.1%}{boxes}{_drop(item)}"
        )
    return lines


def _drop(item: QuantizationTrial) -> str:
    drop = item.tracking
    if drop is None:
        return ""
    interval = "" if drop.low is None or drop.high is None else f" (95 %: {drop.low:+.4f} to {drop.high:+.4f})"
    return f", {drop.metric} {drop.int8:.4f}, drop {drop.drop:+.4f}{interval} on {drop.sequences} sequences"


def recommendation_lines(manifest: Manifest) -> list[str]:
    """Say what missed its budget, and which precision each format should run in."""
    over = [v for v in manifest.verification if v.verdict != "pass"]
    lines = [f"{v.format} {v.precision} is not recommended: {v.reason}" for v in over]
    for name, item in sorted(manifest.recommended.items()):
        lines.append(f"{name}: use {item.precision} ({item.reason})")
    return lines
