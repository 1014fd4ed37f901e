"""The Ansible role, by ansible-playbook, against two devices on the loopback; siamedge itself says what it did."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from commands import Shell
from loopback import LoopbackDevice, missing_programs
from tiny_bundle import tiny_bundle

pytest.importorskip("onnxruntime")

ROLES = Path(__file__).parents[2] / "deploy/ansible/roles"
PLAYBOOK = """
- hosts: all
  gather_facts: false
  roles: [siamedge]
"""
OPTIONS = ("--user", "--no-wheels", "--backends", "onnxruntime")
RECAP = re.compile(r"^(\w+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


class Site:
    """An inventory of two devices and the program that plays the role on them."""

    def __init__(self, devices: Sequence[LoopbackDevice], folder: Path) -> None:
        program = shutil.which("ansible-playbook", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        if program is None:
            pytest.skip("ansible-core is not installed")
        self._program, self._folder = program, folder
        lines = [
            f"{name} ansible_host=127.0.0.1 ansible_port={device.port} ansible_user={device.user} "
            f"ansible_ssh_common_args='-F {device.root}/ssh_config'"
            for name, device in zip(("gate", "garden"), devices, strict=True)
        ]
        (folder / "hosts").write_text("\n".join(lines) + "\n")
        (folder / "play.yml").write_text(PLAYBOOK)

    def __call__(self, *words: str, **variables: str) -> tuple[str, dict[str, tuple[int, int]]]:
        """What was printed, and by host how many tasks changed something and how many failed."""
        settings = {"siamedge_user": "true", "siamedge_wheels": "none", "siamedge_backends": "onnxruntime", **variables}
        given = [part for key, value in settings.items() for part in ("-e", f"{key}={value}")]
        environment = {
            **os.environ,
            "ANSIBLE_HOME": str(self._folder / "ansible"),
            "ANSIBLE_ROLES_PATH": str(ROLES),
            "ANSIBLE_NOCOLOR": "1",
            "XDG_CACHE_HOME": str(self._folder / "cache"),
            "LC_ALL": "C.UTF-8",
        }
        command = [self._program, "-i", str(self._folder / "hosts"), str(self._folder / "play.yml"), *given, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, env=environment)
        recap = {row[0]: (int(row[2]), int(row[4])) for row in RECAP.findall(done.stdout)}
        assert set(recap) == {"gate", "garden"}, done.stdout + done.stderr
        return done.stdout, recap


@pytest.fixture
def second(tmp_path: Path) -> Iterator[LoopbackDevice]:
    if absent := missing_programs():
        pytest.skip(f"{', '.join(absent)} not installed")
    with LoopbackDevice(tmp_path / "second") as running:
        yield running


def current(device: LoopbackDevice) -> str:
    return (device.base / "current").readlink().name


@pytest.mark.slow
def test_the_role_does_what_flash_does(
    shell: Shell, device: LoopbackDevice, second: LoopbackDevice, tmp_path: Path
) -> None:
    site, one, two = Site((device, second), tmp_path), tiny_bundle(tmp_path, "one"), tiny_bundle(tmp_path, "two")
    told, recap = site(siamedge_bundle=str(one))
    assert recap == {"gate": (1, 0), "garden": (1, 0)}, told
    told, recap = site(siamedge_bundle=str(one))
    assert recap == {"gate": (0, 0), "garden": (0, 0)}, told
    by_command = shell("flash", str(one), shell.target, *OPTIONS)
    assert by_command.stdout == f"  {current(device)} is on already; nothing to do\n"
    assert current(second) == current(device)

    before = current(device)
    told, recap = site("--check", siamedge_bundle=str(two))
    assert recap == {"gate": (1, 0), "garden": (1, 0)}, told
    assert (current(device), current(second)) == (before, before)

    uname = second.root / "bin/uname"
    uname.write_text('#!/bin/sh\ncase $1 in -m) echo riscv64 ;; *) exec /bin/uname "$@" ;; esac\n')
    uname.chmod(0o755)
    told, recap = site(siamedge_bundle=str(two))
    assert recap == {"gate": (1, 0), "garden": (0, 1)}, told
    assert "garden: processor riscv64, 64 bit; aarch64 or x86_64, 64 bit needed (try: install a 64-bit system)" in told
    assert (current(device) != before, current(second)) == (True, before)

    told, recap = site(siamedge_state="absent")
    assert recap == {"gate": (1, 0), "garden": (1, 0)}, told
    assert not device.base.exists()
    told, recap = site(siamedge_state="absent")
    assert recap == {"gate": (0, 0), "garden": (0, 0)}, told
    left = [path for home in (device.home, second.home) for path in home.rglob("*") if path.is_file()]
    assert left == []
