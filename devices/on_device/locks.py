"""Who may change what is on the device: one flash at a time, and one switch at a time."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def flashing(base: Path) -> Iterator[None]:
    """Keep a second flash out.

    Raises:
        BlockingIOError: Another one is under way.
    """
    base.mkdir(parents=True, exist_ok=True)
    with (base / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


@contextmanager
def switching(base: Path) -> Iterator[None]:
    """One switch at a time, also after the connection that asked for it broke."""
    with (base / "switch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
