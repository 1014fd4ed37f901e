"""A whole arm64 machine under QEMU for tests: started as a Raspberry Pi is, with cmdline.txt of its boot partition."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from loopback import free_port

from siamedge.devices.connection.transport import SshTarget, SshTransport
from siamedge.runtime.errors import DeviceError

BOOT_OFFSET = 8192 * 512
PROGRAMS = ("qemu-system-aarch64", "mmdebstrap", "mcopy", "sfdisk", "mkfs.vfat", "mke2fs", "depmod", "cpio", "ssh")
BOOT_LIMIT_S = 1800
POLL_S = 3
"""Each look costs the machine a second of its own."""


def missing_programs() -> list[str]:
    """Programs that the machine needs and this computer lacks."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


def wait_for(fact: Callable[[], bool], what: str, limit_s: float) -> None:
    end = time.monotonic() + limit_s
    while not fact():
        assert time.monotonic() < end, f"not within {limit_s:g} s: {what}"
        time.sleep(POLL_S)


class Machine:
    """The files of machine_image.sh, and QEMU while it runs."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self.user = "root"
        self.image = folder / "os.img"
        self.console = folder / "console.log"
        self.port = free_port()
        self._qemu: subprocess.Popen[bytes] | None = None
        self._configure_ssh()

    @property
    def command_line(self) -> str:
        """What the firmware of a Raspberry Pi would pass to the kernel now."""
        command = ["mtype", "-i", f"{self.image}@@{BOOT_OFFSET}", "::cmdline.txt"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    @property
    def console_end(self) -> str:
        return self.console.read_text(errors="replace")[-2000:]

    def start(self) -> None:
        """Switch on; a reboot ends QEMU, as the firmware would read cmdline.txt anew."""
        network = f"user,id=n,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:22"
        command = ["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", "1536"]
        command += ["-accel", "tcg,thread=multi", "-display", "none", "-monitor", "none", "-no-reboot"]
        command += ["-serial", f"file:{self.console}", "-kernel", str(self.root / "kernel")]
        command += ["-initrd", str(self.root / "initrd"), "-append", self.command_line]
        command += ["-drive", f"file={self.image},if=none,id=d,format=raw,cache=unsafe", "-netdev", network]
        command += ["-device", "virtio-blk-pci,drive=d", "-device", "virtio-net-pci,netdev=n,romfile="]
        self._qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def wait_until_off(self, limit_s: float = BOOT_LIMIT_S) -> None:
        assert self._qemu is not None
        wait_for(lambda: self._qemu is None or self._qemu.poll() is not None, "switched off", limit_s)
        assert self._qemu.returncode == 0, self.console_end
        self._qemu = None

    def wait_until_up(self) -> None:
        wait_for(lambda: self._qemu is None or self._qemu.poll() is not None or self._answers(), "ssh", BOOT_LIMIT_S)
        assert self._qemu is not None, "not started"
        assert self._qemu.poll() is None, self.console_end

    def __enter__(self) -> "Machine":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._qemu:
            self._qemu.kill()
            self._qemu.wait(timeout=30)

    def transport(self) -> SshTransport:
        return SshTransport(SshTarget("127.0.0.1", self.user, self.port), ("-F", str(self.root / "ssh_config")), 30)

    def _answers(self) -> bool:
        try:
            with self.transport() as ssh:
                return ssh.run(["cat", "/proc/uptime"]) != ""
        except DeviceError:
            return False

    def _configure_ssh(self) -> None:
        key = (self.root / "host.pub").read_text().split(" ", 2)
        (self.root / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {key[0]} {key[1]}\n")
        (self.root / "ssh_config").write_text(
            f"Host *\n  IdentityFile {self.root}/id\n  IdentitiesOnly yes\n  StrictHostKeyChecking yes\n"
            f"  UserKnownHostsFile {self.root}/known_hosts\n  GlobalKnownHostsFile /dev/null\n"
        )
