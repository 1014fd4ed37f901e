"""What slow clients cost the tracker: latency with one page, and with ten slow clients beside it; growth over minutes.

python benchmarks/web_load.py BUNDLE [--seconds 30] [--minutes 0]

A loopback camera sends 30 pictures a second; the tracker follows one box. A slow client takes 1 kB/s from its socket.
Loads alternate, round by round. Besides the latency that the page shows, which other work on the machine lengthens, the
CPU time of the tracking thread is given for each update, which other work hardly changes.
With --minutes, one page that answers and a recording run for so long, and memory and descriptors are printed.
"""

import asyncio
import statistics
import subprocess
import sys
import tempfile
from argparse import Namespace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import httpx
from camera_server import running_camera
from script import at_least, parser, run
from this_machine import memory_and_descriptors
from web_clients import with_clients

from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.errors import BackendError

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


def soak(link: str, pid: int, minutes: int) -> None:
    """Print latency, memory and descriptors every half minute while one page answers and a recording runs."""
    httpx.post(f"{link}api/record", json={"on": True}).raise_for_status()
    for half in range(2 * minutes):
        seen = asyncio.run(with_clients(link, 0, 30))
        memory, descriptors = memory_and_descriptors(pid)
        print(f"{half / 2 + 0.5:4.1f} min: {memory:.1f} MiB, {descriptors} descriptors, {row(seen)}", flush=True)


def arguments() -> Namespace:
    found = parser(__doc__)
    found.add_argument("bundle", type=Path)
    found.add_argument("--seconds", type=at_least(2), default=30, help="of each load in a round")
    found.add_argument("--rounds", type=at_least(0), default=3)
    found.add_argument("--minutes", type=at_least(0), default=0)
    return found.parse_args()


def main() -> None:
    """Alternate the two loads, then soak."""
    options = arguments()
    Bundle.open(options.bundle)
    with running_camera() as camera, tempfile.TemporaryDirectory() as folder:
        camera.fps, camera.size = 30, (640, 480)
        argv = [sys.executable, "-c", SERVE, str(options.bundle), camera.url, folder]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as server:
            try:
                link = server.stdout.readline().strip() if server.stdout is not None else ""
                if not link:
                    raise BackendError(f"the page's process ended with {server.wait()}", hint="see its message above")
                httpx.post(f"{link}api/target", json={"box": [200, 150, 120, 90]}).raise_for_status()
                compare(link, Path(folder) / "costs.txt", options.rounds, options.seconds)
                if options.minutes:
                    soak(link, server.pid, options.minutes)
            finally:
                server.terminate()


if __name__ == "__main__":
    run(main)
