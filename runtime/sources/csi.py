"""Cameras on a board's ribbon connector, through the board's own tool, which pipes Motion JPEG to us."""

import fcntl
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from siamedge.runtime.errors import SourceError
from siamedge.runtime.sources.feed import Packet
from siamedge.runtime.sources.live import LiveSource
from siamedge.runtime.sources.mjpeg import LARGEST_FRAME_BYTES, decode_jpeg
from siamedge.runtime.sources.recordings import JPEG_END, JPEG_START
from siamedge.runtime.sources.source import SourceOptions

DEFAULT_SIZE = (1280, 720)
SYSTEM_PYTHON = "/usr/bin/python3"
PICAMERA2_PACKAGE = "usr/lib/python3/dist-packages/picamera2"
STOP_TIMEOUT_S = 2.0
MOST_REMARK_BYTES = 1 << 20
"""Of the program's standard error, which is kept for messages; some write a line a frame."""
Command = Callable[[int, tuple[int, int], int], list[str]]


def libcamera(tool: str) -> Command:
    """The command of Raspberry Pi OS: rpicam-vid, called libcamera-vid before 2024.

    Source: documentation of rpicam-apps, options of rpicam-vid.
    """

    def command(number: int, size: tuple[int, int], fps: int) -> list[str]:
        shape = ["--width", str(size[0]), "--height", str(size[1]), "--framerate", str(fps)]
        return [tool, "--camera", str(number), "--timeout", "0", "--nopreview", "--codec", "mjpeg", *shape, "-o", "-"]

    return command


def argus(number: int, size: tuple[int, int], fps: int) -> list[str]:
    """The command of JetPack: NVIDIA's camera source and JPEG encoder.

    Source: NVIDIA's Accelerated GStreamer guide for Jetson Linux.
    """
    shape = f"video/x-raw(memory:NVMM),format=NV12,width={size[0]},height={size[1]},framerate={fps}/1"
    source = ["nvarguscamerasrc", f"sensor-id={number}"]
    return ["gst-launch-1.0", "-q", *source, "!", shape, "!", "nvjpegenc", "!", "fdsink", "fd=1", "sync=false"]


PICAMERA2_PROGRAM = """
import signal, sys
from picamera2 import Picamera2
from picamera2.encoders import MJPEGEncoder
from picamera2.outputs import FileOutput
number, width, height, fps = map(int, sys.argv[1:])
camera = Picamera2(number)
controls = {"FrameRate": fps}
camera.configure(camera.create_video_configuration(main={"size": (width, height)}, controls=controls))
camera.start_recording(MJPEGEncoder(), FileOutput(sys.stdout.buffer))
signal.pause()
"""


def picamera2(number: int, size: tuple[int, int], fps: int) -> list[str]:
    """The system's Python with Raspberry Pi's own library, which is a system package and not in our environment.

    Source: the Picamera2 manual, chapter on encoders and outputs.
    """
    return [SYSTEM_PYTHON, "-c", PICAMERA2_PROGRAM, *map(str, (number, *size, fps))]


TOOLS: Mapping[str, Command] = {
    "rpicam-vid": libcamera("rpicam-vid"),
    "libcamera-vid": libcamera("libcamera-vid"),
    "gst-launch-1.0": argus,
}
"""Program to its command line, in the order in which they are looked for."""


HINT_ENDED = "does that program show a picture by itself? `siamedge cameras` lists what is there"


