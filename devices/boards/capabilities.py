"""What a device has, read from a recording of it."""

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

from siamedge.devices.boards.profiles import DeviceProfile, pci_ids, recognise
from siamedge.devices.boards.recording import Node, Recording
from siamedge.runtime.backends.processor import cpu_features

CameraKind = Literal["usb", "csi"]
Libc = Literal["glibc", "musl", "unknown"]

_CSI_NAMES = ("unicam", "rp1-cfe", "vi-output", "tegra-")
_NOT_CAMERAS = (
    "bcm2835-codec",
    "bcm2835-isp",
    "bcm2835-unicam-emb",
    "pispbe",
    "rpivid",
    "rpi-hevc",
    "hantro",
    "rkvdec",
)
_JETPACKS = {32: "4", 35: "5", 36: "6", 38: "7"}
_INTEL_GPU_DRIVERS = ("i915", "xe")


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
    """

    folder: str
    free_mib: int
    writable: bool
    read_only: bool


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

    def python_at_least(self, minimum: tuple[int, int]) -> PythonFound | None:
        """The first 64-bit CPython of the device that is new enough."""
        fits = (p for p in self.pythons if p.version >= minimum and p.implementation == "cpython" and p.bits == 64)
        return next(fits, None)


def capabilities(recording: Recording) -> Capabilities:
    """Read everything that matters from a recording."""
    profile = recognise(recording)
    kind, version = _libc(recording)
    npu = next((item for item in sorted(recording.nodes.items()) if item[0].startswith("/dev/accel/")), None)
    return Capabilities(
        profile=profile,
        model=_model(recording),
        machine=recording.output("uname -m"),
        userland_bits=_number(recording.output("getconf LONG_BIT")) or 64,
        system=_os_release(recording),
        jetpack=_jetpack(recording),
        libc=kind,
        libc_version=version,
        pythons=_pythons(recording),
        cpu_count=_cpu_count(recording.read("/sys/devices/system/cpu/online")),
        cpu_features=cpu_features(recording.read("/proc/cpuinfo")),
        memory_mib=_memory_mib(recording.read("/proc/meminfo")),
        gpu=_gpu(recording),
        npu_present=npu is not None or (profile is not None and not pci_ids(recording).isdisjoint(profile.pci)),
        npu_node=npu,
        cameras=_cameras(recording),
        user=recording.output("id -un"),
        groups=frozenset(recording.output("id -nG").split()),
        known_groups=frozenset(re.findall(r"^([^:\n]+):", recording.read("/etc/group"), re.MULTILINE)),
        clock_s=_number(recording.output("date +%s")),
        temperature_c=_temperature(recording),
        power=_power(recording),
        disk=_disk(recording),
        tools=frozenset(path.rpartition("/")[2] for path in recording.output("tools").splitlines()),
        systemd=_systemd(recording),
        home=recording.output("home"),
        kernel=_pair(r"(\d+)\.(\d+)", recording.output("uname -r")),
        installed=tuple(recording.output("installed").splitlines()),
    )


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"-?\d+", text) else None


def _model(recording: Recording) -> str:
    tree = recording.read("/proc/device-tree/model")
    if tree:
        return tree.splitlines()[0]
    dmi = (recording.read(f"/sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name"))
    return " ".join(part for part in dmi if part) or "unnamed machine"


def _os_release(recording: Recording) -> str:
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)', recording.read("/etc/os-release"), re.MULTILINE)
    return found[1] if found else "unknown system"


def _jetpack(recording: Recording) -> str:
    found = re.match(r"# R(\d+) \(release\)", recording.read("/etc/nv_tegra_release"))
    return _JETPACKS.get(int(found[1]), "unknown") if found else ""


def _libc(recording: Recording) -> tuple[Libc, tuple[int, int]]:
    if any(path.startswith("/lib/ld-musl-") for path in recording.nodes):
        return "musl", (0, 0)
    version = _pair(r"glibc (\d+)\.(\d+)", recording.output("getconf GNU_LIBC_VERSION"))
    return ("glibc", version) if any(version) else ("unknown", version)


def _pair(pattern: str, text: str) -> tuple[int, int]:
    found = re.match(pattern, text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _systemd(recording: Recording) -> int:
    found = re.match(r"systemd (\d+)", recording.output("systemctl --version"))
    return int(found[1]) if found and "/run/systemd/system" in recording.output("tools") else 0


def _pythons(recording: Recording) -> tuple[PythonFound, ...]:
    found = re.findall(r"^(/\S+) (\d+)\.(\d+)\.(\d+)\S* (\S+) (\d+)$", recording.output("pythons"), re.MULTILINE)
    return tuple(PythonFound(row[0], (int(row[1]), int(row[2]), int(row[3])), row[4], int(row[5])) for row in found)


def _cpu_count(online: str) -> int:
    """Processors in a list such as "0-3,6"."""
    ranges = (part.partition("-") for part in online.split(",") if part)
    return sum(int(last or first) - int(first) + 1 for first, _, last in ranges)


def _memory_mib(meminfo: str) -> int:
    found = re.search(r"^MemTotal:\s*(\d+) kB", meminfo, re.MULTILINE)
    return int(found[1]) // 1024 if found else 0


def _gpu(recording: Recording) -> str:
    if any(path.startswith(("/dev/nvhost-gpu", "/dev/nvgpu/")) for path in recording.nodes):
        return "nvidia"
    drivers = " ".join(recording.read(path) for path in recording.paths("/sys/class/drm/card*/device/uevent"))
    return "intel" if any(f"DRIVER={name}" in drivers for name in _INTEL_GPU_DRIVERS) else ""


def _cameras(recording: Recording) -> tuple[Camera, ...]:
    found = []
    for path in recording.paths("/sys/class/video4linux/*/name"):
        node_path = "/dev/" + path.split("/")[4]
        name = recording.read(path)
        node = recording.nodes.get(node_path)
        if node and not name.startswith(_NOT_CAMERAS):
            found.append(Camera(node_path, name, "csi" if name.startswith(_CSI_NAMES) else "usb", node))
    return tuple(found)


def _temperature(recording: Recording) -> float | None:
    zones = (_number(recording.read(path)) for path in recording.paths("/sys/class/thermal/thermal_zone*/temp"))
    celsius = [zone / 1000 for zone in zones if zone is not None and zone > 0]
    return max(celsius, default=None)


def _power(recording: Recording) -> Power | None:
    """Throttling bits of a Raspberry Pi.

    Source: Raspberry Pi documentation, vcgencmd get_throttled: bit 0 under-voltage, 1 frequency capped, 2 throttled,
    3 soft temperature limit; 16 to 19 the same since boot.
    """
    bits = recording.read("/sys/devices/platform/soc/soc:firmware/get_throttled")
    if re.fullmatch(r"(0x)?[0-9a-fA-F]+", bits):
        value = int(bits, 16)
        return Power(bool(value & 1), bool(value & 0xE), bool(value & 1 << 16), bool(value & 0xE0000))
    for path in recording.paths("/sys/class/hwmon/hwmon*/name"):
        if recording.read(path) == "rpi_volt":
            alarm = recording.read(path.replace("/name", "/in0_lcrit_alarm")) == "1"
            return Power(alarm, False, alarm, False)
    return None


def _disk(recording: Recording) -> Disk | None:
    lines = next((o.strip().splitlines() for c, o in recording.outputs.items() if c.startswith("existing ")), [])
    if len(lines) != 2 or len(lines[1].split()) < 6:
        return None
    folder, writable = lines[0].rsplit(" ", 1)
    fields = lines[1].split()
    mounted_at = fields[5]
    options = [line.split() for line in recording.read("/proc/mounts").splitlines()]
    read_only = any(row[1] == mounted_at and "ro" in row[3].split(",") for row in options if len(row) > 3)
    return Disk(folder, int(fields[3]) // 1024, writable == "writable", read_only)
