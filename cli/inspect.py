"""`siamedge inspect`: what a bundle holds."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from siamedge.runtime.bundles.manifest import Manifest


def inspect(
    bundle: Annotated[Path, typer.Argument(help="A bundle: NAME.siamedge or its zip file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Verify a bundle and show what it holds."""
    from siamedge.runtime.bundles.bundle import Bundle
    from siamedge.runtime.bundles.records import to_json

    opened = Bundle.open(bundle)
    if as_json:
        sys.stdout.write(to_json(opened.manifest))
        return
    print_bundle(opened.manifest)


def print_bundle(manifest: "Manifest") -> None:
    """Show a bundle to a person."""
    from siamedge.cli.consoles import plain_console
    from siamedge.cli.tables import recommendation_lines, verification_table

    console = plain_console()
    origin = manifest.provenance
    lines = (
        f"{manifest.name}: {manifest.tracker.arch} ({manifest.tracker.family} tracker)",
        f"weights      {origin.checkpoint} sha256 {origin.checkpoint_sha256[:12]}",
        f"calibration  {origin.calibration or 'none'}",
        f"made with    {', '.join(f'{name} {number}' for name, number in origin.tools.items())}",
        f"licence      {manifest.license}",
        f"files        {len(manifest.files)} verified, {sum(f.bytes for f in manifest.files) / 1e6:.1f} MB",
    )
    console.print("\n".join(lines), soft_wrap=True)
    console.print(verification_table(manifest))
    for line in recommendation_lines(manifest):
        console.print(line, soft_wrap=True)
