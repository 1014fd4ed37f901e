"""What must hold before anything is sent to a device."""

from collections.abc import Sequence
from typing import NamedTuple

from siamedge.devices.boards.capabilities import Capabilities, PythonFound
from siamedge.devices.boards.profiles import Choice, DeviceProfile
from siamedge.devices.connection.client import Scope
from siamedge.devices.libraries import LIBRARIES, OLDEST_PYTHON
from siamedge.runtime.errors import DeviceError

MACHINES = ("aarch64", "x86_64")
FORMAT_OF: dict[str, str] = {"tflite": "tflite", "openvino": "openvino", "onnxruntime": "onnx"}
_SPARE_MIB = 100


class Fit(NamedTuple):
    """A device that can take a release.

    Attributes:
        profile: The board.
        python: The interpreter that will run it.
        choices: Ways to run a model whose library fits, in the profile's order.
        scope: Where the service will run.
        sudo: Its commands need sudo.
        base: Folder of the releases.
        notes: What was left out, and why.
    """

    profile: DeviceProfile
    python: PythonFound
    choices: tuple[Choice, ...]
    scope: Scope
    sudo: bool
    base: str
    notes: tuple[str, ...]

    @property
    def backends(self) -> tuple[str, ...]:
        """Libraries of the choices, each once."""
        return tuple(dict.fromkeys(choice.backend for choice in self.choices))


def fit(
    device: Capabilities, name: str, formats: Sequence[str], wanted: Sequence[str] = (), scope: Scope = "system"
) -> Fit:
    """Check a device against what a flash needs.

    Args:
        device: What it has.
        name: For messages.
        formats: Of the bundle.
        wanted: Backends to use; without, those of the profile.
        scope: Where the service should run.

    Raises:
        DeviceError: Something is missing; the message has both numbers.
    """
    profile, python = _check_system(device, name)
    choices, notes = usable(profile, device.machine, device.libc_version, formats, wanted)
    if not choices:
        raise DeviceError(f"{name}: no backend fits: {'; '.join(notes)}", hint="see `siamedge doctor`")
    sudo = scope == "system" and device.user != "root"
    if sudo and "sudo" not in device.tools:
        raise DeviceError(f"{name}: {device.user} is not root and sudo is not there", hint="flash with --user")
    base = f"{device.home}/.local/share/siamedge" if scope == "user" else "/opt/siamedge"
    _check_disk(device, name, sudo)
    return Fit(profile, python, choices, _supervised(device, scope), sudo, base, notes)


def _supervised(device: Capabilities, scope: Scope) -> Scope:
    return scope if device.systemd else "none"


def _check_system(device: Capabilities, name: str) -> tuple[DeviceProfile, PythonFound]:
    if device.profile is None or device.machine not in MACHINES or device.userland_bits != 64:
        raise DeviceError(
            f"{name}: processor {device.machine}, {device.userland_bits} bit; {' or '.join(MACHINES)}, 64 bit needed",
            hint="install a 64-bit system",
        )
    if device.libc != "glibc":
        raise DeviceError(f"{name}: its C library is {device.libc}, glibc needed", hint="use Debian or Ubuntu")
    python = device.python_at_least(OLDEST_PYTHON)
    if python is None:
        found = ", ".join(p.tag for p in device.pythons) or "none"
        need = ".".join(map(str, OLDEST_PYTHON))
        raise DeviceError(f"{name}: Python {found} found, {need} or newer needed", hint="a newer system release")
    return device.profile, python


def usable(
    profile: DeviceProfile, machine: str, glibc: tuple[int, int], formats: Sequence[str], wanted: Sequence[str]
) -> tuple[tuple[Choice, ...], tuple[str, ...]]:
    """Ways to run a bundle on a board, best first, and what was left out of them and why.

    Args:
        profile: Of the board.
        machine: As `uname -m` names it.
        glibc: Of its system.
        formats: Of the bundle.
        wanted: Backends to use, those that the profile has no row for on the CPU; without, the profile's.
    """
    choices, notes = [], []
    rows = [row for row in profile.backends if not wanted or row.backend in wanted]
    plain = [Choice(name, "CPU", "fp32") for name in wanted or dict.fromkeys(row.backend for row in rows)]
    rows += [row for row in plain if row not in rows]
    for backend in dict.fromkeys(row.backend for row in rows):
        needs = LIBRARIES[backend].glibc(machine)
        if FORMAT_OF[backend] not in formats:
            notes.append(f"{backend}: the bundle has no {FORMAT_OF[backend]} models")
        elif glibc < needs:
            have = f"{glibc[0]}.{glibc[1]}"
            notes.append(f"{backend}: needs glibc {needs[0]}.{needs[1]}, the device has {have}")
        else:
            choices += [row for row in rows if row.backend == backend]
    order = {row: position for position, row in enumerate(rows)}
    return tuple(sorted(choices, key=order.__getitem__)), tuple(notes)


def _check_disk(device: Capabilities, name: str, sudo: bool) -> None:
    if device.disk is None:
        raise DeviceError(f"{name}: its free space is unknown", hint="is df there?")
    if device.disk.read_only:
        raise DeviceError(f"{name}: {device.disk.folder} is mounted read-only", hint=device.disk.remount)
    if not device.disk.writable and not sudo:
        raise DeviceError(f"{name}: {device.user} may not write in {device.disk.folder}", hint="flash with --user")


def has_space(device: Capabilities, needed_bytes: int) -> bool:
    """Whether the free space is enough for what will be sent; so it is if it is unknown."""
    return device.disk is None or device.disk.free_mib >= _needed_mib(needed_bytes)


def check_space(device: Capabilities, name: str, needed_bytes: int, hint: str = "free some space there") -> None:
    """Compare the free space with what will be sent.

    Raises:
        DeviceError: It is too little; the message has both numbers.
    """
    if device.disk and not has_space(device, needed_bytes):
        free_mib, needed_mib = device.disk.free_mib, _needed_mib(needed_bytes)
        raise DeviceError(f"{name}: {free_mib} MiB free in {device.disk.folder}, {needed_mib} needed", hint=hint)


def _needed_mib(needed_bytes: int) -> int:
    return (needed_bytes >> 20) + _SPARE_MIB
