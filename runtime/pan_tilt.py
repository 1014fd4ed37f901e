"""Where to turn a camera so that the target comes to the middle, sent by UDP for a gimbal's controller."""

import json
import re
import socket

from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Box
from siamedge.runtime.loop import Step


def offset_of(box: Box, width: int, height: int) -> tuple[float, float]:
    """How far the target's centre is from the frame's, -1..1 at the frame's edges: right and down are positive."""
    center = box.center
    return 2 * center.x / width - 1, 2 * center.y / height - 1


class PanTiltOutput:
    """Sends {"pan", "tilt", "state", "frame"} of each frame as one datagram; 0, 0 while the target is lost.

    Args:
        address: udp://HOST:PORT.

    Raises:
        SourceError: The address is none, or the host has no address.
    """

    def __init__(self, address: str) -> None:
        match = re.fullmatch(r"udp://(\[[0-9A-Fa-f:]+\]|[^:/\[\]]+):(\d{1,5})/?", address)
        if not match or not 0 < int(match[2]) < 65536:
            raise SourceError(f"--pan-tilt {address}: not udp://HOST:PORT", hint="for example udp://192.168.1.20:9000")
        try:
            found = socket.getaddrinfo(match[1].strip("[]"), int(match[2]), type=socket.SOCK_DGRAM)[0]
        except OSError as error:
            raise SourceError(f"--pan-tilt {address}: {error.strerror}", hint="is the name right?") from error
        self._to = found[4]
        self._socket = socket.socket(found[0], socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def __enter__(self) -> "PanTiltOutput":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, step: Step) -> None:
        """Send one frame's offset; a network that is down or busy loses it, as datagrams may be lost anyway."""
        height, width = step.frame.image.shape[:2]
        pan, tilt = (0.0, 0.0) if step.state == "lost" else offset_of(step.result.box, width, height)
        message = {"pan": round(pan, 5), "tilt": round(tilt, 5), "state": step.state, "frame": step.frame.index}
        try:
            self._socket.sendto(json.dumps(message).encode(), self._to)
        except OSError:
            return
