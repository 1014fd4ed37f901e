"""Keeps the noise of conversion libraries off the terminal."""

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout


@contextmanager
def quiet() -> Iterator[None]:
    """Send everything that is written to stdout, stderr, logs and warnings meanwhile to nowhere.

    File descriptors are redirected, since C++ libraries write to them directly. If the block raises, what was
    written goes to the debug log of this module, so that it is not lost.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as sink, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with redirected_descriptors(sink.fileno()), redirect_stdout(sink), redirect_stderr(sink), no_logging():
                yield
        except BaseException:
            sink.flush()
            sink.seek(0)
            logging.getLogger(__name__).debug("written during the conversion:\n%s", sink.read())
            raise


@contextmanager
def no_logging() -> Iterator[None]:
    """Silence the logging module up to CRITICAL, then restore what was set."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


@contextmanager
def redirected_descriptors(target: int) -> Iterator[None]:
    """Point the process's descriptors 1 and 2 to a file, then back."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    saved = [(descriptor, os.dup(descriptor)) for descriptor in (1, 2)]
    try:
        for descriptor, _ in saved:
            os.dup2(target, descriptor)
        yield
    finally:
        for descriptor, copy in saved:
            os.dup2(copy, descriptor)
            os.close(copy)
