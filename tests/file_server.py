"""A web server for tests: one file on a loopback port, with faults on command."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class File:
    """What the server sends; tests change its attributes while it runs.

    Attributes:
        content: Of the file.
        has_range: Answers a Range with a part.
        cut_after: Closes each connection after so many bytes; 0: never.
        is_stalled: Sends its heading, then nothing until the server ends.
        status: Answered instead of the file; 0: none.
        ranges: The Range heading of each request so far, "" where there was none.
    """

    def __init__(self, content: bytes) -> None:
        self.content, self.has_range, self.cut_after, self.is_stalled, self.status = content, True, 0, False, 0
        self.ranges: list[str] = []
        self.is_closing = threading.Event()
        self.url = ""


@contextmanager
def serving(content: bytes, name: str = "weights.bin") -> Iterator[File]:
    """Run a server for the length of a with block."""
    file = File(content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            file.ranges.append(asked)
            if file.status:
                self.send_error(file.status)
                return
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and file.has_range else 0
            if start >= len(file.content):
                self.send_error(416)
                return
            self.answer(file.content[start:], start)

        def answer(self, body: bytes, start: int) -> None:
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(file.content) - 1}/{len(file.content)}")
            self.end_headers()
            if file.is_stalled:
                file.is_closing.wait(60)
                return
            self.wfile.write(body[: file.cut_after or None])

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    file.url = f"http://127.0.0.1:{server.server_port}/files/{name}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield file
    finally:
        file.is_closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
