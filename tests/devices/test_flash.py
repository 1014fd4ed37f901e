"""Flashing over real OpenSSH to a device on the loopback."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from loopback import LoopbackDevice
from releases import small_release

from siamedge.devices.connection.client import Remote
from siamedge.devices.flashing.flash import Plan, apply, plan_flash, send
from siamedge.devices.on_device import verifying
from siamedge.devices.on_device.units import RefusedError
from siamedge.devices.releases.layers import pack
from siamedge.devices.releases.release import Release
from siamedge.runtime.errors import DeviceError


def release(tmp_path: Path, device: LoopbackDevice, text: str, **options: object) -> Release:
    return small_release(tmp_path / "here", device.base, text, python=sys.executable, **options)  # type: ignore[arg-type]


def flash(remote: Remote, new: Release, tmp_path: Path) -> Plan:
    plan = plan_flash(remote, new)
    apply(plan, remote, tmp_path / "cache", settle_s=0.2)
    return plan


def current(device: LoopbackDevice) -> str:
    link = device.base / "current"
    return link.readlink().name if link.is_symlink() else ""


def test_first_second_and_third_flash(device: LoopbackDevice, tmp_path: Path) -> None:
    one, two = release(tmp_path, device, "one"), release(tmp_path, device, "two")
    with device.transport() as ssh:
        remote = device.remote(ssh)
        plan = flash(remote, one, tmp_path)
        assert (len(plan.send), plan.current, plan.is_done) == (1, "", False)
        assert (device.base / "current/bundle/text").read_text() == "one"
        assert "one" in device.service_environment()
        again = plan_flash(remote, one)
        assert again.is_done
        assert again.lines() == [f"{one.name} is on already; nothing to do"]
        flash(remote, two, tmp_path)
        assert "two" in device.service_environment()
        remote.call("rollback", "user", "0.2")
        assert current(device) == one.name
        remote.call("activate", one.name, "user", "0")
        assert remote.call("state")["previous"] == two.name
        assert "one" in device.service_environment()


def test_uninstall_leaves_nothing(device: LoopbackDevice, tmp_path: Path) -> None:
    with device.transport() as ssh:
        remote = device.remote(ssh)
        flash(remote, release(tmp_path, device, "one"), tmp_path)
        with remote.lock():
            remote.call("uninstall", "user")
    assert device.service_pid() is None
    assert not device.base.exists()
    assert [str(path) for path in device.home.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("keep", [0, 1])
def test_old_releases_and_their_layers_are_collected(device: LoopbackDevice, tmp_path: Path, keep: int) -> None:
    with device.transport() as ssh:
        remote = device.remote(ssh)
        made = [release(tmp_path, device, text, size=1000) for text in ("a", "b", "c", "d")]
        for new in made:
            apply(plan_flash(remote, new), remote, tmp_path / "cache", settle_s=0, keep=keep)
        state = remote.call("state")
    left = made[2 - keep :]
    assert state["releases"] == sorted(new.name for new in left)
    assert state["layers"] == sorted(new.layers[0].name for new in left)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"check": "#!/bin/sh\necho 'no backend runs the bundle' >&2\nexit 1\n"}, "does not run here: no backend runs"),
        ({"ready": False}, "does not start: the camera is gone; release {old} runs again"),
        ({"lives_s": 0.05}, "does not stay up: the camera is gone; release {old} runs again"),
    ],
)
def test_an_unhealthy_release_goes_back_by_itself(
    device: LoopbackDevice, tmp_path: Path, options: dict[str, object], reason: str
) -> None:
    old = release(tmp_path, device, "old")
    with device.transport() as ssh:
        remote = device.remote(ssh)
        flash(remote, old, tmp_path)
        with pytest.raises(DeviceError) as caught:
            flash(remote, release(tmp_path, device, "bad", **options), tmp_path)
    assert reason.format(old=old.name) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert current(device) == old.name
    assert "old" in device.service_environment()


def test_an_unhealthy_first_release_leaves_nothing_running(device: LoopbackDevice, tmp_path: Path) -> None:
    with device.transport() as ssh, pytest.raises(DeviceError, match="there was none before it, so nothing runs"):
        flash(device.remote(ssh), release(tmp_path, device, "bad", ready=False), tmp_path)
    assert (current(device), device.service_pid()) == ("", None)


def test_a_second_flash_is_kept_out(device: LoopbackDevice, tmp_path: Path) -> None:
    new = release(tmp_path, device, "one")
    with device.transport() as first, device.transport() as second:
        plan = plan_flash(device.remote(second), new)
        with device.remote(first).lock(), pytest.raises(DeviceError, match="another flash of this device is under way"):
            apply(plan, device.remote(second), tmp_path / "cache")
        apply(plan, device.remote(second), tmp_path / "cache", settle_s=0)
    assert current(device) == new.name


def test_a_shell_that_greets_changes_no_answer(device: LoopbackDevice, tmp_path: Path) -> None:
    greeting = "echo Welcome to garden\ntrap 'echo Bye' EXIT\n"
    (device.home / ".bashrc").write_text(greeting)
    new = release(tmp_path, device, "one")
    with device.transport() as first, device.transport() as second:
        if not first.run(["true"]):
            pytest.skip("the shell here reads no .bashrc")
        plan = plan_flash(device.remote(second), new)
        with device.remote(first).lock(), pytest.raises(DeviceError, match="another flash of this device is under way"):
            apply(plan, device.remote(second), tmp_path / "cache")
        apply(plan, device.remote(second), tmp_path / "cache", settle_s=0)
    assert current(device) == new.name


def test_a_flipped_byte_in_transit_is_refused(device: LoopbackDevice, tmp_path: Path) -> None:
    old, new = release(tmp_path, device, "old"), release(tmp_path, device, "new")
    with device.transport() as ssh:
        remote = device.remote(ssh)
        flash(remote, old, tmp_path)
        packed = pack(new.layers[0], tmp_path / "cache/packed")
        content = bytearray(packed.read_bytes())
        content[len(content) // 2] ^= 1
        packed.write_bytes(content)
        with pytest.raises(DeviceError, match=r"the transfer is damaged|has sha256"):
            flash(remote, new, tmp_path)
        packed.unlink()
        assert current(device) == old.name
        assert remote.call("state")["layers"] == [old.layers[0].name]
        flash(remote, new, tmp_path)
    assert current(device) == new.name


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a mount namespace")
def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    with LoopbackDevice(tmp_path / "device", disk_kib=400) as device, device.transport() as ssh:
        remote = device.remote(ssh)
        old, big = release(tmp_path, device, "old", size=100_000), release(tmp_path, device, "big", size=900_000)
        flash(remote, old, tmp_path)
        before = remote.call("state")
        with pytest.raises(DeviceError, match="No space left on device") as caught:
            flash(remote, big, tmp_path)
        assert caught.value.hint == "free some space there; nothing was switched"
        assert remote.call("state") == before
        assert "old" in device.service_environment()
        flash(remote, release(tmp_path, device, "new", size=100_000), tmp_path)
        assert "new" in device.service_environment()


def test_a_wrong_host_key_is_refused(device: LoopbackDevice, tmp_path: Path) -> None:
    known = device.root / "known_hosts"
    other = (device.root / "user.pub").read_text().split(" ")[1]
    words = known.read_text().split("\n")[0].split(" ")
    known.write_text(f"{words[0]} {words[1]} {other}\n")
    with pytest.raises(DeviceError, match="Host key verification failed") as caught, device.transport():
        pass
    assert caught.value.hint.startswith("reinstalled, or another device")


def test_refused_connection_is_one_line(device: LoopbackDevice) -> None:
    with pytest.raises(DeviceError, match=r"^\w+@127.0.0.1:1: .*Connection refused$"), device.transport(port=1):
        pass


def test_program_arguments_arrive_unchanged(device: LoopbackDevice) -> None:
    odd = ["a b", "$HOME", "'", '"', "\\", "*", "", "ä\n"]
    with device.transport() as ssh:
        printed = ssh.run([sys.executable, "-c", "import sys; print(sys.argv[1:])", *odd])
    assert printed.strip() == str(odd)


def test_cache_can_be_deleted_between(device: LoopbackDevice, tmp_path: Path) -> None:
    with device.transport() as ssh:
        flash(device.remote(ssh), release(tmp_path, device, "one"), tmp_path)
        shutil.rmtree(tmp_path / "cache")
        flash(device.remote(ssh), release(tmp_path, device, "two"), tmp_path)
    assert "two" in device.service_environment()


def test_a_health_check_that_does_not_end_is_refused(
    device: LoopbackDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = release(tmp_path, device, "old")
    hanging = release(tmp_path, device, "hanging", check="#!/bin/sh\nexec sleep 600\n")
    with device.transport() as ssh:
        remote = device.remote(ssh)
        flash(remote, old, tmp_path)
        remote.call("begin")
        for kind, layer in (("layers", hanging.layers[0]), ("releases", hanging.folder)):
            send(remote, kind, layer, tmp_path / "cache")
    monkeypatch.setattr(verifying, "CHECK_LIMIT_S", 1)
    with pytest.raises(RefusedError, match=r"^the health check did not end within 1 s$"):
        verifying.verify(device.base, hanging.name)
    assert current(device) == old.name
