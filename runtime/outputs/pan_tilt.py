"""Where to turn a camera so that the target comes to the middle, sent by UDP or a serial line to a gimbal."""

import json
import os
import re
import socket
import termios
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Box
from siamedge.runtime.loop import Step

BAUD_RATES: Mapping[int, int] = {
    rate: getattr(termios, f"B{rate}") for rate in (9600, 19200, 38400, 57600, 115200, 230400)
}
DEFAULT_BAUD = 115200
HINT = "for example udp://192.168.1.20:9000 or serial:/dev/ttyUSB0?baud=115200"


def offset_of(box: Box, width: int, height: int) -> tuple[float, float]:
    """How far the target's centre is from the frame's, -1..1 at the frame's edges: right and down are positive."""
    center = box.center
    return 2 * center.x / width - 1, 2 * center.y / height - 1


class Line(Protocol):
    """Takes messages to a gimbal; one that cannot be taken now is lost, as the next is 1/30 s away."""

    def send(self, message: bytes) -> None:
        """Send one message without waiting."""

    def close(self) -> None:
        """Free the connection."""


class Datagrams:
    """A message is a datagram.

    Args:
        host: Name or address.
        port: 1..65535.

    Raises:
        OSError: The host has no address.
    """

    def __init__(self, host: str, port: int) -> None:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        self._to = found[4]
        self._socket = socket.socket(found[0], socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def send(self, message: bytes) -> None:
        """Send one; a network that is down or busy loses it."""
        try:
            self._socket.sendto(message, self._to)
        except OSError:
            return

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class SerialLine:
    """A message is a line of text on a character device: 8 data bits, no parity, 1 stop bit, no flow control.

    Args:
        path: Such as /dev/ttyUSB0.
        baud: One of BAUD_RATES.

    Raises:
        OSError: The device cannot be opened.
        termios.error: It is no serial line.
    """

    def __init__(self, path: Path, baud: int) -> None:
        self._device = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        self._rest = b""
        try:
            make_raw(self._device, baud)
        except termios.error:
            os.close(self._device)
            raise

    def send(self, message: bytes) -> None:
        """Send one and a line end; a line is sent to its end before the next begins, so that none is torn."""
        try:
            if self._rest:
                self._rest = self._rest[os.write(self._device, self._rest) :]
            if not self._rest:
                line = message + b"\n"
                self._rest = line[os.write(self._device, line) :]
        except OSError:
            return

    def close(self) -> None:
        """Close the device."""
        os.close(self._device)


def make_raw(device: int, baud: int) -> None:
    """Let a terminal pass bytes on as they are, at a speed.

    Raises:
        termios.error: It is no terminal.

    Source: termios(3), cfmakeraw.
    """
    attributes = termios.tcgetattr(device)
    attributes[0] = attributes[1] = attributes[3] = 0
    attributes[2] = termios.CS8 | termios.CLOCAL | termios.CREAD
    attributes[4] = attributes[5] = BAUD_RATES[baud]
    termios.tcsetattr(device, termios.TCSANOW, attributes)


class PanTiltOutput:
    """Sends {"pan", "tilt", "state", "frame"} of each frame; 0, 0 while the target is lost.

    Args:
        address: udp://HOST:PORT, one datagram a frame, or serial:DEVICE?baud=RATE, one line a frame.

    Raises:
        SourceError: The address is none, the host has no address, or the device is no serial line.
    """

    def __init__(self, address: str) -> None:
        self._line = open_line(address)

    def __enter__(self) -> "PanTiltOutput":
        return self

    def __exit__(self, *_: object) -> None:
        self._line.close()

    def send(self, step: Step) -> None:
        """Send one frame's offset."""
        height, width = step.frame.image.shape[:2]
        pan, tilt = (0.0, 0.0) if step.state == "lost" else offset_of(step.result.box, width, height)
        message = {"pan": round(pan, 5), "tilt": round(tilt, 5), "state": step.state, "frame": step.frame.index}
        self._line.send(json.dumps(message).encode())


def open_line(address: str) -> Line:
    """Open what an address names; errors as those of PanTiltOutput."""
    try:
        if match := re.fullmatch(r"udp://(\[[0-9A-Fa-f:]+\]|[^:/\[\]]+):(\d{1,5})/?", address):
            if 0 < int(match[2]) < 65536:
                return Datagrams(match[1].strip("[]"), int(match[2]))
        elif match := re.fullmatch(r"serial:(?://)?(/[^?]+)(?:\?baud=(\d{1,7}))?", address):
            return open_serial(address, Path(match[1]), int(match[2] or DEFAULT_BAUD))
    except (OSError, UnicodeError) as error:
        reason = "no host has such a name" if isinstance(error, UnicodeError) else error.strerror
        raise SourceError(f"--pan-tilt {address}: {reason}", hint="is the name right?") from error
    raise SourceError(f"--pan-tilt {address}: not udp://HOST:PORT or serial:DEVICE", hint=HINT)


def open_serial(address: str, path: Path, baud: int) -> SerialLine:
    """Open a serial line.

    Raises:
        SourceError: The speed is none that we know, or the device is no serial line.
        OSError: The device cannot be opened.
    """
    if baud not in BAUD_RATES:
        raise SourceError(f"--pan-tilt {address}: no speed {baud}", hint=f"one of {', '.join(map(str, BAUD_RATES))}")
    try:
        return SerialLine(path, baud)
    except termios.error as error:
        raise SourceError(f"--pan-tilt {address}: {path} is no serial line", hint=HINT) from error
