"""What stops a flash over real OpenSSH: one clear line, and the device is as it was, its service not even restarted."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import Shell
from loopback import LoopbackDevice
from releases import small_release
from tiny_bundle import tiny_bundle

from siamedge.devices.flashing.flash import apply, plan_flash
from siamedge.devices.on_device.files import check

pytest.importorskip("onnxruntime")

OPTIONS = ("--user", "--no-wheels", "--backends", "onnxruntime")


def run_old_release(device: LoopbackDevice, tmp_path: Path) -> None:
    old = small_release(tmp_path / "old", device.base, "old", python=sys.executable, size=1000)
    with device.transport() as ssh:
        apply(plan_flash(device.remote(ssh), old), device.remote(ssh), tmp_path / "old-cache", settle_s=0)


@contextmanager
def untouched(device: LoopbackDevice) -> Iterator[None]:
    """The same files, links and process before and after."""

    def seen() -> tuple[int | None, dict[str, str]]:
        paths = (path for path in device.base.rglob("*") if path.name not in ("lock", "switch.lock"))
        kinds = {str(path): str(path.readlink()) if path.is_symlink() else str(path.is_dir()) for path in paths}
        return device.service_pid(), kinds

    before = seen()
    assert before[0] is not None
    yield
    assert seen() == before
    assert device.service_environment().strip().endswith(" old")


def refusal(shell: Shell, *words: str) -> list[str]:
    """The lines of a command that fails; each begins where a person looks."""
    done = shell(*words)
    assert done.returncode == 1, done.stderr
    return done.stderr.splitlines()


def flash_refusal(shell: Shell, folder: Path) -> list[str]:
    """The lines of a flash of another bundle that fails."""
    return refusal(shell, "flash", str(tiny_bundle(folder)), shell.target, *OPTIONS)


def name_of(shell: Shell) -> str:
    """The device as messages name it."""
    return shell.target.removeprefix("ssh://")


def stand_in(device: LoopbackDevice, name: str, text: str) -> None:
    program = device.root / "bin" / name
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)


def test_wrong_architecture(shell: Shell, device: LoopbackDevice, tmp_path: Path) -> None:
    run_old_release(device, tmp_path)
    stand_in(device, "uname", 'case $1 in -m) echo riscv64 ;; *) exec /bin/uname "$@" ;; esac')
    with untouched(device):
        lines = flash_refusal(shell, tmp_path)
    name = name_of(shell)
    assert lines == [
        f"siamedge: {name}: processor riscv64, 64 bit; aarch64 or x86_64, 64 bit needed",
        "  try: install a 64-bit system",
    ]


def test_python_too_old(shell: Shell, device: LoopbackDevice, tmp_path: Path) -> None:
    run_old_release(device, tmp_path)
    stand_in(device, "python3", "echo /usr/bin/python3 3.8.10 cpython 64")
    for minor in range(10, 15):
        stand_in(device, f"python3.{minor}", "exit 1")
    with untouched(device):
        lines = flash_refusal(shell, tmp_path)
    name = name_of(shell)
    assert lines == [
        f"siamedge: {name}: Python 3.8 found, 3.10 or newer needed",
        "  try: a newer system release",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a mount namespace")
def test_too_little_space_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    with LoopbackDevice(tmp_path / "device", disk_kib=50_000) as device:
        run_old_release(device, tmp_path)
        shell = Shell(device, tmp_path)
        with device.transport() as ssh:
            before = device.remote(ssh).call("state")
            pid = device.service_pid()
            lines = flash_refusal(shell, tmp_path)
            assert (device.remote(ssh).call("state"), device.service_pid()) == (before, pid)
    told = [line for line in lines if line.startswith("siamedge: ")]
    assert [line.split(": ", 2)[2].split(" in ")[0] for line in told] == ["48 MiB free"]
    assert told[0].endswith(", 100 needed")
    assert lines[-1] == "  try: free some space there"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a mount namespace")
def test_old_releases_make_room_for_a_new_one(tmp_path: Path) -> None:
    with LoopbackDevice(tmp_path / "device", disk_kib=140_000) as device, device.transport() as ssh:
        remote = device.remote(ssh)
        for name in ("one", "two", "three", "four"):
            old = small_release(tmp_path / "here", device.base, name, python=sys.executable, size=14_000_000)
            apply(plan_flash(remote, old), remote, tmp_path / "cache", settle_s=0, keep=9)
        shell = Shell(device, tmp_path)
        assert (
            flash_refusal(shell, tmp_path)[-1] == "  try: free some space there, or remove old releases with --keep 0"
        )
        assert len(remote.call("state")["releases"]) == 3
        done = shell("flash", str(tiny_bundle(tmp_path)), shell.target, *OPTIONS, "--keep", "0")
        assert done.returncode == 0, done.stderr


def test_wrong_host_key(shell: Shell, device: LoopbackDevice, tmp_path: Path) -> None:
    run_old_release(device, tmp_path)
    known = device.root / "known_hosts"
    other = (device.root / "user.pub").read_text().split(" ")[1]
    host, kind = known.read_text().split("\n")[0].split(" ")[:2]
    known.write_text(f"{host} {kind} {other}\n")
    with untouched(device):
        lines = flash_refusal(shell, tmp_path)
    name = name_of(shell)
    assert lines == [
        f"siamedge: {name}: Host key verification failed.",
        "  try: reinstalled, or another device: compare the key with the device's own; then `ssh-keygen -R HOST`",
    ]


def test_second_flasher(shell: Shell, device: LoopbackDevice, tmp_path: Path) -> None:
    run_old_release(device, tmp_path)
    with untouched(device), device.transport() as first, device.remote(first).lock():
        lines = flash_refusal(shell, tmp_path)
    name = name_of(shell)
    assert lines[-2:] == [
        f"siamedge: {name}: another flash of this device is under way",
        "  try: wait for it; the lock ends with its connection",
    ]


def test_a_bit_that_flips_on_the_wire(device: LoopbackDevice, tmp_path: Path) -> None:
    run_old_release(device, tmp_path)
    proxy = device.proxy
    assert proxy is not None
    shell = Shell(device, tmp_path, proxy.port)
    before = (device.service_pid(), (device.base / "current").readlink(), sorted((device.base / "releases").iterdir()))
    proxy.flip_after(150_000)
    lines = flash_refusal(shell, tmp_path)
    device.wait_for_commands()
    after = (device.service_pid(), (device.base / "current").readlink(), sorted((device.base / "releases").iterdir()))
    assert after == before
    for layer in (device.base / "layers").iterdir():
        check(layer, layer.name)
    assert not (device.base / "incoming").exists()
    assert proxy.flips == 1
    told = [line for line in lines if line.startswith("siamedge: ")]
    assert len(told) == 1
    assert told[0].startswith(f"siamedge: {device.user}@127.0.0.1:{proxy.port}: ")
    proxy.heal()
    assert shell("flash", str(tiny_bundle(tmp_path)), shell.target, *OPTIONS).returncode == 0
