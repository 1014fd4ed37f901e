"""Keeping the remarks of C libraries off the user's terminal."""

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

_ENTERING = threading.Lock()


class NativeStderr(NamedTuple):
    """C's stream for remarks.

    Attributes:
        variable: The C library's variable `stderr`, which all libraries of this process print to.
        stream: The stream that it held at first.
        null: A stream to nowhere; it stays open, since another thread may be printing to it.
    """

    variable: ctypes.c_void_p
    stream: int
    null: int


@contextmanager
def quiet_native_stderr() -> Iterator[None]:
    """Drop what C libraries print meanwhile, in any thread.

    libjpeg's remarks on damaged files and LiteRT's on its delegate cannot be turned off otherwise. Descriptor 2 is left
    alone, for what the other threads tell in Python goes there too. Only glibc lets its `stderr` be changed; beside
    another C library the remarks are seen.
    """
    with _ENTERING:
        native = native_stderr()
    if native is None:
        yield
        return
    native.variable.value = native.null
    try:
        yield
    finally:
        native.variable.value = native.stream


@cache
def native_stderr() -> NativeStderr | None:
    """C's stream for remarks, which must not have been changed before the first call; None where it cannot be."""
    if "CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", {}):
        return None
    library = ctypes.CDLL(None)
    library.fopen.restype = ctypes.c_void_p
    variable = ctypes.c_void_p.in_dll(library, "stderr")
    null = library.fopen(os.devnull.encode(), b"we")
    return NativeStderr(variable, variable.value, null) if variable.value and null else None
