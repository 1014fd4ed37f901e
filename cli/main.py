"""The entry point of the siamedge command: the table of commands, and the only place that prints errors."""

import gc
import os
import signal
import sys
from importlib import import_module
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from siamedge.cli.output import open_streams
from siamedge.runtime.errors import SiamedgeError

COMMANDS = {
    "export": "siamedge.cli.export:export",
    "zoo": "siamedge.cli.zoo:zoo",
    "calibrate": "siamedge.cli.calibrate:calibrate",
    "inspect": "siamedge.cli.inspect:inspect",
    "train": "siamedge.cli.train:train",
    "eval": "siamedge.cli.eval:evaluate",
    "track": "siamedge.cli.track:track",
    "tune": "siamedge.cli.tune:tune",
    "bench": "siamedge.cli.bench:bench",
    "cameras": "siamedge.cli.cameras:cameras",
    "doctor": "siamedge.cli.doctor:doctor",
    "flash": "siamedge.cli.flash:flash",
    "status": "siamedge.cli.status:status",
    "logs": "siamedge.cli.status:logs",
    "sign": "siamedge.cli.sign:sign",
    "keys": "siamedge.cli.sign:keys",
}
"""Command to the function that runs it, or to a group of commands."""
ALONE = {"--web": "127.0.0.1:8765"}
"""Options whose value may be left out, and the value that they have then."""

USAGE_ERROR: Any = typer.BadParameter.__mro__[1]
"""The base of everything that is wrong with a command line; typer exports only this descendant of it."""
INTERRUPTED = 130
"""Exit code after Ctrl-C."""
ENDINGS = {signal.SIGTERM: "terminated", signal.SIGHUP: "the terminal has gone"}
"""Other signals that stop a command as Ctrl-C does, and what is said then; the exit code is 128 + the signal."""

COLLECT_AFTER = (50_000, 5, 5)
"""Python looks for garbage when there are so many new objects (else after 700): what a start makes stays in use, and
looking through it again and again took a twentieth of the start of `siamedge track`."""


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version

        typer.echo(f"siamedge {version('siamedge')}")
        raise typer.Exit


def siamedge(
    context: typer.Context,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Put a Siamese tracker on an edge device: export and verify it, flash it, track with it."""
    if context.invoked_subcommand is None:
        context.fail("no command given")


def make_app(asked: str | None) -> typer.Typer:
    """Build the command line.

    Args:
        asked: The first argument. Only its command is imported, which saves a quarter of the start; if it is no
            command, all are, for the help and for typer's message.
    """
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False, invoke_without_command=True)
    app.callback()(siamedge)
    for name in [asked] if asked in COMMANDS else COMMANDS:
        module, attribute = COMMANDS[name].split(":")
        command = getattr(import_module(module), attribute)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def main() -> None:
    """Run the command line; exit 1 for what the user can mend, 2 for wrong usage, 128 + the signal that ended it."""
    gc.set_threshold(*COLLECT_AFTER)
    open_streams()
    endings = heed_endings()
    try:
        app = make_app(next(iter(sys.argv[1:]), None))
        code = app(with_values(sys.argv[1:]), prog_name="siamedge", standalone_mode=False)
        sys.stdout.flush()
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
    if endings:
        _stop(ENDINGS[endings[0]], "", 128 + endings[0])
    if code == INTERRUPTED:
        _stop("interrupted", "", INTERRUPTED)
    sys.exit(code)


def heed_endings() -> list[signal.Signals]:
    """Have the signals of ENDINGS stop the command as Ctrl-C does, unless who started it wants one ignored (nohup).

    Returns:
        Those that came; empty until then.
    """
    seen: list[signal.Signals] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        seen.append(signal.Signals(number))
        raise KeyboardInterrupt

    for ending in ENDINGS:
        if signal.getsignal(ending) != signal.SIG_IGN:
            signal.signal(ending, stop)
    return seen


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
