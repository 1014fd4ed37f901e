"""A network camera for tests: Motion JPEG over HTTP on a loopback port, with faults on command."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

BITS = 16


def numbered_picture(number: int, size: tuple[int, int] = (320, 240)) -> np.ndarray:
    """A picture that carries a number in its top row of 16 squares, readable after JPEG."""
    width, height = size
    image = np.full((height, width, 3), 96, np.uint8)
    side = width // BITS
    for bit in range(BITS):
        image[:side, bit * side : (bit + 1) * side] = 230 if number >> bit & 1 else 20
    return image


def number_in(image: np.ndarray) -> int:
    side = image.shape[1] // BITS
    return sum(int(image[side // 2, bit * side + side // 2].mean() > 128) << bit for bit in range(BITS))


def with_thumbnail(jpeg: bytes) -> bytes:
    """The JPEG with another one in an APP1 segment, as Exif has it."""
    content = b"Exif\0\0" + cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    return jpeg[:2] + b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content + jpeg[2:]


class Camera:
    """What the server sends; tests change its attributes while it runs.

    Attributes:
        fps: Pictures a second.
        size: (width, height).
        is_stalled: Connected, but nothing is sent.
        is_dead: Connections are cut, new ones refused by an answer 503.
        is_frozen: Always the same picture.
        is_garbage: Bytes that are no JPEG in each part.
        has_length: Parts carry Content-Length.
        has_thumbnail: A smaller JPEG is in the head of each.
        cut_after: Close each connection after so many pictures; 0: never.
        is_held: Nothing is sent, and is_waiting says that the last picture has left.
        sent: Number of the picture that was sent last.
        sent_whole: Parts that have left as a whole, over all connections.
        requests: Connections so far.
        moved_to: The Location of the answer to /moved.
        streaming: The threads that send now.
    """

    def __init__(self) -> None:
        self.fps, self.size = 60.0, (320, 240)
        self.is_stalled = self.is_dead = self.is_frozen = self.is_garbage = False
        self.has_length, self.has_thumbnail, self.cut_after = True, False, 0
        self.sent, self.sent_whole, self.requests = 0, 0, 0
        self.is_held = self.is_waiting = False
        self.moved_to = "/"
        self.is_closing = threading.Event()
        self.streaming: set[threading.Thread] = set()
        self.url = ""

    def parts(self) -> Iterator[bytes]:
        """One part of the stream after the other, at the camera's rate."""
        count, due_s = 0, time.monotonic()
        while not self.is_dead and not self.is_closing.is_set() and not (self.cut_after and count >= self.cut_after):
            due_s = max(due_s + 1 / self.fps, time.monotonic() - 1)
            self.is_closing.wait(max(0.0, due_s - time.monotonic()))
            if self.is_stalled or self.is_held:
                due_s, self.is_waiting = time.monotonic(), True
                continue
            self.is_waiting = False
            number = self.sent if self.is_frozen else self.sent + 1
            jpeg = cv2.imencode(".jpg", numbered_picture(number, self.size))[1].tobytes()
            jpeg = with_thumbnail(jpeg) if self.has_thumbnail else jpeg
            body = bytes(range(256)) * 8 if self.is_garbage else jpeg
            length = f"Content-Length: {len(body)}\r\n" if self.has_length else ""
            self.sent, count = number, count + 1
            yield f"--frame\r\nContent-Type: image/jpeg\r\n{length}\r\n".encode() + body + b"\r\n"


class Handler(BaseHTTPRequestHandler):
    camera: Camera

    def do_GET(self) -> None:
        self.camera.requests += 1
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", self.camera.moved_to)
            self.end_headers()
            return
        if self.camera.is_dead or self.path == "/missing":
            self.send_error(404 if self.path == "/missing" else 503)
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        self.camera.streaming.add(threading.current_thread())
        try:
            for part in self.camera.parts():
                self.wfile.write(part)
                self.camera.sent_whole += 1
        except OSError:
            pass
        finally:
            self.camera.streaming.discard(threading.current_thread())

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def running_camera(camera: Camera | None = None) -> Iterator[Camera]:
    camera = camera or Camera()
    handler = type("CameraHandler", (Handler,), {"camera": camera})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    camera.url = f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield camera
    finally:
        camera.is_closing.set()
        server.shutdown()
        server.server_close()
        # A thread that is inside OpenCV when the interpreter ends aborts the whole process.
        for sender in [thread, *camera.streaming]:
            sender.join(5)
