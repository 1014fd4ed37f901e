"""Devices whose state is not as a flash left it: damaged, left over, in the middle of a switch, without a camera."""

import errno
import fcntl
import os
import shutil
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from loopback import LoopbackDevice
from releases import small_release

from siamedge.devices.connection.client import Remote
from siamedge.devices.connection.transport import Feed, LocalTransport
from siamedge.devices.flashing.flash import apply, plan_flash
from siamedge.devices.flashing.targets import connected
from siamedge.devices.on_device import verbs
from siamedge.devices.on_device.files import check
from siamedge.devices.on_device.units import RefusedError
from siamedge.devices.releases.layers import pack
from siamedge.devices.releases.release import Release
from siamedge.runtime.errors import DeviceError


def release(tmp_path: Path, base: Path, text: str, **options: object) -> Release:
    return small_release(tmp_path / "here", base, text, python=sys.executable, size=1000, **options)  # type: ignore[arg-type]


def flash(remote: Remote, new: Release, tmp_path: Path) -> list[str]:
    told: list[str] = []
    apply(plan_flash(remote, new), remote, tmp_path / "cache", settle_s=0, progress=told.append)
    return told


def test_what_was_damaged_on_the_device_is_sent_again(device: LoopbackDevice, tmp_path: Path) -> None:
    old, new = (release(tmp_path, device.base, text) for text in ("old", "new"))
    layer = device.base / "layers" / new.layers[0].name
    with device.transport() as ssh:
        remote = device.remote(ssh)
        flash(remote, new, tmp_path)
        flash(remote, old, tmp_path)
        (layer / "text").write_text("bad")
        with pytest.raises(DeviceError, match=r"text has sha256 .*, .* expected"):
            remote.call("rollback", "user", "0")
        assert (device.base / "current").readlink().name == old.name
        assert f"sending {layer.name} again, which is damaged there" in flash(remote, new, tmp_path)
        assert (layer / "text").read_text() == "new"
        shutil.rmtree(device.base / "releases" / old.name / "bundle", ignore_errors=True)
        (device.base / "releases" / old.name / "serve").unlink()
        assert f"sending {old.name} again, which is damaged there" in flash(remote, old, tmp_path)
    assert device.service_environment().strip().endswith(" old")
    assert not (device.base / "incoming").exists()


@pytest.mark.parametrize(("name", "what"), [("more", "too many"), ("text", "missing")])
def test_a_file_more_or_less_is_damage(tmp_path: Path, name: str, what: str) -> None:
    layer = release(tmp_path, tmp_path, "one").layers[0]
    folder = layer.folder.rename(tmp_path / layer.name)
    check(folder, layer.name)
    if what == "missing":
        (folder / name).unlink()
    else:
        (folder / name).touch()
    with pytest.raises(RefusedError, match=rf"^{layer.name}: {name} is {what}$"):
        check(folder, layer.name)


def test_a_release_that_cannot_be_gone_back_to_is_told(device: LoopbackDevice, tmp_path: Path) -> None:
    old, new = release(tmp_path, device.base, "old"), release(tmp_path, device.base, "new", ready=False)
    with device.transport() as ssh:
        remote = device.remote(ssh)
        flash(remote, old, tmp_path)
        serve = device.base / "releases" / old.name / "serve"
        serve.write_text("#!/bin/sh\necho the camera is gone\nexit 1\n")  # as where the cable is pulled out
        gone = "does not start: the camera is gone"
        with pytest.raises(DeviceError) as caught:
            flash(remote, new, tmp_path)
        assert str(caught.value).endswith(f"release {new.name} {gone}; release {old.name} is on again, but {gone}")
        assert caught.value.hint == "see `siamedge logs TARGET`"
        assert (device.base / "current").readlink().name == old.name
        with pytest.raises(DeviceError, match=rf"release {old.name} {gone}; it was on before, too$"):
            remote.call("activate", old.name, "user", "0")


def test_what_a_failed_first_flash_left_is_uninstalled(device: LoopbackDevice, tmp_path: Path) -> None:
    with device.transport() as ssh:
        with pytest.raises(DeviceError, match="so nothing runs"):
            flash(device.remote(ssh), release(tmp_path, device.base, "bad", ready=False), tmp_path)
        assert list((device.base / "layers").iterdir())
        with pytest.raises(DeviceError, match=r"siamedge is not installed there$"):
            connected(ssh)
        remote = connected(ssh, "user", leftovers=True)
        assert remote.base == str(device.base)
        remote.call("uninstall", "none")
    assert not device.base.exists()


