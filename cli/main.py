"""The entry point of the siamedge command: the table of commands, and the only place that prints errors."""

import os
import sys
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, NoReturn

import typer

from siamedge.runtime.errors import SiamedgeError

COMMANDS = {
    "doctor": "siamedge.cli.doctor:doctor",
    "eval": "siamedge.cli.eval:evaluate",
    "export": "siamedge.cli.export:export",
    "flash": "siamedge.cli.flash:flash",
    "inspect": "siamedge.cli.inspect:inspect",
    "track": "siamedge.cli.track:track",
    "tune": "siamedge.cli.tune:tune",
}
"""Command to the function that runs it."""
ALONE = {"--web": "127.0.0.1:8765"}
"""Options whose value may be left out, and the value that they have then."""

USAGE_ERROR: Any = typer.BadParameter.__mro__[1]
"""The base of everything that is wrong with a command line; typer exports only this descendant of it."""
INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT."""

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False, invoke_without_command=True)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"siamedge {version('siamedge')}")
        raise typer.Exit


@app.callback()
def siamedge(
    context: typer.Context,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Put a Siamese tracker on an edge device: export and verify it, flash it, track with it."""
    if context.invoked_subcommand is None:
        context.fail("no command given")


for _name, _target in COMMANDS.items():
    _module, _attribute = _target.split(":")
    app.command(_name)(getattr(import_module(_module), _attribute))


def main() -> None:
    """Run the command line; exit 1 for what the user can mend, 2 for wrong usage, 130 for Ctrl-C."""
    try:
        code = app(with_values(sys.argv[1:]), prog_name="siamedge", standalone_mode=False)
    except SiamedgeError as error:
        _stop(str(error), error.hint, 1)
    except USAGE_ERROR as error:
        command = next((f" {name}" for name in sys.argv[1:2] if name in COMMANDS), "")
        _stop(as_one_line(error.format_message()), f"siamedge{command} --help", 2)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has left; Python would complain when it flushes the rest at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    if code == INTERRUPTED:
        _stop("interrupted", "", INTERRUPTED)
    sys.exit(code)


def with_values(arguments: list[str]) -> list[str]:
    """Give the options that may stand alone their value, since typer has no optional values."""
    filled: list[str] = []
    for place, argument in enumerate(arguments):
        filled.append(argument)
        following = arguments[place + 1 : place + 2]
        if argument in ALONE and (not following or following[0].startswith("-")):
            filled.append(ALONE[argument])
    return filled


def as_one_line(message: str) -> str:
    """Give typer's text about a usage error in the form of our own messages."""
    line = " ".join(message.split()).rstrip(".")
    return line[:1].lower() + line[1:]


def _stop(message: str, hint: str, code: int) -> NoReturn:
    print(f"siamedge: {message}", file=sys.stderr)  # noqa: T201
    if hint:
        print(f"  try: {hint}", file=sys.stderr)  # noqa: T201
    sys.exit(code)
