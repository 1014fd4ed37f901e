"""siamedge status and siamedge logs word for word, over real OpenSSH, of a service under a real systemd."""

import json
from pathlib import Path

from commands import Shell
from loopback import LoopbackDevice
from test_systemd import show, tracker_release, wait_for

from siamedge.devices.flashing.flash import apply, plan_flash

LOG = "one\ntwo\nthree\n"


def test_status_and_logs_of_a_running_service(systemd_device: LoopbackDevice, tmp_path: Path) -> None:
    device, shell = systemd_device, Shell(systemd_device, tmp_path)
    good = tracker_release(tmp_path / "here", device.base, "good")
    with device.transport() as ssh:
        remote = device.remote(ssh)
        apply(plan_flash(remote, good), remote, tmp_path / "cache", settle_s=0)
    wait_for(lambda: "present" in show(device, "StatusText"))
    device.systemctl("kill", "--signal=KILL", "siamedge.service")
    wait_for(lambda: show(device, "NRestarts") == "1" and "present" in show(device, "StatusText"))

    told = json.loads(shell("status", shell.target, "--json").stdout)
    assert (told["release"], told["previous"], told["state"], told["restarts"]) == (good.name, "", "active", 1)
    assert told["since"] == show(device, "ActiveEnterTimestamp")
    assert told["tracking"].startswith("present at 1.0,2.0,3.0,4.0, ")
    assert told["tracking"].endswith(" fps, latency 5.0 ms")
    assert set(told) == {
        "release", "previous", "state", "since", "restarts", "tracking", "temperature_c", "throttled"
    }  # fmt: skip
    lines = shell("status", shell.target).stdout.splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "release", "previous", "state", "since", "restarts", "tracking", "temperature c", "throttled"
    ]  # fmt: skip
    assert lines[:3] == [f"release        {good.name}", "previous       -", "state          active"]

    (device.root / "service.log").write_text(LOG)
    assert shell("logs", shell.target).stdout == LOG
    assert shell("logs", shell.target, "-n", "2").stdout == "two\nthree\n"


def test_a_device_without_siamedge_is_told(shell: Shell) -> None:
    name = shell.target.removeprefix("ssh://")
    for verb in ("status", "logs"):
        done = shell(verb, shell.target)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.splitlines() == [
            f"siamedge: {name}: siamedge is not installed there",
            "  try: `siamedge flash BUNDLE TARGET`",
        ]
