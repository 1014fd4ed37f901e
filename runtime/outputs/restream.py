"""Serve the tracked picture by RTSP, through GStreamer's RTSP server where the system has it."""

import re
import shutil
import struct
import subprocess
import threading
from contextlib import suppress

import cv2
import numpy as np

from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Image
from siamedge.runtime.loop import Step
from siamedge.runtime.outputs.overlay import draw_step

LONGEST_SIDE_PX = 1280
"""RTP carries JPEG sides of at most 2040 pixels, in steps of 8 (RFC 2435)."""
JPEG_QUALITY = 80
STOP_TIMEOUT_S = 3.0
PYTHONS = ("/usr/bin/python3", "python3")
"""The system's first: GStreamer's Python bindings come with the system, not from an index."""
HINT = "sudo apt install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good"
PROGRAM = """
import struct, sys, threading
import gi
gi.require_version("Gst", "1.0"); gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
loop, pipes = GLib.MainLoop(), []
server = GstRtspServer.RTSPServer(address=sys.argv[1], service=sys.argv[2])
factory = GstRtspServer.RTSPMediaFactory(shared=True)
factory.set_launch(
    "( appsrc name=pictures is-live=true do-timestamp=true format=time block=false max-bytes=4000000 "
    "! queue leaky=downstream max-size-buffers=2 ! rtpjpegpay name=pay0 pt=26 )")
def configure(factory, media):
    pipes[:] = [media.get_element().get_child_by_name("pictures")]
    media.connect("unprepared", lambda media: pipes.clear())
factory.connect("media-configure", configure)
server.get_mount_points().add_factory(sys.argv[3], factory)
if not server.attach(None):
    sys.exit("the port is taken")
def pump():
    while len(head := sys.stdin.buffer.read(8)) == 8:
        length, width, height = struct.unpack(">IHH", head)
        jpeg = sys.stdin.buffer.read(length)
        for pipe in list(pipes):
            pipe.set_property("caps", Gst.Caps.from_string(f"image/jpeg,width={width},height={height},framerate=0/1"))
            pipe.emit("push-buffer", Gst.Buffer.new_wrapped(jpeg))
    GLib.idle_add(loop.quit)
threading.Thread(target=pump, daemon=True).start()
print(server.get_bound_port(), flush=True)
loop.run()
"""
"""Run by the system's Python: JPEGs from standard input, each behind its length and size, to every client."""


class RestreamOutput:
    """Serves the picture with its box at rtsp://HOST:PORT/PATH; a thread encodes, so that the tracker never waits.

    Args:
        address: rtsp://HOST:PORT/PATH; port 0 takes a free one.

    Attributes:
        address: Where it is served.

    Raises:
        SourceError: The address is none or cannot be served at, or the system lacks the RTSP server.
    """

    def __init__(self, address: str) -> None:
        host, port, path = parse_rtsp(address)
        argv = [find_python(address), "-c", PROGRAM, host, str(port), path]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        bound = (self._process.stdout.readline() if self._process.stdout else b"").strip()
        if not bound.isdigit():
            _, remarks = self._process.communicate()
            reason = remarks.decode(errors="replace").strip().rpartition("\n")[2] or "the server ended"
            raise SourceError(f"--restream {address}: {reason}", hint="choose another port, or 0 for any")
        self.address = f"rtsp://{host}:{int(bound)}{path}"
        self._newest: Step | None = None
        self._changed, self._is_closing = threading.Condition(), False
        self._thread = threading.Thread(target=self._send_all, name="restream", daemon=True)
        self._thread.start()

    def __enter__(self) -> "RestreamOutput":
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._process.terminate()
        self._thread.join(STOP_TIMEOUT_S)
        with suppress(BrokenPipeError):
            self._process.communicate()

    def send(self, step: Step) -> None:
        """Offer one frame; one that was not encoded yet gives way to it."""
        with self._changed:
            self._newest = step
            self._changed.notify()

    def _send_all(self) -> None:
        while (step := self._next()) is not None:
            image = fitted(draw_step(step))
            jpeg = encode(image)
            try:
                if self._process.stdin:
                    self._process.stdin.write(struct.pack(">IHH", len(jpeg), image.shape[1], image.shape[0]) + jpeg)
                    self._process.stdin.flush()
            except (BrokenPipeError, ValueError):
                return

    def _next(self) -> Step | None:
        """The newest frame, once there is one that was not sent; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._is_closing)
            step, self._newest = self._newest, None
            return None if self._is_closing else step


def fitted(image: Image) -> Image:
    """The image with sides of at most LONGEST_SIDE_PX, divisible by 8, as RTP carries them."""
    height, width = image.shape[:2]
    scale = min(1.0, LONGEST_SIDE_PX / max(height, width))
    size = (max(8, int(width * scale) // 8 * 8), max(8, int(height * scale) // 8 * 8))
    return image if size == (width, height) else np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def encode(image: Image) -> bytes:
    """A baseline JPEG with its chroma halved, which is OpenCV's default and the only kind that RTP has."""
    return np.asarray(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]).tobytes()


def parse_rtsp(address: str) -> tuple[str, int, str]:
    """Read rtsp://HOST:PORT/PATH.

    Raises:
        SourceError: It is none.
    """
    match = re.fullmatch(r"rtsp://([^:/\[\]@]+):(\d{1,5})(/[\w./-]+)", address)
    if not match or int(match[2]) > 65535:
        raise SourceError(f"--restream {address}: not rtsp://HOST:PORT/PATH", hint="rtsp://0.0.0.0:8554/target")
    return match[1], int(match[2]), match[3]


def find_python(address: str) -> str:
    """A Python that has GStreamer's RTSP server.

    Raises:
        SourceError: This system has none.
    """
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    for name in PYTHONS:
        found = shutil.which(name)
        if found and subprocess.run([found, "-c", probe], capture_output=True, check=False).returncode == 0:
            return found
    raise SourceError(f"--restream {address}: this system has no GStreamer RTSP server for Python", hint=HINT)
