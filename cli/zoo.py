"""`siamedge zoo`: the published checkpoints that `siamedge export` knows by name."""

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer


def zoo(as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False) -> None:
    """List the published checkpoints that can be exported by name, and which of them are here."""
    from siamedge.export.checkpoints.zoo import ZOO

    if as_json:
        rows = [{"name": name, **asdict(item), "is_here": item.path.is_file()} for name, item in ZOO.items()]
        sys.stdout.write(json.dumps(rows, indent=1, sort_keys=True) + "\n")
        return
    from rich import box
    from rich.table import Table

    from siamedge.cli.consoles import plain_console

    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("name", "MB", "licence", "from", "here"):
        table.add_column(heading, justify="right" if heading == "MB" else "left")
    for name, item in ZOO.items():
        size = f"{item.bytes / 1e6:.1f}"
        table.add_row(name, size, item.license, item.reference, "yes" if item.path.is_file() else "no")
    console = plain_console()
    console.print(table)
    folder = next(iter(ZOO.values())).path.parent
    console.print(f"fetched by `siamedge export NAME`, kept in {folder}", soft_wrap=True)
