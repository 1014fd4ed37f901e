"""Running commands on a device: here, or over the user's own OpenSSH."""

import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Protocol

from siamedge.runtime.errors import DeviceError

_SSH_FAILED = 255
Feed = bytes | IO[bytes] | None
_HINTS = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "reinstalled, or another device: compare the key with the device's own; then `ssh-keygen -R HOST`",
    ),
    ("Host key verification failed", "log in once by `ssh`, and compare the key that it shows with the device's own"),
    ("Permission denied", "log in once by `ssh` with a key or an agent; siamedge never asks for a password"),
    ("Connection refused", "is sshd running there, and is the port right?"),
    ("Could not resolve hostname", "check the name, or use the address"),
    ("timed out", "is the device on, and in this network?"),
)


class CommandError(DeviceError):
    """A command on the device returned another status than 0.

    Attributes:
        status: Its exit status.
        stderr: What it wrote there.
    """

    def __init__(self, message: str, *, status: int, stderr: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.stderr = stderr


class ConnectionLostError(DeviceError):
    """The connection to the device failed or broke; what ran there may or may not have finished."""


class Transport(Protocol):
    """A way to a device."""

    @property
    def name(self) -> str:
        """For messages, such as "pi@garden" or "here"."""

    def run(self, argv: Sequence[str], feed: Feed = None, timeout_s: float = 120) -> str:
        """Run a program there and give its standard output.

        Args:
            argv: Program and arguments, passed on unchanged.
            feed: Bytes or an open file for its standard input; without, it is empty.
            timeout_s: After that the command is given up.

        Raises:
            CommandError: It returned another status than 0.
            ConnectionLostError: The device cannot be reached, or no longer, or the time is over.
        """

    def hold(self, argv: Sequence[str], ready: str) -> AbstractContextManager[None]:
        """Run a program there for as long as the context lasts, from the line `ready` on; then close its input.

        Args:
            argv: Program and arguments, passed on unchanged.
            ready: A whole line of its output; lines before it are of the device's shell.

        Raises:
            CommandError: It ended instead of printing that line.
            ConnectionLostError: The device cannot be reached.
        """

    def __enter__(self) -> "Transport":
        """Connect."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""


class LocalTransport:
    """This machine, seen as a device."""

    @property
    def name(self) -> str:
        """What messages call it."""
        return "this machine"

    def run(self, argv: Sequence[str], feed: Feed = None, timeout_s: float = 120) -> str:
        """Run a program; see Transport."""
        done = _run(argv, feed, timeout_s, self.name)
        return _output(done, argv[0], self.name)

    def hold(self, argv: Sequence[str], ready: str) -> AbstractContextManager[None]:
        """Run a program beside; see Transport."""
        return _beside(argv, ready, self.name, 0)

    def __enter__(self) -> "LocalTransport":
        """Nothing to open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""


class SshTarget(NamedTuple):
    """Where ssh connects to.

    Attributes:
        host: Name, address or alias of the user's ssh configuration.
        user: Empty: as ssh decides.
        port: 0: as ssh decides.
    """

    host: str
    user: str = ""
    port: int = 0

    @property
    def name(self) -> str:
        """For messages: user@host:port as far as they were given."""
        return f"{self.user + '@' if self.user else ''}{self.host}{f':{self.port}' if self.port else ''}"


def parse_ssh_target(text: str) -> SshTarget:
    """Read ssh://[user@]host[:port] or user@host.

    Raises:
        DeviceError: It is neither.
    """
    found = re.fullmatch(
        r"(?:ssh://)?(?:(?P<user>\w[\w.-]*)@)?"
        r"(?P<host>\w[\w.-]*|\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\])(?::(?P<port>\d{1,5}))?",
        text,
    )
    if found is None or not (text.startswith("ssh://") or found["user"]):
        raise DeviceError(f"target {text!r} is not understood", hint="write ssh://user@host or ssh://user@host:2222")
    return SshTarget(found["host"].strip("[]"), found["user"] or "", int(found["port"] or 0))


class SshTransport:
    """OpenSSH's client with the user's configuration, agent, jump hosts and known hosts; one connection.

    Args:
        target: Where to.
        options: Further arguments of ssh, such as ("-F", "config").
        connect_timeout_s: Until the device must have answered.
    """

    def __init__(self, target: SshTarget, options: Sequence[str] = (), connect_timeout_s: int = 15) -> None:
        self._target = target
        self._folder = tempfile.TemporaryDirectory(prefix="siamedge-")
        control = Path(self._folder.name) / "ssh"
        self._command = [
            *("ssh", "-T", "-oBatchMode=yes", f"-oConnectTimeout={connect_timeout_s}"),
            *("-oServerAliveInterval=10", "-oServerAliveCountMax=3", "-oForwardAgent=no", "-oForwardX11=no"),
            *("-oControlMaster=auto", f"-oControlPath={control}", "-oControlPersist=120", *options),
            *(("-p", str(target.port)) if target.port else ()),
            *(("-l", target.user) if target.user else ()),
        ]

    @property
    def name(self) -> str:
        """What messages call it."""
        return self._target.name

    def run(self, argv: Sequence[str], feed: Feed = None, timeout_s: float = 120) -> str:
        """Run a program over the connection; see Transport."""
        done = _run(self._over(argv), feed, timeout_s, self.name)
        if done.returncode == _SSH_FAILED or done.returncode < 0:
            raise _lost(done.stderr, self.name)
        return _output(done, argv[0], self.name)

    def hold(self, argv: Sequence[str], ready: str) -> AbstractContextManager[None]:
        """Run a program beside, over the same connection; see Transport."""
        return _beside(self._over(argv), ready, self.name, _SSH_FAILED)

    def _over(self, argv: Sequence[str]) -> list[str]:
        return [*self._command, "--", self._target.host, shlex.join(argv)]

    def __enter__(self) -> "SshTransport":
        """Connect, so that a wrong host or key is told before anything else."""
        try:
            self.run(["true"], timeout_s=60)
        except DeviceError:
            self._folder.cleanup()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the shared connection."""
        command = [*self._command, "-Oexit", "--", self._target.host]
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
        self._folder.cleanup()


def run_script(target: Transport, script: str, *arguments: str, feed: Feed = None, timeout_s: float = 120) -> str:
    """Run a shell script given as text; its standard input stays free for data."""
    return target.run(["sh", "-c", script, "siamedge", *arguments], feed, timeout_s)


def _run(argv: Sequence[str], feed: Feed, timeout_s: float, name: str) -> subprocess.CompletedProcess[bytes]:
    try:
        if isinstance(feed, bytes):
            return subprocess.run(argv, input=feed, capture_output=True, timeout=timeout_s, check=False)
        return subprocess.run(
            argv, stdin=feed or subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ConnectionLostError(f"{name}: no answer within {timeout_s:g} s", hint="try again") from error
    except FileNotFoundError as error:
        raise DeviceError(f"{argv[0]}: program not found here", hint=f"install {argv[0]}") from error


@contextmanager
def _beside(argv: Sequence[str], ready: str, name: str, lost_status: int) -> Iterator[None]:
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        if process.stdout is None or ready.encode() not in (line.strip() for line in process.stdout):
            _, stderr = process.communicate(timeout=30)
            if process.returncode == lost_status:
                raise _lost(stderr, name)
            _output(subprocess.CompletedProcess(argv, process.returncode or 1, b"", stderr), argv[0], name)
        try:
            yield
        finally:
            if process.stdin:
                process.stdin.close()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def _output(done: subprocess.CompletedProcess[bytes], program: str, name: str) -> str:
    stderr = done.stderr.decode(errors="replace").strip()
    if done.returncode:
        last = stderr.splitlines()[-1] if stderr else f"{program} ended with status {done.returncode}"
        raise CommandError(f"{name}: {last}", status=done.returncode, stderr=stderr)
    return done.stdout.decode(errors="replace")


def _lost(stderr: bytes, name: str) -> ConnectionLostError:
    text = stderr.decode(errors="replace").strip()
    hint = next((hint for sign, hint in _HINTS if sign in text), "check with `ssh -v` that you can log in")
    last = text.splitlines()[-1].strip() if text else "connection closed"
    return ConnectionLostError(f"{name}: {last}", hint=hint)
