"""Tier C: a whole emulated arm64 machine with systemd and a camera of known content, from the image to the rollback."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Shell
from machine import BOOT_OFFSET, Machine, missing_programs, wait_for

from siamedge.devices.connection.transport import ConnectionLostError, SshTransport
from siamedge.runtime.geometry import Box
from siamedge.runtime.sources.synthetic import SyntheticSource

HERE = Path(__file__).parent
SCENE = SyntheticSource(frames=150)
"""The camera shows its first FRAMES frames: the target moves, grows and turns, the ground pans."""
FRAMES = 61
STRIDE = 4
TOLERANCE_PX = 8
"""In the clip's first 24 frames: later, on any machine, the default's box leaves out the head of the drawn beetle."""
LIMIT_S = 1800
"""Of a wait; an idle computer needs a tenth of it."""
INSIDE = r"""
told() { systemctl show siamedge.service -p StatusText --value | sed -n 's/.*, \([0-9]*\) frames,.*/\1/p'; }
go_to() { echo "$1" >/run/camera/goto; until [ "$(cat /run/camera/at)" = "$1" ]; do sleep 0.2; done; }
see() {
    until first=$(told) && [ -n "$first" ]; do sleep 1; done
    until [ "$(told)" -ge "$((first + $1))" ]; do sleep 0.5; done
}
"""
"""Waits in the machine, where a look is cheap: play the clip to a frame; until the tracker saw so many frames more."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.machine,
    pytest.mark.skipif(
        os.environ.get("SIAMEDGE_MACHINE") != "1",
        reason="emulates a whole machine for some ten minutes: SIAMEDGE_MACHINE=1, or scripts/machine.sh",
    ),
]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    if absent := missing_programs():
        pytest.skip(f"{', '.join(absent)} not installed")
    if os.geteuid() != 0:
        pytest.skip("needs root, for the owners of the files in the image")
    camera, folder = tmp_path / "camera", tmp_path / "machine"
    camera.mkdir()
    for name in ("machine_camera.py", "machine_camera.service"):
        (camera / name).write_text((HERE / name).read_text())
    (camera / "clip.raw").write_bytes(b"".join(SCENE.image_at(index).tobytes() for index in range(FRAMES)))
    subprocess.run(["sh", str(HERE / "machine_image.sh"), str(folder), str(camera)], check=True, timeout=LIMIT_S)
    with Machine(folder) as made:
        yield made
    (folder / "os.img").unlink()  # half a gigabyte, which pytest would keep


class Diary:
    """What happened when, for docs/devices.md; pytest -s shows it."""

    def __init__(self) -> None:
        self._start_s = time.monotonic()

    def note(self, what: str) -> None:
        print(f"{time.monotonic() - self._start_s:7.1f} s  {what}", flush=True)  # noqa: T201


class Watched:
    """The service and the camera inside the machine."""

    def __init__(self, ssh: SshTransport) -> None:
        self._ssh = ssh

    def sh(self, script: str, tries: int = 30) -> str:
        """Run a script there; again where ssh gave up on a machine that stood still for half a minute."""
        try:
            return self._ssh.run(["sh", "-c", script], timeout_s=LIMIT_S).strip()
        except ConnectionLostError:
            if tries == 1:
                raise
            return self.sh(script, tries - 1)

    def show(self, name: str) -> str:
        return self.sh(f"systemctl show siamedge.service -p {name} --value")

    def restarts(self) -> int:
        return int(self.show("NRestarts"))

    def box(self) -> Box:
        """The last one told, whatever the state."""
        told = self.show("StatusText")
        found = re.fullmatch(r"\w+ at ([-\d.,]+), \d+ frames, .*", told)
        assert found, told
        return Box(*map(float, found[1].split(",")))

    def go_to(self, index: int) -> None:
        """Play the clip to a frame and stay there."""
        self.sh(f"{INSIDE}go_to {index}")

    def follow_to(self, index: int) -> None:
        """The same, a few frames at a time, each seen by the tracker: how fast it is here does not matter."""
        at = int(self.sh("cat /run/camera/at"))
        steps = " ".join(map(str, (*range(at, index, STRIDE), index)))
        self.sh(f"{INSIDE}for step in {steps}; do go_to $step; see 2; done")

    def is_active(self) -> bool:
        return self.show("ActiveState") == "active"

    def off_by_px(self, index: int) -> float:
        """The largest difference of the tracked box, at any of its sides, once the shown frame was surely tracked."""
        self.sh(f"{INSIDE}see 4")
        box = self.box()
        x, y, w, h = SCENE.box_at(index)
        return max(abs(box.x - x), abs(box.y - y), abs(box.x + box.w - x - w), abs(box.y + box.h - y - h))


