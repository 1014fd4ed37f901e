"""From a recording of a device to what it has."""

import re

from siamedge.devices.boards.capabilities import Camera, Capabilities, Disk, Libc, Power, PythonFound
from siamedge.devices.boards.profiles import pci_ids, recognise
from siamedge.devices.boards.recording import Recording
from siamedge.runtime.backends.processor import cpu_features

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


def read_capabilities(recording: Recording) -> Capabilities:
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
        kept=tuple(recording.output("kept").splitlines()),
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
    return Disk(folder, int(fields[3]) // 1024, writable == "writable", read_only, mounted_at)
