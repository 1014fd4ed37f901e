"""The cameras of a Linux machine and their modes, asked of the kernel (V4L2)."""

import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

QUERYCAP, ENUM_FORMATS, ENUM_SIZES, ENUM_INTERVALS = 0x80685600, 0xC0405602, 0xC02C564A, 0xC034564B
"""Numbers of the requests; they hold the sizes of the structures: 104, 64, 44 and 52 bytes."""
VIDEO_CAPTURE, DEVICE_CAPS = 0x00000001, 0x80000000
DISCRETE = 1
MOST = 64
"""Formats, sizes or rates that are asked for at most; a driver that never ends its list is cut off here."""

Ask = Callable[[int, bytearray], bool]
"""Sends one request with its structure, which is filled in; False when the driver has no (more) answer."""
Opener = Callable[[Path], AbstractContextManager[Ask]]


class Mode(NamedTuple):
    """One way in which a camera can send.

    Attributes:
        pixel_format: Four letters, such as MJPG.
        width: Pixels.
        height: Pixels.
        fps: The highest rate; 0 when the driver does not say.
    """

    pixel_format: str
    width: int
    height: int
    fps: float


class CameraInfo(NamedTuple):
    """One camera.

    Attributes:
        device: /dev/videoN.
        name: As the driver calls it.
        stable: Its path under /dev/v4l/by-id, which stays when cameras are plugged in another order; "" if none.
        modes: None: they could not be asked for, see problem.
        problem: Why not.
    """

    device: str
    name: str
    stable: str
    modes: tuple[Mode, ...] | None
    problem: str = ""


def find_cameras(root: Path = Path("/"), opener: Opener | None = None) -> list[CameraInfo]:
    """The cameras of this machine, in the order of their numbers; nodes that capture no video are left out.

    Args:
        root: Where /dev and /sys are, for tests.
        opener: Opens a device for requests, for tests.

    Returns:
        One entry a camera; a camera that another user holds is there with the problem.
    """
    nodes = [path for path in (root / "dev").glob("video*") if path.name[5:].isdecimal()]
    found = [describe(root, node, opener or open_device) for node in sorted(nodes, key=lambda n: int(n.name[5:]))]
    return [camera for camera in found if camera is not None]


def describe(root: Path, node: Path, opener: Opener) -> CameraInfo | None:
    """One node as a camera; None if it captures no video (metadata, codecs and outputs have nodes too)."""
    device, name = f"/dev/{node.name}", read_name(root, node.name)
    try:
        with opener(node) as ask:
            modes = tuple(modes_of(ask)) if is_capture(ask) else None
    except OSError as error:
        reason = error.strerror or str(error)
        hint = ": sudo usermod -aG video $USER, then log in again" if isinstance(error, PermissionError) else ""
        return CameraInfo(device, name, stable_path(root, node), None, reason + hint)
    return None if modes is None else CameraInfo(device, name, stable_path(root, node), modes)


def read_name(root: Path, node: str) -> str:
    """The driver's name of a node, from /sys."""
    path = root / "sys/class/video4linux" / node / "name"
    return path.read_text().strip() if path.is_file() else "unknown"


def stable_path(root: Path, node: Path) -> str:
    """The link under /dev/v4l/by-id that leads to a node; "" if there is none."""
    links = sorted((root / "dev/v4l/by-id").glob("*"))
    return next((f"/dev/v4l/by-id/{link.name}" for link in links if link.resolve() == node.resolve()), "")


@contextmanager
def open_device(node: Path) -> Iterator[Ask]:
    """Open a device for requests.

    Raises:
        OSError: This user may not, or it is gone.
    """
    handle = os.open(node, os.O_RDWR | os.O_NONBLOCK)

    def ask(request: int, structure: bytearray) -> bool:
        try:
            fcntl.ioctl(handle, request, structure)
        except OSError:
            return False
        return True

    try:
        yield ask
    finally:
        os.close(handle)


def is_capture(ask: Ask) -> bool:
    """Whether a node gives video (struct v4l2_capability: capabilities at byte 84, device_caps at 88)."""
    structure = bytearray(104)
    if not ask(QUERYCAP, structure):
        return False
    capabilities, own = struct.unpack_from("=II", structure, 84)
    return bool((own if capabilities & DEVICE_CAPS else capabilities) & VIDEO_CAPTURE)


def modes_of(ask: Ask) -> Iterator[Mode]:
    """Every format and size with its highest rate."""
    for index in range(MOST):
        structure = bytearray(struct.pack("=II", index, VIDEO_CAPTURE) + bytes(56))
        if not ask(ENUM_FORMATS, structure):
            return
        code = struct.unpack_from("=I", structure, 44)[0]
        for width, height in sizes_of(ask, code):
            name = code.to_bytes(4, "little").decode("latin-1")
            yield Mode(name, width, height, highest_rate(ask, code, width, height))


def sizes_of(ask: Ask, code: int) -> Iterator[tuple[int, int]]:
    """Sizes of a format: the listed ones, or the largest of a range (struct v4l2_frmsizeenum)."""
    for index in range(MOST):
        structure = bytearray(struct.pack("=II", index, code) + bytes(36))
        if not ask(ENUM_SIZES, structure):
            return
        kind, first, second = struct.unpack_from("=3I", structure, 8)
        if kind != DISCRETE:
            yield second, struct.unpack_from("=I", structure, 28)[0]
            return
        yield first, second


def highest_rate(ask: Ask, code: int, width: int, height: int) -> float:
    """Frames a second, from the shortest interval (struct v4l2_frmivalenum: a fraction of seconds at byte 20)."""
    best = 0.0
    for index in range(MOST):
        structure = bytearray(struct.pack("=IIII", index, code, width, height) + bytes(36))
        if not ask(ENUM_INTERVALS, structure):
            break
        kind, numerator, denominator = struct.unpack_from("=III", structure, 16)
        best = max(best, denominator / numerator if numerator else 0.0)
        if kind != DISCRETE:
            break
    return best
