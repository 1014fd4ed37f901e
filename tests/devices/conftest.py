"""A device on the loopback: OpenSSH's own server, run unprivileged on a free port, with a stand-in for systemctl."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from commands import Shell
from loopback import LoopbackDevice, missing_programs


@pytest.fixture
def systemd_device(tmp_path: Path) -> Iterator[LoopbackDevice]:
    """The same with a real `systemd --user` instead of the stand-in."""
    if absent := missing_programs():
        pytest.skip(f"{', '.join(absent)} not installed")
    if os.geteuid() != 0 or not Path("/lib/systemd/systemd").exists():
        pytest.skip("needs root, for a mount namespace, and systemd")
    with LoopbackDevice(tmp_path / "device", systemd=True) as running:
        for _ in range(100):
            if "running" in running.systemctl("is-system-running") or running.systemctl("is-active", "basic.target"):
                break
            time.sleep(0.1)
        else:
            pytest.skip("systemd --user does not start here")
        yield running


@pytest.fixture
def device(tmp_path: Path) -> Iterator[LoopbackDevice]:
    if absent := missing_programs():
        pytest.skip(f"{', '.join(absent)} not installed")
    with LoopbackDevice(tmp_path / "device") as running:
        yield running


@pytest.fixture
def shell(device: LoopbackDevice, tmp_path: Path) -> Shell:
    return Shell(device, tmp_path)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model, exported once; SIAMEDGE_TEST_BUNDLE names one that is there already."""
    if given := os.environ.get("SIAMEDGE_TEST_BUNDLE"):
        return Path(given)
    pytest.importorskip("torch")
    path = tmp_path_factory.mktemp("bundle") / "default.siamedge"
    program = "from siamedge.cli.main import main; main()"
    command = [sys.executable, "-c", program, "export", "-o", str(path), "--precisions", "fp32,int8"]
    subprocess.run(command, check=True, capture_output=True, timeout=1800)
    return path
