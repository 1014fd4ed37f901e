"""siamedge status and siamedge logs: how the service on a device is."""

import json
from typing import Annotated

import typer


def status(
    target: Annotated[str, typer.Argument(help="ssh://user@host[:port]")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say which release runs, since when, how fast, and how warm the device is."""
    from siamedge.devices.diagnosis.diagnosing import record
    from siamedge.devices.flashing.targets import connected, open_target

    with open_target(target) as transport:
        device = record(transport)
        remote = connected(transport)
        found = remote.call("status", remote.scope)
    service = found["service"]
    report = {
        "release": found["release"],
        "previous": found["previous"],
        "state": service.get("ActiveState", "no service"),
        "since": service.get("ActiveEnterTimestamp", ""),
        "restarts": int(service.get("NRestarts", 0)),
        "tracking": service.get("StatusText", ""),
        "temperature_c": device.temperature_c,
        "throttled": bool(device.power and device.power.throttled_now),
    }
    if as_json:
        typer.echo(json.dumps(report, sort_keys=True))
    else:
        for name, value in report.items():
            typer.echo(f"{name.replace('_', ' '):14} {value if value not in ('', None) else '-'}")


def logs(
    target: Annotated[str, typer.Argument(help="ssh://user@host[:port]")],
    lines: Annotated[int, typer.Option("-n", min=1, help="How many of the last lines.")] = 50,
) -> None:
    """Print the last lines of the service."""
    from siamedge.devices.flashing.targets import connected, open_target

    with open_target(target) as transport:
        remote = connected(transport)
        typer.echo(remote.text("logs", remote.scope, str(lines)), nl=False)
