"""siamedge doctor: what a device can do, what it cannot, and what helps."""

import json
import sys
from typing import Annotated

import typer


def doctor(
    target: Annotated[str, typer.Argument(help="ssh://user@host[:port]; without: this machine.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check a device: every inference library on every processor, camera, disk, clock, temperature, power.

    Exits with 0 when all is well, 3 with a warning, 4 with a failure.
    """
    from siamedge.devices.connection.transport import LocalTransport, SshTransport, parse_ssh_target
    from siamedge.devices.diagnosis.diagnosing import diagnose
    from siamedge.runtime.bundles.records import plain

    if target:
        with SshTransport(parse_ssh_target(target)) as device:
            found = diagnose(device)
    else:
        with LocalTransport() as here:
            found = diagnose(here, (sys.executable,))
    if as_json:
        typer.echo(json.dumps(plain(found) | {"exit_code": found.exit_code}, sort_keys=True))
    else:
        _show(found.target, [tuple(row) for row in found.findings])
    raise typer.Exit(found.exit_code)


def _show(title: str, rows: list[tuple[str, ...]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from siamedge.cli.consoles import plain_console

    colours = {"ok": "green", "note": "cyan", "warning": "yellow", "failure": "bold red"}
    table = Table(title=title, box=None, title_justify="left", show_header=False)
    for _ in range(4):
        table.add_column(overflow="fold")
    for severity, subject, message, fix in rows:
        table.add_row(Text(severity, colours[severity]), subject, Text(message), Text(fix, "dim"))
    plain_console().print(table)