def test_a_service_that_does_not_stop_keeps_its_release(device: LoopbackDevice, tmp_path: Path) -> None:
    with device.transport() as ssh:
        remote = device.remote(ssh)
        flash(remote, release(tmp_path, device.base, "one"), tmp_path)
        systemctl = device.root / "bin/systemctl"
        real = systemctl.read_text()
        refuses = 'case "$*" in *disable*) echo "Connection timed out" >&2; exit 1 ;; esac\nexec'
        systemctl.write_text(real.replace("exec", refuses, 1))
        with pytest.raises(DeviceError, match=r"siamedge.service cannot be stopped: Connection timed out$"):
            remote.call("uninstall", "user")
    assert (device.base / "current/serve").is_file()
    assert "one" in device.service_environment()


def test_nothing_is_removed_while_a_switch_is_under_way(tmp_path: Path) -> None:
    base = tmp_path / "base"
    remote = Remote(LocalTransport(), sys.executable, str(base), "none")
    made = [release(tmp_path, base, text) for text in ("a", "b", "c", "d")]
    for new in made:
        apply(plan_flash(remote, new), remote, tmp_path / "cache", settle_s=0, keep=9)
    for words, first in ((("collect", "0"), base / "releases" / made[0].name), (("uninstall", "none"), base)):
        with (base / "switch.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # as a switch does whose connection broke
            asked = threading.Thread(target=remote.call, args=words)
            asked.start()
            asked.join(0.5)
            assert (asked.is_alive(), first.exists()) == (True, True)
        asked.join(60)
        assert (asked.is_alive(), first.exists()) == (False, False)


def test_installing_again_leaves_alone_what_the_service_uses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, carried = tmp_path / "base", tmp_path / "carried"
    new = release(tmp_path, base, "one")
    for kind, layer in (("layers", new.layers[0]), ("releases", new.folder)):
        pack(layer, carried / kind)
    places = [base / "layers" / new.layers[0].name, base / "releases" / new.name]
    verbs.install(base, str(carried), new.name, "none", "0")
    before = [place.stat().st_ino for place in places]
    verbs.install(base, str(carried), new.name, "none", "0")
    assert [place.stat().st_ino for place in places] == before
    (places[0] / "text").write_text("bad")
    verbs.install(base, str(carried), new.name, "none", "0")
    check(places[0], places[0].name)
    assert '"active"' in capsys.readouterr().out


def test_a_device_without_processes_to_spare_is_not_told_to_be_in_another_flash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fork(*_words: object, **_options: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr("subprocess.Popen.__init__", fork)
    monkeypatch.setattr("subprocess.Popen.__del__", lambda _self: None)
    assert verbs.main(["status", str(tmp_path), "system"]) == verbs.REFUSED
    assert capsys.readouterr().err == "Resource temporarily unavailable\n"


class TimedTransport(LocalTransport):
    """This machine, with the time limit of every command kept."""

    def __init__(self) -> None:
        self.limits_s: dict[str, float] = {}

    def run(self, argv: Sequence[str], feed: Feed = None, timeout_s: float = 120) -> str:
        self.limits_s[next((word for word in argv if word in verbs.VERBS), "")] = timeout_s
        return super().run(argv, feed, timeout_s)


def test_a_service_may_be_watched_for_hours_before_it_counts_as_healthy(tmp_path: Path) -> None:
    transport = TimedTransport()
    remote = Remote(transport, sys.executable, str(tmp_path / "base"), "none")
    new = release(tmp_path, tmp_path / "base", "one")
    apply(plan_flash(remote, new), remote, tmp_path / "cache", settle_s=7200)
    assert transport.limits_s["activate"] > 7200 + 2 * 570


def test_a_warning_of_sudo_is_not_the_reason(device: LoopbackDevice) -> None:
    sudo = device.root / "bin/sudo"
    sudo.write_text('#!/bin/sh\necho "sudo: unable to resolve host garden" >&2\nshift\nexec "$@"\n')
    sudo.chmod(0o755)
    with device.transport() as ssh:
        remote = Remote(ssh, sys.executable, str(device.base), "user", sudo=True)
        with pytest.raises(DeviceError, match="there is no release to go back to") as caught:
            remote.call("rollback", "user", "0")
        assert caught.value.hint == "see `siamedge status TARGET`"
        sudo.write_text('#!/bin/sh\necho "sudo: a password is required" >&2\nexit 1\n')
        with pytest.raises(DeviceError, match="a password is required") as caught:
            remote.call("state")
    assert caught.value.hint.startswith("allow sudo without password")
