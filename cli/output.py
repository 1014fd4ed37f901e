"""Standard output and error as every command has them: what they refuse is an error of ours, and neither is missing."""

import io
import os
import sys
from typing import TYPE_CHECKING

from siamedge.runtime.errors import PlaceError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Output(io.FileIO):
    """Standard output; once it refused something, it takes and drops the rest, which Python writes at its exit."""

    def write(self, content: "ReadableBuffer", /) -> int:
        """Write to it.

        Raises:
            PlaceError: Its disk is full, or it was closed.
            BrokenPipeError: Whoever read it has left.
        """
        try:
            return super().write(content)
        except BrokenPipeError:
            raise
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            raise PlaceError(
                f"standard output: {error.strerror}", hint="is its disk full, or was it closed?"
            ) from error


class Remarks(io.FileIO):
    """Standard error; what it refuses is dropped: a run is worth more than the remarks on it."""

    def write(self, content: "ReadableBuffer", /) -> int:
        """Write to it, unless its disk is full, its reader has left or its terminal has gone."""
        try:
            return super().write(content)
        except OSError:
            return memoryview(content).nbytes


def open_streams() -> None:
    """Open standard output and error as above, also where the shell has closed them (`1>&-`).

    The next file that is opened would have their number, and get what is printed. Standard error drops everything then;
    output refuses, as results would be lost. A stream that stands in for the process's own is left alone.
    """
    given = sys.__stdout__
    if sys.stdout is given:
        number = os.open(os.devnull, os.O_RDONLY) if given is None else given.fileno()
        encoding, errors = (None, None) if given is None else (given.encoding, given.errors)
        raw = io.BufferedWriter(Output(number, "wb", closefd=False))
        sys.stdout = io.TextIOWrapper(raw, encoding, errors, line_buffering=raw.isatty())
    told = sys.__stderr__
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    elif sys.stderr is told:
        remarks = io.BufferedWriter(Remarks(told.fileno(), "wb", closefd=False))
        sys.stderr = io.TextIOWrapper(remarks, told.encoding, told.errors, line_buffering=True)
