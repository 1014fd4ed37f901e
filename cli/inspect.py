"""`siamedge inspect`: what a bundle holds."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from siamedge.runtime.manifest import Manifest


def inspect(
    bundle: Annotated[Path, typer.Argument(help="A bundle: NAME.siamedge or its zip file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Verify a bundle and show what it holds."""
    from siamedge.runtime.bundle import Bundle
    from siamedge.runtime.records import to_json

    opened = Bundle.open(bundle)
    if as_json:
        sys.stdout.write(to_json(opened.manifest))
        return
    print_bundle(opened.manifest)


def print_bundle(manifest: "Manifest") -> None:
    """Show a bundle to a person."""
    from rich.console import Console

    from siamedge.cli.tables import recommendation_lines, verification_table

    console = Console()
    origin = manifest.provenance
    console.print(f"{manifest.name}: {manifest.tracker.arch} ({manifest.tracker.family} tracker)", highlight=False)
    console.print(f"weights      {origin.checkpoint} sha256 {origin.checkpoint_sha256[:12]}", highlight=False)
    console.print(f"calibration  {origin.calibration or 'none'}", highlight=False)
    tools = ", ".join(f"{name} {number}" for name, number in origin.tools.items())
    console.print(f"made with    {tools}", highlight=False)
    console.print(f"licence      {manifest.license}", highlight=False)
    console.print(f"files        {len(manifest.files)} verified, {sum(f.bytes for f in manifest.files) / 1e6:.1f} MB")
    console.print(verification_table(manifest))
    for line in recommendation_lines(manifest):
        console.print(line, highlight=False)
