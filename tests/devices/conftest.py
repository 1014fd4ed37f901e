"""A device on the loopback: OpenSSH's own server, run unprivileged on a free port, with a stand-in for systemctl."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from loopback import LoopbackDevice, missing_programs


@pytest.fixture
def device(tmp_path: Path) -> Iterator[LoopbackDevice]:
    if absent := missing_programs():
        pytest.skip(f"{', '.join(absent)} not installed")
    with LoopbackDevice(tmp_path / "device") as running:
        yield running
