"""A flash onto a real systemd (of the user): readiness, status, restart after kill -9, watchdog, rollback."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from loopback import LoopbackDevice

from siamedge.devices.connection.client import Remote
from siamedge.devices.flashing.flash import apply, plan_flash
from siamedge.devices.flashing.preparing import FlashOptions, prepare
from siamedge.devices.releases.layers import seal
from siamedge.devices.releases.release import Release, launchers, tie
from siamedge.devices.releases.unit import ServiceOptions, unit_text
from siamedge.runtime.errors import DeviceError

TRACKER = """#!/bin/sh
# Stands for `siamedge track`: a line a frame; silent, or gone, when the file of its release says so.
here=$(dirname "$(readlink -f "$0")")
while [ "$(cat "$here/bundle/mood")" != dead ]; do
    sleep 0.05
    echo '{"frame": 1, "state": "present", "box": [1, 2, 3, 4], "latency_ms": 5.0, "args": "'"$*"'"}'
    if [ "$(cat "$here/bundle/mood")" = silent-after-a-second ]; then
        n=$((${n:-0} + 1)); [ "$n" -lt 20 ] || sleep 600
    fi
done
exit 1
"""

TELLER = """#!/bin/sh
{python} -c 'import json, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(json.dumps(sys.argv[2:]))' {told} "$@"
while sleep 0.1; do echo '{{"frame": 1, "state": "present", "box": [1, 2, 3, 4], "latency_ms": 5.0}}'; done
"""
"""Stands for `siamedge track` and writes down its arguments."""
ODD = (
    "a b", "100%d.jpg", "%h", "$HOME", "${X}y", "it's", 'say "x"', "rtsp://u:p%40ss$word@cam/x?a=1&b=2", "café", "é ü",
    "back\\slash", "tab\\there", "C:\\data\\x", "a\\", ";", "", "#x", "a\nb",
    "x\nExecStartPre=/bin/false\n", "tab\tbell\a",
)  # fmt: skip


def tracker_release(folder: Path, base: Path, mood: str, watchdog_s: int = 120, *, has_service: bool = True) -> Release:
    """A release with the real launcher, the real supervised process and the real unit, if it is to have one."""
    content = folder / f"bundle-{mood}"
    content.mkdir(parents=True)
    (content / "mood").write_text(mood)
    unit = unit_text(str(base), ServiceOptions(("--source", "0"), (), "raspberry-pi"), "user")
    files = {
        "python": launchers(sys.executable)["python"],
        "siamedge": TRACKER,
        "check": "#!/bin/sh\necho fine\n",
    }
    if has_service:
        files["siamedge.service"] = unit.replace("WatchdogSec=30", f"WatchdogSec={watchdog_s}")
    return tie([seal(content, "bundle")], files, folder / f"release-{mood}")


def wait_for(fact: Callable[[], bool], limit_s: float = 180) -> None:
    end = time.monotonic() + limit_s
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.1)


def show(device: LoopbackDevice, name: str) -> str:
    return device.systemctl("show", "siamedge.service", "-p", name, "--value")


def flash(remote: Remote, release: Release, tmp_path: Path) -> None:
    apply(plan_flash(remote, release), remote, tmp_path / "cache", settle_s=1)


def test_service_under_a_real_systemd(systemd_device: LoopbackDevice, tmp_path: Path) -> None:
    device = systemd_device
    good, dead = (tracker_release(tmp_path / "here", device.base, mood) for mood in ("good", "dead"))
    with device.transport() as ssh:
        remote = device.remote(ssh)
        flash(remote, good, tmp_path)
        assert show(device, "ActiveState") == "active"
        wait_for(lambda: "present" in show(device, "StatusText"))
        assert "latency 5.0 ms" in show(device, "StatusText")
        assert plan_flash(remote, good).is_done

        pid = show(device, "MainPID")
        device.systemctl("kill", "--signal=KILL", "siamedge.service")
        wait_for(lambda: show(device, "ActiveState") == "active" and show(device, "MainPID") not in (pid, "0"))
        assert show(device, "NRestarts") == "1"

        with pytest.raises(DeviceError, match=f"does not start: .*; release {good.name} runs again"):
            flash(remote, dead, tmp_path)
        assert show(device, "ActiveState") == "active"
        assert (device.base / "current").readlink().name == good.name

        remote.call("uninstall", "user")
    assert show(device, "LoadState") == "not-found"
    assert [str(path) for path in device.home.rglob("*") if path.is_file()] == []


def test_the_tracker_gets_its_arguments_unchanged(systemd_device: LoopbackDevice, tmp_path: Path) -> None:
    device, told = systemd_device, tmp_path / "told"
    content = tmp_path / "bundle"
    content.mkdir()
    (content / "text").write_text("odd")
    files = {
        "python": launchers(sys.executable)["python"],
        "siamedge": TELLER.format(python=sys.executable, told=told),
        "check": "#!/bin/sh\necho fine\n",
        "siamedge.service": unit_text(str(device.base), ServiceOptions(ODD, (), "raspberry-pi"), "user"),
    }
    with device.transport() as ssh:
        flash(device.remote(ssh), tie([seal(content, "bundle")], files, tmp_path / "release"), tmp_path)
    assert json.loads(told.read_text()) == ["track", f"{device.base}/current/bundle", *ODD, "--json"]


def test_no_service_runs_for_a_release_that_has_none(systemd_device: LoopbackDevice, tmp_path: Path) -> None:
    device = systemd_device
    good, dead = (tracker_release(tmp_path / "here", device.base, mood) for mood in ("good", "dead"))
    plain = tracker_release(tmp_path / "here", device.base, "plain", has_service=False)

    def state() -> tuple[str, str]:
        return show(device, "ActiveState"), show(device, "UnitFileState")

    with device.transport() as ssh:
        remote = device.remote(ssh)
        flash(remote, good, tmp_path)
        flash(remote, plain, tmp_path)
        assert state() == ("inactive", "disabled")
        assert plan_flash(remote, plain).is_done
        remote.call("rollback", "user", "0")
        assert state() == ("active", "enabled")
        remote.call("rollback", "user", "0")
        assert state() == ("inactive", "disabled")

        with pytest.raises(DeviceError, match=f"does not start: .*; release {plain.name} is on again"):
            flash(remote, dead, tmp_path)
        assert state() == ("inactive", "disabled")
        device.systemctl("start", "siamedge.service")
        assert not plan_flash(remote, plain).is_done
        remote.call("uninstall", "user")
    assert [str(path) for path in device.home.rglob("*") if path.is_file()] == []


def test_watchdog_restarts_a_tracker_that_hangs(systemd_device: LoopbackDevice, tmp_path: Path) -> None:
    device = systemd_device
    hanging = tracker_release(tmp_path / "here", device.base, "silent-after-a-second", watchdog_s=2)
    with device.transport() as ssh:
        flash(device.remote(ssh), hanging, tmp_path)
        wait_for(lambda: int(show(device, "NRestarts") or 0) >= 1)


@pytest.mark.slow
def test_the_real_tracker_as_a_service(systemd_device: LoopbackDevice, bundle: Path, tmp_path: Path) -> None:
    device = systemd_device
    with device.transport() as ssh:
        options = FlashOptions(("--source", "synthetic:", "--pace"), (), "user", send_wheels=False)
        ready = prepare(ssh, bundle, options, tmp_path / "cache", tmp_path / "work")
        assert ready.remote.scope == "user"
        assert ready.release.has_service
        plan, progress = plan_flash(ready.remote, ready.release), list[str]()
        checked = apply(plan, ready.remote, tmp_path / "cache", settle_s=2, progress=progress.append)
        assert "search_ms" in checked["check"]
        wait_for(lambda: "fps" in show(device, "StatusText"))
    told = next(line for line in progress if line.startswith("tuned: "))
    measured = (device.base / "tuned" / ready.release.layers[0].name).glob("*.json")
    own = [path.read_text() for path in (device.home / ".cache/siamedge/siamedge/tuning").iterdir()]
    assert own == [path.read_text() for path in measured]
    chosen = next(trial for trial in json.loads(own[0])["trials"] if trial["verdict"] == "chosen")
    assert told.startswith(f"tuned: {chosen['backend']} {chosen['precision']} on CPU, threads {chosen['threads']}: ")
