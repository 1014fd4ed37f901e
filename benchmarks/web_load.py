"""What the page costs the tracker: latency with no page, one page and ten slow clients; and growth over minutes.

python benchmarks/web_load.py BUNDLE [--seconds 30] [--minutes 0]

A loopback camera sends 30 pictures a second; the tracker follows one box. A slow client takes 1 kB/s from its socket.
Loads alternate, round by round. Besides the latency that the page shows, which other work on the machine lengthens, the
CPU time of the tracking thread is given for each update, which other work hardly changes.
With --minutes, one page that answers and a recording run for so long, and memory and descriptors are printed.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import httpx
from camera_server import running_camera
from websockets.asyncio.client import connect

SERVE = """
import sys, time
from pathlib import Path
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.bundles.picking import TrackerMaker, pick
from siamedge.runtime.sources.source import SourceOptions
from siamedge.runtime.web.engine import Setup
from siamedge.runtime.web.serving import serve
bundle = Bundle.open(Path(sys.argv[1]))
choice = pick(bundle, backend="onnxruntime", precision="fp32").choice
costs = open(Path(sys.argv[3]) / "costs.txt", "w", buffering=1)
class Timed:
    def __init__(self, tracker):
        self.init, self.inner = tracker.init, tracker
    def update(self, frame):
        start_s = time.thread_time()
        result = self.inner.update(frame)
        costs.write(f"{1000 * (time.thread_time() - start_s):.4f}\\n")
        return result
make = TrackerMaker(bundle, choice)
models = {"onnxruntime fp32": lambda: Timed(make())}
setup = Setup((sys.argv[2],), models, "", SourceOptions(), Path(sys.argv[3]))
serve(setup, "127.0.0.1:0", lambda link: print(link, flush=True))
"""


async def slow_client(link: str, bytes_a_second: int) -> None:
    """Ask for the stream by hand and read it as slowly as that."""
    host, _, port = link.removeprefix("http://").strip("/").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    writer.write(
        f"GET /api/stream?client=slow{id(reader)} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    while True:
        await reader.read(bytes_a_second // 4)
        await asyncio.sleep(0.25)


async def quick_client(link: str, latencies: list[float]) -> None:
    """Take every snapshot that comes, as the page does."""
    import json
    import struct

    async with connect(link.replace("http", "ws") + "api/stream?client=page", max_size=None) as socket:
        while True:
            message = await socket.recv()
            assert isinstance(message, bytes)
            state = json.loads(message[4 : 4 + struct.unpack(">I", message[:4])[0]])
            latencies.append(state["frame_latency_ms"])
            await socket.send("next")


async def with_clients(link: str, slow: int, seconds: float) -> list[float]:
    """Latency of the frames that one page sees, with so many slow clients beside it."""
    latencies: list[float] = []
    tasks = [asyncio.create_task(slow_client(link, 1024)) for _ in range(slow)]
    tasks.append(asyncio.create_task(quick_client(link, latencies)))
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return latencies[10:]


def memory_and_descriptors(pid: int) -> tuple[float, int]:
    """RSS in MB, open descriptors."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(list(Path(f"/proc/{pid}/fd").iterdir()))


def row(values_ms: list[float]) -> str:
    """Percentiles of a run."""
    cuts = statistics.quantiles(values_ms, n=100)
    return f"p50 {cuts[49]:.2f} p95 {cuts[94]:.2f} p99 {cuts[98]:.2f} ms, {len(values_ms)} frames"


def compare(link: str, costs: Path, rounds: int, seconds: float) -> None:
    """Alternate the two loads and print each round, then all rounds together."""
    whole: dict[int, list[float]] = {0: [], 10: []}
    for number in range(2 * rounds):
        slow = 10 * ((number + 1) // 2 % 2)
        first = len(costs.read_text().splitlines())
        seen = asyncio.run(with_clients(link, slow, seconds))
        spent = [float(line) for line in costs.read_text().splitlines()[first + 10 : -1]]
        whole[slow] += spent
        print(f"{slow:2} slow clients: latency {row(seen)}; CPU an update {row(spent)}", flush=True)
    for slow, spent in whole.items() if rounds else ():
        print(f"{slow:2} slow clients, all rounds: CPU an update {row(spent)}")


def main() -> None:
    """Alternate the two loads, then soak."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=0)
    options = parser.parse_args()
    with running_camera() as camera, tempfile.TemporaryDirectory() as folder:
        camera.fps, camera.size = 30, (640, 480)
        argv = [sys.executable, "-c", SERVE, options.bundle, camera.url, folder]
        server = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            link = server.stdout.readline().strip()
            httpx.post(f"{link}api/target", json={"box": [200, 150, 120, 90]}).raise_for_status()
            compare(link, Path(folder) / "costs.txt", options.rounds, options.seconds)
            if options.minutes:
                httpx.post(f"{link}api/record", json={"on": True}).raise_for_status()
                for minute in range(int(options.minutes * 2)):
                    seen = asyncio.run(with_clients(link, 0, 30))
                    memory, descriptors = memory_and_descriptors(server.pid)
                    line = f"{minute / 2 + 0.5:4.1f} min: {memory:.1f} MB, {descriptors} descriptors, {row(seen)}"
                    print(line, flush=True)
        finally:
            server.terminate()
            server.wait(20)
            time.sleep(0.1)


if __name__ == "__main__":
    main()
