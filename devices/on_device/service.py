"""The process that systemd supervises: it runs the tracker, reads its JSON lines, and tells systemd that it lives.

`python -m siamedge.devices.on_device.service COMMAND...`; one line a frame is the heartbeat, so the watchdog restarts a
tracker that hangs. The standard library is all it needs.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

_STATUS_EVERY_S = 2.0
_HEARTBEATS_A_PERIOD = 4
_RECENT_FRAMES = 300
_PAGE_POLL_S = 0.5
_PAGE_LIMIT_S = 5.0
_PAGE_ADDRESS = "127.0.0.1:8765"


class Notifier:
    """Messages to systemd; does nothing where nobody listens.

    Args:
        address: Of NOTIFY_SOCKET; a leading @ stands for the abstract name space.

    Source: sd_notify(3).
    """

    def __init__(self, address: str) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address else None

    def send(self, *lines: str) -> None:
        """Send one message, such as READY=1; a listener that is gone or busy is no reason to stop tracking."""
        if self._socket:
            with suppress(OSError):
                self._socket.sendto("\n".join(lines).encode(), socket.MSG_DONTWAIT, self._address)

    def close(self) -> None:
        """Close the socket."""
        if self._socket:
            self._socket.close()


class Heartbeat:
    """From the tracker's lines to messages: READY with the first, then WATCHDOG and STATUS at a bounded rate.

    Args:
        notifier: Where to.
        watchdog_s: systemd restarts after that time of silence; 0: never.
    """

    def __init__(self, notifier: Notifier, watchdog_s: float) -> None:
        self._notifier = notifier
        self._beat_every_s = watchdog_s / _HEARTBEATS_A_PERIOD
        self._recent: deque[tuple[float, float]] = deque(maxlen=_RECENT_FRAMES)
        self._frames = 0
        self._state = self._box = ""
        self._beat_s = self._status_s = float("-inf")

    def take(self, line: str, now_s: float) -> None:
        """Count one frame.

        Args:
            line: As `siamedge track --json` prints it: a frame, or an event of the source.
            now_s: Monotonic time.
        """
        step = json.loads(line)
        if "event" in step:
            self.beat(now_s)
            self._notifier.send(f"STATUS={step['event']}: {step.get('detail', '')}")
            return
        self._recent.append((now_s, float(step["latency_ms"])))
        self._frames += 1
        if self._frames == 1:
            self._notifier.send("READY=1")
        self.beat(now_s)
        changed, self._state = step["state"] != self._state, step["state"]
        self._box = ",".join(f"{side:.1f}" for side in step["box"])
        if changed or now_s - self._status_s >= _STATUS_EVERY_S:
            self._notifier.send(f"STATUS={self.status()}")
            self._status_s = now_s

    def beat(self, now_s: float) -> None:
        """Say that the tracker lives, unless that was said a moment ago."""
        if now_s - self._beat_s >= self._beat_every_s:
            self._notifier.send("WATCHDOG=1")
            self._beat_s = now_s

    def status(self) -> str:
        """One line: state, box (x,y,w,h in pixels), frames, frames a second and latency over the last 300 frames."""
        times = [at for at, _ in self._recent]
        latencies = sorted(latency for _, latency in self._recent)
        took_s = times[-1] - times[0]
        rate = f"{(len(times) - 1) / took_s:.1f}" if took_s > 0 else "0.0"
        middle = latencies[len(latencies) // 2]
        return f"{self._state} at {self._box}, {self._frames} frames, {rate} fps, latency {middle:.1f} ms"


def follow(lines: Iterable[str], heartbeat: Heartbeat) -> None:
    """Feed a heartbeat with the lines of a tracker until it ends."""
    for line in lines:
        heartbeat.take(line, time.monotonic())


def watch_page(address: str, tracker: "subprocess.Popen[str]", notifier: Notifier, every_s: float) -> None:
    """Ask the page of a tracker with --web until it ends: ready when it first answers, alive each time it does."""
    host, _, port = address.rpartition(":")
    is_ready = False
    while tracker.poll() is None:
        if page_answers(host, int(port)):
            notifier.send("WATCHDOG=1" if is_ready else f"READY=1\nSTATUS=page on {address}")
            is_ready = True
        with suppress(subprocess.TimeoutExpired):
            tracker.wait(every_s if is_ready else _PAGE_POLL_S)


def page_answers(host: str, port: int) -> bool:
    """Whether a web server there answers a request within some seconds, whatever it says."""
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))
    try:
        with socket.create_connection((host, port), timeout=_PAGE_LIMIT_S) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return connection.recv(5) == b"HTTP/"
    except OSError:
        return False


def web_address(command: Sequence[str]) -> str:
    """host:port of the page that a command serves, empty if it serves none."""
    for word, following in zip(command, [*command[1:], ""], strict=True):
        if word == "--web":
            return following if following and not following.startswith("-") else _PAGE_ADDRESS
        if word.startswith("--web="):
            return word.removeprefix("--web=")
    return ""


def take_tuning(command: Sequence[str], cache: Path) -> None:
    """Copy what the flash measured for the tracker's bundle into the service's own cache, unless a newer one is there.

    Args:
        command: With `track BUNDLE`; the bundle is BASE/layers/NAME, the records are in BASE/tuned/NAME.
        cache: Where `siamedge track` looks.
    """
    words = list(command)
    if "track" not in words[:-1]:
        return
    bundle = Path(words[words.index("track") + 1]).resolve()
    for record in (bundle.parent.parent / "tuned" / bundle.name).glob("*.json"):
        kept = cache / "tuning" / record.name
        if not kept.is_file() or kept.stat().st_mtime < record.stat().st_mtime:
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(record, kept)


def main(command: Sequence[str]) -> int:
    """Run the tracker and give its exit status; a signal to this process stops the tracker."""
    notifier = Notifier(os.environ.get("NOTIFY_SOCKET", ""))
    watchdog_s = int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6
    environment = {name: value for name, value in os.environ.items() if name not in ("NOTIFY_SOCKET", "WATCHDOG_USEC")}
    environment["PYTHONUNBUFFERED"] = "1"
    if cache := os.environ.get("XDG_CACHE_HOME"):
        take_tuning(command, Path(cache) / "siamedge")
    output = None if web_address(command) else subprocess.PIPE
    with subprocess.Popen(command, stdout=output, text=True, env=environment) as tracker:

        def stop(_signal: int, _frame: FrameType | None) -> None:
            tracker.terminate()

        signal.signal(signal.SIGTERM, stop)
        if address := web_address(command):
            watch_page(address, tracker, notifier, watchdog_s / _HEARTBEATS_A_PERIOD or _PAGE_LIMIT_S)
        elif tracker.stdout:
            follow(tracker.stdout, Heartbeat(notifier, watchdog_s))
        status = tracker.wait()
    notifier.send("STOPPING=1")
    notifier.close()
    return 0 if status in (-signal.SIGTERM, 128 + signal.SIGTERM) else abs(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
