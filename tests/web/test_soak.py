"""Two minutes of a live camera with the page open and recording: what the process holds stays as it was.

Nothing here is measured by the clock: stages are numbers of tracked frames, and cost is CPU time.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

pytest.importorskip("starlette", reason="needs the extra [web]")
pytest.importorskip("httpx", reason="asks the server")
pytest.importorskip("websockets", reason="needs the extra [web]")
import httpx
from camera_server import running_camera
from websockets.sync.client import connect

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="reads Linux's /proc"),
]
FRAMES, WARM_UP, STAGES = 3600, 900, 3
"""Two minutes at 30 pictures a second, the first half minute of which fills caches and pools."""
MOST_GROWTH_MB = 10.0
LIMIT_S = 900.0
SERVE = """
import sys
from pathlib import Path
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.bundles.picking import TrackerMaker, pick
from siamedge.runtime.sources.source import SourceOptions
from siamedge.runtime.web.engine import Setup
from siamedge.runtime.web.serving import serve
bundle = Bundle.open(Path(sys.argv[1]))
make = TrackerMaker(bundle, pick(bundle, backend="onnxruntime", precision="fp32").choice)
setup = Setup((sys.argv[2],), {"onnxruntime fp32": make}, "", SourceOptions(), Path(sys.argv[3]))
serve(setup, "127.0.0.1:0", lambda link: print(link, flush=True))
"""


class Held(NamedTuple):
    """What a process holds."""

    resident_mb: float
    descriptors: int
    threads: int
    cpu_s: float


def held_by(pid: int) -> Held:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    ticks = int(fields[11]) + int(fields[12])
    return Held(
        pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        len(list(Path(f"/proc/{pid}/fd").iterdir())),
        int(fields[17]),
        ticks / os.sysconf("SC_CLK_TCK"),
    )


@contextmanager
def served(bundle: Path, camera: str, folder: Path) -> Iterator[tuple[int, str]]:
    argv = [sys.executable, "-c", SERVE, str(bundle), camera, str(folder)]
    server = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield server.pid, server.stdout.readline().strip()
    finally:
        server.kill()
        server.communicate()


@contextmanager
def open_page(link: str) -> Iterator[list[int]]:
    """A page that answers each picture; gives the sizes of what came."""
    seen: list[int] = []
    address = link.replace("http", "ws", 1) + "api/stream?client=page"

    def read() -> None:
        with connect(address, origin=link.rstrip("/"), proxy=None, max_size=None) as page:
            while not is_over.is_set():
                seen.append(len(page.recv(LIMIT_S)))
                page.send("next")

    is_over = threading.Event()
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield seen
    finally:
        is_over.set()
        reader.join(60)


def test_two_minutes_with_a_page_and_a_recording_leave_nothing_behind(default_bundle: Path, tmp_path: Path) -> None:
    with running_camera() as camera:
        camera.fps, camera.size = 30, (640, 480)
        with served(default_bundle, camera.url, tmp_path) as (pid, link), open_page(link) as seen:
            client = httpx.Client(base_url=link, headers={"X-Client": "page"}, timeout=60, trust_env=False)
            recorded = lambda: int(client.get("/api/state").json()["recorded"])  # noqa: E731
            wait_for(lambda: len(seen) > 3)
            client.post("/api/target", json={"box": [200, 150, 120, 90]}).raise_for_status()
            client.post("/api/record", json={"on": True}).raise_for_status()
            wait_for(lambda: recorded() >= WARM_UP)
            stages = [held_by(pid)]
            marks = [recorded()]
            for stage in range(1, STAGES + 1):
                due = WARM_UP + stage * (FRAMES - WARM_UP) // STAGES
                wait_for(lambda due=due: recorded() >= due)  # type: ignore[misc]
                stages.append(held_by(pid))
                marks.append(recorded())
            pictures = len(seen)
            client.close()
    report = f"{stages}, {marks} frames, {pictures} pictures"
    assert stages[-1].resident_mb - stages[0].resident_mb < MOST_GROWTH_MB, report
    assert stages[-1].descriptors <= stages[0].descriptors, report
    assert stages[-1].threads <= stages[0].threads + 2, report  # the server's pool breathes
    costs = [
        (after.cpu_s - before.cpu_s) / (last - first)
        for before, after, first, last in zip(stages, stages[1:], marks, marks[1:], strict=False)
    ]
    assert costs[-1] < 2 * costs[0], f"CPU time a frame: {costs}"
    assert pictures > 30, report


def wait_for(is_met: object, limit_s: float = LIMIT_S) -> None:
    deadline_s = time.monotonic() + limit_s
    while not is_met():  # type: ignore[operator]
        assert time.monotonic() < deadline_s, "what was waited for did not happen"
        time.sleep(1.0)
