"""Who may change what is on the device: one flash at a time, and one switch at a time."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class BusyError(Exception):
    """Another flash of this device is under way."""


@contextmanager
def flashing(base: Path) -> Iterator[None]:
    """Keep a second flash out.

    Raises:
        BusyError: Another one is under way.
    """
    base.mkdir(parents=True, exist_ok=True)
    with (base / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError from error
        yield


@contextmanager
def switching(base: Path) -> Iterator[None]:
    """Wait for a switch to end, also one whose connection broke, and keep another one out."""
    with (base / "switch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
