"""Figures of the live loop against a loopback camera: reconnects without growth, and latency under overload.

python benchmarks/live_faults.py [--reconnects 500] [--seconds 20]
"""

import os
import statistics
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from camera_server import number_in, running_camera
from script import at_least, parser, run
from this_machine import memory_and_descriptors

from siamedge.runtime.errors import SourceError
from siamedge.runtime.sources.cameras import open_stream
from siamedge.runtime.sources.live import LiveSource
from siamedge.runtime.sources.source import SourceOptions


def reconnects(count: int) -> None:
    """Let the server cut the connection after every second picture, so often."""
    with running_camera() as camera:
        camera.fps, camera.cut_after = 500, 2
        source = open_stream(camera.url, SourceOptions(first_backoff_s=0.0))
        assert isinstance(source, LiveSource)
        with source:
            start: tuple[float, int] | None = None
            done = 0
            for _ in source:
                done = source.counters.reconnects
                state = memory_and_descriptors(os.getpid())
                start = state if start is None and done >= 20 else start
                if done >= count:
                    break
            end, threads = memory_and_descriptors(os.getpid()), threading.active_count()
    if start is None:
        raise SourceError(f"the source ended after {done} reconnects, growth is counted from 20 on")
    print(
        f"{done} reconnects: RSS {start[0]:.1f} -> {end[0]:.1f} MiB, "
        f"descriptors {start[1]} -> {end[1]}, threads {threads}"
    )


def overload(seconds: float, fps: float, service_ms: float) -> None:
    """A tracker of service_ms a frame on a camera: age of the picture when its box is ready."""
    with running_camera() as camera:
        camera.fps, camera.size = fps, (640, 480)
        source = open_stream(camera.url, SourceOptions())
        assert isinstance(source, LiveSource)
        ages_ms, behind = [], []
        with source:
            stop_s = time.monotonic() + seconds
            for frame in source:
                behind.append(camera.sent - number_in(frame.image))
                time.sleep(service_ms / 1000)
                ages_ms.append(1000 * (time.monotonic() - (frame.captured_s or 0)))
                if time.monotonic() > stop_s:
                    break
            counters = source.counters
    half = len(ages_ms) // 2
    first, last = statistics.median(ages_ms[:half]), statistics.median(ages_ms[half:])
    print(
        f"{fps:g} fps, {service_ms:g} ms a frame, {len(ages_ms)} tracked of {counters.captured}: median latency "
        f"{statistics.median(ages_ms):.1f} ms (first half {first:.1f}, second {last:.1f}), floor "
        f"{service_ms + (500 / fps if service_ms > 1000 / fps else 0):.1f}; "
        f"frames behind at start, worst {max(behind)}"
    )


def main() -> None:
    """Run both."""
    found = parser(__doc__)
    found.add_argument("--reconnects", type=at_least(20), default=500)
    found.add_argument("--seconds", type=at_least(1), default=20)
    options = found.parse_args()
    reconnects(options.reconnects)
    for fps, service_ms in ((30.0, 45.0), (5.0, 10.0), (120.0, 45.0), (120.0, 3.0)):
        overload(options.seconds, fps, service_ms)


if __name__ == "__main__":
    run(main)
