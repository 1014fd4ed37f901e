"""What a bundle says of itself, as tables for a person."""

from collections.abc import Mapping

from rich.table import Table

from siamedge.runtime.backends import Format, Precision
from siamedge.runtime.manifest import Manifest, Verification

Latencies = Mapping[tuple[Format, Precision], float]


def verification_table(manifest: Manifest, latencies: Latencies | None = None) -> Table:
    """Show how far each format and precision is from the source network.

    Args:
        manifest: Of the bundle.
        latencies: CPU milliseconds of the search graph where they were measured, if they were.
    """
    crops = manifest.verification[0].crops if manifest.verification else 0
    table = Table(title=f"{manifest.name}: {manifest.tracker.arch}, against the source network on {crops} crops")
    table.add_column("format")
    for heading in ("precision", "KiB", "max diff", "cosine", "peak", "box px"):
        table.add_column(heading, justify="left" if heading == "precision" else "right")
    if latencies is not None:
        table.add_column("ms here", justify="right")
    table.add_column("verdict")
    for item in manifest.verification:
        row = _row(manifest, item)
        if latencies is not None:
            row.append(f"{latencies[item.format, item.precision]:.2f}")
        table.add_row(*row, item.verdict if item.verdict == "pass" else f"{item.verdict}: {item.reason}")
    return table


def _row(manifest: Manifest, item: Verification) -> list[str]:
    artifacts = [a for a in manifest.artifacts if (a.format, a.precision) == (item.format, item.precision)]
    size = sum(entry.bytes for artifact in artifacts for entry in artifact.files)
    outputs = [
        name for artifact in artifacts if artifact.role == "search" for name in (o.name for o in artifact.outputs)
    ]
    found = [item.differences[name] for name in outputs]
    return [
        item.format,
        item.precision,
        f"{size / 1024:.0f}",
        f"{max(d.max_abs for d in found):.2g}",
        f"{min(d.cosine for d in found):.5f}",
        f"{item.peak_agreement:.0%}",
        "-" if item.box_px is None else f"{item.box_px:.2f}",
    ]


def recommendation_lines(manifest: Manifest) -> list[str]:
    """Say which precision each format should run in, and why."""
    return [f"{name}: use {item.precision} ({item.reason})" for name, item in sorted(manifest.recommended.items())]
