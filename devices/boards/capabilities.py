"""What a device has."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from siamedge.devices.boards.profiles import DeviceProfile
from siamedge.devices.boards.recording import Node

CameraKind = Literal["usb", "csi"]
Libc = Literal["glibc", "musl", "unknown"]


class PythonFound(NamedTuple):
    """An interpreter of the device.

    Attributes:
        path: Absolute.
        version: (major, minor, micro).
        implementation: "cpython", "pypy" ...
        bits: 32 or 64.
    """

    path: str
    version: tuple[int, int, int]
    implementation: str
    bits: int

    @property
    def tag(self) -> str:
        """As pip writes it: 3.11."""
        return f"{self.version[0]}.{self.version[1]}"


class Camera(NamedTuple):
    """A video capture node."""

    path: str
    name: str
    kind: CameraKind
    node: Node


class Disk(NamedTuple):
    """Where releases would go.

    Attributes:
        folder: The deepest existing folder on the way.
        free_mib: Free there.
        writable: For the user of the session.
        read_only: Its file system is mounted read-only.
        mounted_at: The root of its file system.
    """

    folder: str
    free_mib: int
    writable: bool
    read_only: bool
    mounted_at: str

    @property
    def remount(self) -> str:
        """The command that makes its file system writable."""
        return f"sudo mount -o remount,rw {self.mounted_at}"


class Power(NamedTuple):
    """Bits that a Raspberry Pi reports, None elsewhere; the hwmon alarm tells under-voltage alone."""

    under_voltage_now: bool
    throttled_now: bool
    under_voltage_before: bool
    throttled_before: bool


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What matters of one device.

    Attributes:
        profile: None when the machine is none that siamedge runs on.
        model: As the firmware names it.
        machine: `uname -m`.
        userland_bits: 32 on a 32-bit system with a 64-bit kernel.
        system: PRETTY_NAME of os-release.
        jetpack: Major version, such as "6"; empty elsewhere.
        libc: Kind of C library.
        libc_version: (2, 36); (0, 0) when unknown.
        pythons: Every interpreter found, in the order in which it was looked for.
        cpu_count: Logical processors that are on line.
        cpu_features: Of dotprod, fp16, i8mm, bf16, sve, avx2, avx512, vnni, amx.
        memory_mib: Physical memory.
        gpu: "nvidia", "intel" or empty.
        npu_present: The PCI function is there, with or without driver.
        npu_node: /dev/accel/accel* and who may open it.
        cameras: Capture nodes.
        user: Who looked.
        groups: Groups of that user.
        known_groups: Groups that exist there; empty when not asked.
        clock_s: Unix time of the device; None when not asked.
        temperature_c: Hottest thermal zone; None where there is none.
        power: See Power.
        disk: See Disk; None when not asked.
        tools: Names of the programs found among those that flash needs.
        systemd: Version, 0 where it does not run.
        home: Home folder of the user.
        kernel: (6, 6) of 6.6.51.
        installed: Folders with a siamedge release that is switched on.
        kept: Folders with anything of siamedge's.
    """

    profile: DeviceProfile | None
    model: str
    machine: str
    userland_bits: int
    system: str
    jetpack: str
    libc: Libc
    libc_version: tuple[int, int]
    pythons: tuple[PythonFound, ...]
    cpu_count: int
    cpu_features: frozenset[str]
    memory_mib: int
    gpu: str
    npu_present: bool
    npu_node: tuple[str, Node] | None
    cameras: tuple[Camera, ...]
    user: str
    groups: frozenset[str]
    known_groups: frozenset[str]
    clock_s: int | None
    temperature_c: float | None
    power: Power | None
    disk: Disk | None
    tools: frozenset[str]
    systemd: int
    home: str
    kernel: tuple[int, int]
    installed: tuple[str, ...]
    kept: tuple[str, ...]

    def python_at_least(self, minimum: tuple[int, int]) -> PythonFound | None:
        """The first 64-bit CPython of the device that is new enough."""
        fits = (p for p in self.pythons if p.version >= minimum and p.implementation == "cpython" and p.bits == 64)
        return next(fits, None)
