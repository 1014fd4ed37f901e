"""The siamedge command as a user runs it, pointed at a device on the loopback."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Protocol


class Reachable(Protocol):
    """A device with a folder that holds an ssh_config for it."""

    root: Path
    user: str
    port: int


class Shell:
    """The siamedge command with the device's ssh configuration and a cache of its own."""

    def __init__(self, device: Reachable, folder: Path, port: int = 0, timeout_s: float = 300) -> None:
        (folder / "bin").mkdir()
        ssh = folder / "bin/ssh"
        ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {device.root}/ssh_config "$@"\n')
        ssh.chmod(0o755)
        path = f"{folder / 'bin'}:{os.environ['PATH']}"
        self._environment = {**os.environ, "PATH": path, "XDG_CACHE_HOME": str(folder / "cache"), "COLUMNS": "200"}
        self._timeout_s = timeout_s
        self.target = f"ssh://{device.user}@127.0.0.1:{port or device.port}"

    def __call__(self, *words: str) -> "subprocess.CompletedProcess[str]":
        program = "from siamedge.cli.main import main; main()"
        command = [sys.executable, "-c", program, *words]
        limit_s, env = self._timeout_s, self._environment
        return subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=limit_s)
