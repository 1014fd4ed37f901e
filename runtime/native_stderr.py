"""Keeping the remarks of C libraries off the user's terminal."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_native_stderr() -> Iterator[None]:
    """Drop what C libraries write to descriptor 2 meanwhile.

    libjpeg's remarks on damaged files and LiteRT's on its delegate cannot be turned off otherwise.
    """
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)