class PipeFeed:
    """JPEGs from the standard output of a program, one behind the other."""

    def __init__(self, argv: list[str], name: str, fps: float, options: SourceOptions) -> None:
        self._name, self._fps, self._options = name, fps, options
        self._remarks: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        # The program's next line goes to the end, also after the file was cut.
        fcntl.fcntl(self._remarks, fcntl.F_SETFL, fcntl.fcntl(self._remarks, fcntl.F_GETFL) | os.O_APPEND)
        self._process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._remarks, start_new_session=True
        )
        self._output = self._process.stdout.fileno() if self._process.stdout else -1
        self._buffer = bytearray()

    @property
    def fps(self) -> float:
        """What was asked for."""
        return self._fps

    def read(self) -> Packet:
        """Wait for the next JPEG.

        Raises:
            SourceError: The program ended, or no picture came in time.
        """
        return self.read_within(self._options.read_timeout_s)

    def read_within(self, timeout_s: float) -> Packet:
        """Wait so long; see read."""
        deadline_s = time.monotonic() + timeout_s
        if os.fstat(self._remarks.fileno()).st_size > MOST_REMARK_BYTES:
            os.ftruncate(self._remarks.fileno(), 0)
        while (start := self._buffer.find(JPEG_START)) < 0:
            del self._buffer[:-1]
            self._receive(deadline_s)
        captured_s, seen = time.monotonic(), start
        while (stop := self._buffer.find(JPEG_END, max(start, seen - 1))) < 0:
            seen = len(self._buffer)
            self._receive(deadline_s)
        content = bytes(self._buffer[start : stop + len(JPEG_END)])
        del self._buffer[: stop + len(JPEG_END)]
        return Packet(captured_s, content, lambda: content, lambda: decode_jpeg(content))

    def interrupt(self) -> None:
        """End the program."""
        with suppress(ProcessLookupError):
            self._process.terminate()

    def close(self) -> None:
        """End the program and wait for it, killing it after two seconds."""
        self.interrupt()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        self._remarks.close()

    def _receive(self, deadline_s: float) -> None:
        """Add what has come until then; errors as those of read."""
        left_s = max(0.0, deadline_s - time.monotonic())
        if not select.select([self._output], [], [], left_s)[0]:
            raise SourceError(f"{self._name}: no more frames came in time{self._last_remark()}")
        arrived = os.read(self._output, 1 << 18)
        if not arrived:
            raise SourceError(f"{self._name}: the program ended{self._last_remark()}", hint=HINT_ENDED)
        self._buffer += arrived
        if len(self._buffer) > LARGEST_FRAME_BYTES:
            raise SourceError(f"{self._name}: {len(self._buffer)} bytes came without a picture")

    def _last_remark(self) -> str:
        """The last line that the program wrote to its standard error, for the message."""
        size = os.fstat(self._remarks.fileno()).st_size
        lines = os.pread(self._remarks.fileno(), 4000, max(0, size - 4000)).decode(errors="replace").split("\n")
        return next((f": {line.strip()[:200]}" for line in reversed(lines) if line.strip()), "")


def open_csi(address: str, options: SourceOptions) -> LiveSource:
    """Open `csi:` or `csi:1`.

    Raises:
        SourceError: The number is none, or this machine has none of the tools.
    """
    number = address.partition(":")[2] or "0"
    if not number.isdecimal():
        raise SourceError(
            f"{address}: {number!r} is no camera number", hint="csi: is the first camera, csi:1 the second"
        )
    fps = max(1, round(options.fps))
    tool, command = find_tool(address)
    argv = command(int(number), options.size or DEFAULT_SIZE, fps)
    return LiveSource(address, lambda: connect_pipe(argv, f"{address} ({tool})", fps, options), options)


def find_tool(address: str, root: Path = Path("/")) -> tuple[str, Command]:
    """The first of this machine's ways to a ribbon camera: picamera2, then the programs of TOOLS.

    Args:
        address: For the message.
        root: Where the system's files are, for tests.

    Raises:
        SourceError: There is none.
    """
    if (root / PICAMERA2_PACKAGE).is_dir():
        return "picamera2", picamera2
    tool = next((tool for tool in TOOLS if shutil.which(tool)), None)
    if tool is None:
        raise SourceError(
            f"{address}: none of picamera2, {', '.join(TOOLS)} is installed",
            hint="on a Raspberry Pi: sudo apt install rpicam-apps",
        )
    return tool, TOOLS[tool]


def connect_pipe(argv: list[str], name: str, fps: float, options: SourceOptions) -> PipeFeed:
    """Start a program and wait for its first picture, which is let go.

    Raises:
        SourceError: It ended, or none came within the open time-out.
    """
    feed = PipeFeed(argv, name, fps, options)
    try:
        feed.read_within(options.open_timeout_s)
    except SourceError:
        feed.close()
        raise
    return feed
