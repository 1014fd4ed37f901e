"""The entry point of the siamedge command: the table of commands, and the only place that prints errors."""

import sys
from importlib import import_module
from importlib.metadata import version
from typing import Annotated

import typer

from siamedge.runtime.errors import SiamedgeError

COMMANDS = {
    "eval": "siamedge.cli.eval:evaluate",
    "doctor": "siamedge.cli.doctor:doctor",
    "export": "siamedge.cli.export:export",
    "flash": "siamedge.cli.flash:flash",
    "inspect": "siamedge.cli.inspect:inspect",
    "track": "siamedge.cli.track:track",
}
"""Command to the function that runs it."""

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"siamedge {version('siamedge')}")
        raise typer.Exit


@app.callback()
def siamedge(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Put a Siamese tracker on an edge device: export and verify it, flash it, track with it."""


for _name, _target in COMMANDS.items():
    _module, _attribute = _target.split(":")
    app.command(_name)(getattr(import_module(_module), _attribute))


def main() -> None:
    """Run the command line; exit 1 for what the user can mend, 2 for wrong usage, 130 for Ctrl-C."""
    try:
        app()
    except SiamedgeError as error:
        print(f"siamedge: {error}", file=sys.stderr)  # noqa: T201
        if error.hint:
            print(f"  try: {error.hint}", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    except KeyboardInterrupt:
        print("siamedge: interrupted", file=sys.stderr)  # noqa: T201
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
