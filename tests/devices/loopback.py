"""A device on the loopback for tests: sshd, a home folder, a stand-in for systemctl, a proxy that cuts."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from siamedge.devices.connection.client import Remote
from siamedge.devices.connection.transport import SshTarget, SshTransport

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
SMALL_DISK = 'mount -t tmpfs -o size=$1k tmpfs "$2" || exit 1; shift 2; exec "$@"'
"""A home folder that is really full, for sshd and what it starts."""
SYSTEMD_BESIDE = """
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system /run/sshd || exit 1
HOME=$1 XDG_RUNTIME_DIR=$2 /lib/systemd/systemd --user --log-target=null </dev/null >/dev/null 2>&1 &
shift 2
exec "$@"
"""
"""A systemd of the user's, and sshd, in a mount namespace where /run says that systemd runs."""
SUPERVISOR = Path(__file__).with_name("supervisor.py")


def missing_programs() -> list[str]:
    """Programs that the loopback device needs and this machine lacks."""
    found = {"sshd": SSHD, "ssh": shutil.which("ssh"), "ssh-keygen": shutil.which("ssh-keygen")}
    return [name for name, path in found.items() if path is None]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class CuttingProxy:
    """Forwards one port to another; when told it cuts, at once or after some bytes in one direction, or flips a bit."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self.cuts = 0
        self.flips = 0
        self._left: dict[str, int | None] = {"up": None, "down": None}
        self._until_flip: int | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break every connection now."""
        self.cuts += 1
        for pair in self._pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def cut_after(self, direction: str, count: int) -> None:
        """Break everything after that many bytes more, "up" to the device or "down" from it."""
        self._left[direction] = count

    def flip_after(self, count: int) -> None:
        """Change one bit on its way to the device, after that many bytes more."""
        self._until_flip = count

    def heal(self) -> None:
        self._left = {"up": None, "down": None}

    def close(self) -> None:
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target_port))
            self._pairs.append((client, server))
            threading.Thread(target=self._pump, args=(client, server, "up"), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, "down"), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, direction: str) -> None:
        try:
            while content := source.recv(16384):
                left = self._left[direction]
                if left is not None and len(content) >= left:
                    self._left[direction] = None
                    self.cut()
                    return
                if left is not None:
                    self._left[direction] = left - len(content)
                sink.sendall(self._flipped(content) if direction == "up" else content)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                end.close()

    def _flipped(self, content: bytes) -> bytes:
        if self._until_flip is None:
            return content
        if self._until_flip >= len(content):
            self._until_flip -= len(content)
            return content
        changed = bytearray(content)
        changed[self._until_flip] ^= 1
        self._until_flip = None
        self.flips += 1
        return bytes(changed)


class LoopbackDevice:
    """sshd with a home folder below `root`; the user is the one who runs the tests."""

    def __init__(self, root: Path, *, systemd: bool = False, disk_kib: int = 0) -> None:
        self.root = root
        self.disk_kib = disk_kib
        self.systemd = systemd
        self.runtime = Path(tempfile.mkdtemp(prefix="sx"))
        self.home = root / "home"
        self.port = free_port()
        self.user = getpass.getuser()
        self._sshd: subprocess.Popen[bytes] | None = None
        self.proxy: CuttingProxy | None = None

    @property
    def base(self) -> Path:
        return self.home / ".local/share/siamedge"

    def __enter__(self) -> "LoopbackDevice":
        self.home.mkdir(parents=True)
        self._keys()
        self._programs()
        (self.root / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.root}/host\n"
            f"AuthorizedKeysFile {self.root}/user.pub\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            "UsePAM no\nStrictModes no\nPidFile none\nPermitRootLogin prohibit-password\n"
            f"SetEnv HOME={self.home} PATH={self.root}/bin:/usr/local/bin:/usr/bin:/bin FAKE_ROOT={self.root} "
            f"XDG_RUNTIME_DIR={self.runtime}\n",
            encoding="utf-8",
        )
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        command = [SSHD or "sshd", "-D", "-e", "-f", str(self.root / "sshd_config")]
        if self.systemd:
            command = [
                "unshare",
                "--mount",
                "sh",
                "-c",
                SYSTEMD_BESIDE,
                "sh",
                str(self.home),
                str(self.runtime),
                *command,
            ]
        if self.disk_kib:
            command = ["unshare", "--mount", "sh", "-c", SMALL_DISK, "sh", str(self.disk_kib), str(self.home), *command]
        with (self.root / "sshd.log").open("wb") as log:
            self._sshd = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._wait()
        self.proxy = CuttingProxy(self.port)
        self._trust()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.proxy:
            self.proxy.close()
        if self.systemd:
            self.systemctl("exit")
        if self._sshd:
            self._sshd.terminate()
            self._sshd.wait(timeout=10)
        if (pid := self.service_pid()) is not None:
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.runtime, ignore_errors=True)

    def systemctl(self, *words: str) -> str:
        """Ask the real systemd, where there is one."""
        environment = {**os.environ, "XDG_RUNTIME_DIR": str(self.runtime)}
        command = ["systemctl", "--user", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout.strip()

    def transport(self, port: int = 0) -> SshTransport:
        """OpenSSH with a configuration of its own: nothing of the user's is read or written."""
        options = ("-F", str(self.root / "ssh_config"))
        return SshTransport(SshTarget("127.0.0.1", self.user, port or self.port), options, 5)

    def remote(self, transport: SshTransport) -> Remote:
        return Remote(transport, sys.executable, str(self.base), "user")

    def wait_for_commands(self) -> None:
        """Until no command of a flash runs here any more: one whose connection broke ends by itself."""
        for _ in range(600):
            if not any(
                b"siamedge.devices.on_device.verbs" in _read(path) for path in Path("/proc").glob("[0-9]*/cmdline")
            ):
                return
            time.sleep(0.1)
        raise RuntimeError("a command does not end")

    def service_pid(self) -> int | None:
        """The running service's process, None if it does not run."""
        pid_file = self.root / "service.pid"
        if not pid_file.is_file():
            return None
        pid = int(pid_file.read_text())
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return None
        return None if state == "Z" else pid

    def service_environment(self) -> str:
        """Command line of the running service."""
        pid = self.service_pid()
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode() if pid else ""

    def _keys(self) -> None:
        for name in ("host", "user"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.root / name)]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)

    def _trust(self) -> None:
        key = (self.root / "host.pub").read_text().split(" ", 2)
        ports = [self.port, self.proxy.port if self.proxy else 0]
        hosts = "".join(f"[127.0.0.1]:{port} {key[0]} {key[1]}\n" for port in ports)
        (self.root / "known_hosts").write_text(hosts)
        (self.root / "ssh_config").write_text(
            f"Host *\n  IdentityFile {self.root}/user\n  IdentitiesOnly yes\n  StrictHostKeyChecking yes\n"
            f"  UserKnownHostsFile {self.root}/known_hosts\n  GlobalKnownHostsFile /dev/null\n"
        )

    def _programs(self) -> None:
        (self.root / "bin").mkdir()
        python = self.root / "bin/python3"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        for name in ("loginctl", "journalctl") if self.systemd else ("systemctl", "loginctl", "journalctl"):
            program = self.root / "bin" / name
            program.write_text(f'#!/bin/sh\nexec {sys.executable} -I {SUPERVISOR} {name} "$@"\n')
            program.chmod(0o755)

    def _wait(self) -> None:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError((self.root / "sshd.log").read_text())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
