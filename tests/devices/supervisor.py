"""A stand-in for systemctl --user, loginctl and journalctl: starts the unit's command and waits for READY=1."""

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(os.environ["FAKE_ROOT"])
UNIT = Path(os.environ["HOME"]) / ".config/systemd/user/siamedge.service"
PID = ROOT / "service.pid"


def running() -> int | None:
    try:
        pid = int(PID.read_text())
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ValueError):
        return None
    return None if stat == "Z" else pid


def stop() -> None:
    pid = running()
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    PID.unlink(missing_ok=True)


def restart() -> int:
    stop()
    lines = UNIT.read_text().splitlines()
    command = next(line.removeprefix("ExecStart=") for line in lines if line.startswith("ExecStart="))
    address = ROOT / "notify"
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(address))
        listener.settimeout(0.1)
        with (ROOT / "service.log").open("ab") as log:
            process = subprocess.Popen(
                shlex.split(command),
                env={**os.environ, "NOTIFY_SOCKET": str(address)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        limit = time.monotonic() + 20
        while time.monotonic() < limit and process.poll() is None:
            with contextlib.suppress(TimeoutError):
                if b"READY=1" in listener.recv(4096):
                    PID.write_text(str(process.pid))
                    return 0
    process.kill()
    return 1


def main(program: str, words: list[str]) -> int:
    verb = next((word for word in words if not word.startswith("-")), "")
    if program == "journalctl":
        log = ROOT / "service.log"
        lines = log.read_text().splitlines(keepends=True) if log.is_file() else []
        sys.stdout.writelines(lines[-int(words[words.index("-n") + 1]) :])
    elif verb == "restart":
        return restart()
    elif verb == "disable":
        stop()
    elif verb == "show":
        state = "active" if running() else "inactive"
        sys.stdout.write(f"ActiveState={state}\nNRestarts=0\nMainPID={running() or 0}\nStatusText=fake\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
