"""The seam to what is live: a connection that delivers frames as they come, not yet decoded."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from siamedge.runtime.geometry import Image


class Packet(NamedTuple):
    """One frame as it came from a feed, not yet decoded.

    Attributes:
        captured_s: `time.monotonic()` when it arrived.
        glance: Some of what arrived; where it differs, the pictures do.
        whole: Gives all of it.
        decode: Gives the picture, or None if it is damaged.
    """

    captured_s: float
    glance: bytes
    whole: Callable[[], bytes]
    decode: Callable[[], Image | None]


class Feed(Protocol):
    """A connection that delivers frames as they come; read and close belong to one thread."""

    @property
    def fps(self) -> float:
        """Frames a second that it claims, > 0."""

    def read(self) -> Packet:
        """Wait for the next frame.

        Raises:
            SourceError: It ended, or nothing came within the read time-out.
        """

    def interrupt(self) -> None:
        """Make a waiting read return soon; called from another thread."""

    def close(self) -> None:
        """Free the connection."""
