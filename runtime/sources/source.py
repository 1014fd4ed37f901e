"""Where frames come from: one address syntax for files, folders, cameras, streams and a synthetic scene."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Protocol, cast

import numpy as np

from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Box, Image

SourceKind = Literal["file", "folder", "camera", "csi", "stream", "synthetic"]
EventKind = Literal["stalled", "frozen", "resumed", "resized", "unreadable", "reconnecting", "reconnected", "ended"]
SCHEMES: Mapping[str, SourceKind] = {
    "synthetic": "synthetic",
    "csi": "csi",
    "file": "file",
    "http": "stream",
    "https": "stream",
    "rtsp": "stream",
    "rtsps": "stream",
    "udp": "stream",
    "tcp": "stream",
}
"""What stands before the first colon of an address; addresses without one are a camera number or a path."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a source.

    Attributes:
        image: (H, W, 3) uint8, BGR; the size may change from frame to frame.
        index: 0-based number in the source; a live source counts the frames that it dropped too.
        time_s: Position in the recording, or capture time since the first frame of a live source; the first is 0.
        captured_s: `time.monotonic()` when a live source captured it; None for recordings.
    """

    image: Image
    index: int
    time_s: float
    captured_s: float | None = None


class FrameSource(Protocol):
    """An open source of frames: a context manager that can be iterated over once."""

    @property
    def fps(self) -> float:
        """Frames a second that the source claims, > 0."""

    def __iter__(self) -> Iterator[Frame]:
        """Frames in order, each index larger than the one before."""

    def __enter__(self) -> "FrameSource":
        """The source itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the file or device."""


class SourceEvent(NamedTuple):
    """Something that happened to a live source.

    Attributes:
        kind: stalled: no frame for a while; frozen: always the same picture; resumed: frames are coming and changing
            again; resized: the frames have another size; unreadable: a frame is damaged; reconnecting, reconnected:
            see detail; ended: the source is given up.
        time_s: Since the first frame; before that, since the source was opened.
        detail: The same for a person.
    """

    kind: EventKind
    time_s: float
    detail: str


def ignore_event(event: SourceEvent) -> None:
    """Do nothing."""


def do_nothing() -> None:
    """Do nothing."""


class SourceOptions(NamedTuple):
    """How to read a source.

    Attributes:
        is_paced: Deliver a recording no faster than its frame rate; otherwise as fast as it can be read.
        fps: Frame rate of a folder of images, or the one to ask a camera for.
        size: (width, height) to ask a camera for; None: the camera's default.
        pixel_format: Four letters to ask a camera for, such as MJPG or YUYV; None: the camera's default.
        rotate_deg: Turn every frame clockwise.
        is_mirrored: Swap left and right, after turning.
        open_timeout_s: Longest wait for a stream to answer, > 0.
        read_timeout_s: Longest wait for its next frame, > 0; after it the stream is opened again.
        reconnect_for_s: How long to try, after a live source has broken, until it is given up; 0: not at all.
        first_backoff_s: Wait before the first try; it doubles from try to try.
        longest_backoff_s: Wait between tries at most.
        on_wait: Called about ten times a second, in the same thread, while a live source waits for a frame.
        on_event: Called with each event of a live source, in the thread that iterates over it.
    """

    is_paced: bool = False
    fps: float = 30.0
    size: tuple[int, int] | None = None
    pixel_format: str | None = None
    rotate_deg: Literal[0, 90, 180, 270] = 0
    is_mirrored: bool = False
    open_timeout_s: float = 10.0
    read_timeout_s: float = 5.0
    reconnect_for_s: float = 60.0
    first_backoff_s: float = 0.25
    longest_backoff_s: float = 5.0
    on_wait: Callable[[], None] = do_nothing
    on_event: Callable[[SourceEvent], None] = ignore_event


Opener = Callable[[str, SourceOptions], FrameSource]
OPENERS: Mapping[SourceKind, str] = {
    "file": "siamedge.runtime.sources.recordings:VideoFile",
    "folder": "siamedge.runtime.sources.recordings:ImageFolder",
    "camera": "siamedge.runtime.sources.cameras:open_camera",
    "csi": "siamedge.runtime.sources.csi:open_csi",
    "stream": "siamedge.runtime.sources.cameras:open_stream",
    "synthetic": "siamedge.runtime.sources.synthetic:SyntheticSource.from_address",
}


def open_source(address: str, options: SourceOptions | None = None) -> FrameSource:
    """Open a source by its address.

    Args:
        address: A video file, a folder of images, a camera number or /dev path, csi:, an http, https, rtsp, udp or tcp
            URL, or `synthetic:`, optionally with settings such as `synthetic:?seed=3&frames=300`.
        options: How to read it.

    Raises:
        SourceError: There is nothing to read at that address.
    """
    kind = kind_of_source(address)
    if kind == "stream":
        scheme, _, rest = address.partition(":")
        address = f"{scheme.lower()}:{rest}"
    module, _, attributes = OPENERS[kind].partition(":")
    opener: object = import_module(module)
    for name in attributes.split("."):
        opener = getattr(opener, name)
    return cast(Opener, opener)(address, options or SourceOptions())


def kind_of_source(address: str) -> SourceKind:
    """Tell from its form, and for paths from the file system, what an address means.

    Raises:
        SourceError: The scheme is unknown, or there is no such file or folder.
    """
    if address.isdecimal() or is_device(address):
        return "camera"
    if (match := re.match(r"([A-Za-z][A-Za-z0-9+.-]+):", address)) and not is_there(Path(address)):
        scheme = match[1].lower()
        if scheme not in SCHEMES:
            raise SourceError(
                f"unknown kind of source {scheme!r}", hint=f"one of {', '.join(SCHEMES)}, a path or a number"
            )
        if SCHEMES[scheme] != "file":
            return SCHEMES[scheme]
    path = path_of(address)
    if not is_there(path):
        raise SourceError(f"no such file or folder: {path}", hint="a camera is a number (0) or a path under /dev")
    return "folder" if path.is_dir() else "file"


def is_device(address: str) -> bool:
    """Tell whether an address is a path under /dev, and nothing that only lies there: a file, a folder or a pipe.

    /dev/shm holds files, and the shell's `<(...)` and `< clip.mp4` are paths under /dev too.
    """
    if not address.startswith("/dev/") or address.startswith("/dev/shm/"):
        return False
    path = Path(address)
    return not (path.is_file() or path.is_dir() or path.is_fifo())


def is_there(path: Path) -> bool:
    """Whether a file or folder exists; none has a name that is too long for one."""
    try:
        return path.exists()
    except OSError:
        return False


def path_of(address: str) -> Path:
    """The path that an address with or without `file:` names."""
    return Path(re.sub(r"^file:(//)?", "", address, flags=re.IGNORECASE))


def without_password(address: str) -> str:
    """The address as it may be shown: user and password replaced by ***.

    A password may hold what it should not: with an @ in it the last one counts, and where a / follows what is neither
    a host nor its port, the password goes on.
    """
    return re.sub(r"//(?:[^/?#]*|[^/?#:@[]*:(?!\d*[/?]).*)@", "//***@", address)


def orient(image: Image, options: SourceOptions) -> Image:
    """Turn and mirror a frame as the options say."""
    turned = np.rot90(image, -options.rotate_deg // 90) if options.rotate_deg else image
    turned = turned[:, ::-1] if options.is_mirrored else turned
    return np.ascontiguousarray(turned)


def orient_box(box: Box, size: tuple[int, int], options: SourceOptions) -> Box:
    """Where a box lies after `orient`.

    Args:
        box: In the frame as it came.
        size: (width, height) of that frame.
        options: As for `orient`.
    """
    width, height = size
    for _ in range(options.rotate_deg // 90):
        box = Box(height - box.y - box.h, box.x, box.h, box.w)
        width, height = height, width
    return box._replace(x=width - box.x - box.w) if options.is_mirrored else box


def quiet_opencv() -> None:
    """Keep OpenCV's and FFmpeg's own messages off the user's terminal; errors are reported by our own lines.

    OpenCV reads the FFmpeg level when it opens its first stream; a level that the user has set is respected.
    """
    import cv2

    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
