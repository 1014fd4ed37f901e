"""What the service on a device is to run, as people write it: checked before a device is asked."""

import shlex

import typer

from siamedge.cli.choices import parse_choices


def service_words(text: str) -> tuple[str, ...]:
    """Split the value of --run as a shell does, and give options that may stand alone their value.

    Args:
        text: Arguments of `siamedge track` after the bundle; nothing: there is no service.

    Raises:
        typer.BadParameter: A quotation is not closed, or `siamedge track` does not take these arguments.
    """
    from siamedge.cli.main import USAGE_ERROR, as_one_line, with_values
    from siamedge.cli.track import track

    try:
        words = with_values(shlex.split(text))
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: {str(error).lower()}", param_hint="'--run'") from error
    if not words:
        return ()
    app = typer.Typer(add_completion=False)
    app.command()(track)
    try:
        typer.main.get_command(app).make_context("track", ["BUNDLE", *words])
    except USAGE_ERROR as error:
        raise typer.BadParameter(f"{text!r}: {as_one_line(error.format_message())}", param_hint="'--run'") from error
    return tuple(words)


def service_backends(text: str) -> tuple[str, ...]:
    """Read the value of --backends; nothing: the profile's.

    Raises:
        typer.BadParameter: One is unknown.
    """
    from siamedge.runtime.backends.backend import BACKENDS

    return parse_choices(text, list(BACKENDS), "--backends") if text else ()


def service_of(run: str, backends: str, where: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Arguments of `siamedge track`, and backends, that do not come from the command line.

    Args:
        run: See service_words.
        backends: See service_backends.
        where: File and device, for messages.

    Raises:
        DeviceError: They are wrong.
    """
    from siamedge.cli.main import USAGE_ERROR, as_one_line
    from siamedge.runtime.errors import DeviceError

    try:
        return service_words(run), service_backends(backends)
    except USAGE_ERROR as error:
        message = as_one_line(error.format_message())
        raise DeviceError(f"{where}: {message}", hint="docs/flash.md has an example") from error