def check_followed(seen: Watched, diary: Diary, *indices: int) -> None:
    for index in indices:
        seen.follow_to(index)
        worst_px = seen.off_by_px(index)
        diary.note(f"frame {index}: the box is off by at most {worst_px:.1f} px at any side; {seen.show('StatusText')}")
        assert worst_px <= TOLERANCE_PX


def test_from_the_image_to_the_rollback(machine: Machine, bundle: Path, tmp_path: Path) -> None:
    diary, shell = Diary(), Shell(machine, tmp_path, timeout_s=LIMIT_S)
    init = ",".join(f"{side:.0f}" for side in SCENE.box_at(0))
    chosen = f"--source 0 --init {init} --backend tflite --precision int8"
    board = ("--board", "pi4", "--system", "bookworm", "--backends", "tflite", "--run", chosen)
    done = shell("flash", str(bundle), f"image:{machine.image}", *board)
    assert done.returncode == 0, done.stderr
    diary.note("image flashed")
    assert "systemd.run=/boot/firmware/siamedge/firstrun.sh" in machine.command_line
    machine.start()
    machine.wait_until_off(LIMIT_S)
    diary.note("first boot installed it and rebooted")
    assert "systemd.run" not in machine.command_line
    log = ["mtype", "-i", f"{machine.image}@@{BOOT_OFFSET}", "::siamedge/firstrun.log"]
    told = subprocess.run(log, check=True, capture_output=True, text=True).stdout
    assert told.splitlines()[-1] == "installed", told

    machine.start()
    machine.wait_until_up()
    with machine.transport() as ssh:
        seen = Watched(ssh)
        diary.note("second boot answers on ssh")
        wait_for(seen.is_active, "the service is up", LIMIT_S)
        diary.note("service up")
        check_followed(seen, diary, 8, 16, 24)
        restart_by_systemd(seen, diary)
        new_release_and_back(seen, diary, shell, bundle, f"{chosen} --threads 2")
        assert shell("flash", "--uninstall", shell.target).returncode == 0
        left = "find / -xdev -path /proc -prune -o -path /boot/firmware -prune -o -name '*siamedge*' -print"
        assert seen.sh(left) == "/etc/systemd/system/siamedge.service.d", "the image has that folder from the start"
    diary.note("uninstalled, nothing is left")


def restart_by_systemd(seen: Watched, diary: Diary) -> None:
    seen.go_to(0)
    before = seen.restarts()
    seen.sh("systemctl kill --signal=KILL siamedge.service", tries=1)
    wait_for(lambda: seen.restarts() == before + 1 and seen.is_active(), "restarted after kill -9", LIMIT_S)
    diary.note("kill -9: restarted")
    check_followed(seen, diary, 10)
    seen.go_to(0)
    seen.sh("kill -STOP $(pgrep -P $(systemctl show siamedge.service -p MainPID --value))")
    wait_for(lambda: seen.restarts() == before + 2 and seen.is_active(), "restarted by the watchdog", LIMIT_S)
    assert "Watchdog timeout" in seen.sh("journalctl -u siamedge.service --no-pager")
    diary.note("tracker stopped (SIGSTOP): restarted by the watchdog")
    check_followed(seen, diary, 10)


def new_release_and_back(seen: Watched, diary: Diary, shell: Shell, bundle: Path, service: str) -> None:
    seen.go_to(0)
    first = seen.sh("readlink /opt/siamedge/current")
    words = ("flash", str(bundle), shell.target, "--backends", "tflite", "--run", service)
    done = shell(*words)
    assert done.returncode == 0, done.stderr
    diary.note("new release")
    second = seen.sh("readlink /opt/siamedge/current")
    assert second != first
    check_followed(seen, diary, 20)
    again = shell(*words)
    assert "is on already; nothing to do" in again.stdout
    diary.note("the same flash again: nothing to do")
    told = shell("status", shell.target).stdout
    assert re.search(r"^state +active$", told, re.M), told
    assert re.search(r"^tracking +present at ", told, re.M), told
    diary.note("status: " + " | ".join(" ".join(line.split()) for line in told.splitlines()))
    assert "Started siamedge.service" in shell("logs", shell.target, "-n", "30").stdout
    seen.go_to(0)
    back = shell("flash", "--rollback", shell.target)
    assert back.returncode == 0, back.stderr
    assert seen.sh("readlink /opt/siamedge/current") == first
    diary.note("rolled back")
    check_followed(seen, diary, 10)
