"""What is fine and what is not on a device, as far as it can be told without running a library."""

import time
from collections.abc import Iterator

from siamedge.devices.boards.capabilities import Capabilities
from siamedge.devices.boards.recording import Node
from siamedge.devices.diagnosis.findings import Finding, Severity
from siamedge.devices.libraries import LIBRARIES, OLDEST_PYTHON

_CLOCK_WARNING_S = 300
_CLOCK_FAILURE_S = 86400
_SPACE_FAILURE_MIB = 400
_SPACE_WARNING_MIB = 1000
_MEMORY_WARNING_MIB = 400
_HOT_C = 80.0
_NPU_KERNEL = (6, 6)


def system_findings(device: Capabilities, now_s: float) -> Iterator[Finding]:
    """Everything that can be told without running a library."""
    yield _board(device)
    yield _python(device)
    yield _libc(device)
    yield _cpu(device)
    yield _memory(device)
    yield from _disk(device)
    yield from clock_findings(device, now_s)
    yield from _temperature(device)
    yield from _power(device)
    yield from _camera_nodes(device)
    yield from _npu(device)


def _board(device: Capabilities) -> Finding:
    if device.profile is None:
        return Finding(
            "failure", "board", f"{device.model}: processor {device.machine} is not supported", "use aarch64 or x86_64"
        )
    jetpack = f", JetPack {device.jetpack}" if device.jetpack else ""
    return Finding("ok", "board", f"{device.model} (profile {device.profile.name}{jetpack}), {device.system}")


def _python(device: Capabilities) -> Finding:
    found = device.python_at_least(OLDEST_PYTHON)
    if found:
        return Finding("ok", "python", f"{'.'.join(map(str, found.version))} at {found.path}")
    need = ".".join(map(str, OLDEST_PYTHON))
    seen = ", ".join(f"{p.tag} ({p.implementation}, {p.bits} bit)" for p in device.pythons) or "none"
    return Finding(
        "failure", "python", f"{seen} found, a 64-bit CPython {need} or newer needed", "install a newer system release"
    )


def _libc(device: Capabilities) -> Finding:
    version = f"{device.libc_version[0]}.{device.libc_version[1]}"
    if device.libc != "glibc":
        return Finding(
            "failure", "libc", f"{device.libc}; the libraries are built for glibc", "use a Debian or Ubuntu system"
        )
    if device.userland_bits != 64:
        return Finding(
            "failure",
            "libc",
            f"glibc {version}, but the system is 32-bit on a {device.machine} kernel",
            "install the 64-bit release of the system",
        )
    short = [n for n, lib in LIBRARIES.items() if device.libc_version < lib.glibc(device.machine)]
    if not short:
        return Finding("ok", "libc", f"glibc {version}")
    severity: Severity = "failure" if len(short) == len(LIBRARIES) else "note"
    return Finding(severity, "libc", f"glibc {version} is too old for {', '.join(short)}", "a newer system release")


def _cpu(device: Capabilities) -> Finding:
    features = ", ".join(sorted(device.cpu_features)) or "no dot product or half precision"
    return Finding("ok", "cpu", f"{device.cpu_count} x {device.machine}: {features}")


def _memory(device: Capabilities) -> Finding:
    if device.memory_mib < _MEMORY_WARNING_MIB:
        return Finding(
            "warning", "memory", f"{device.memory_mib} MiB, {_MEMORY_WARNING_MIB} wanted", "no desktop; add swap"
        )
    return Finding("ok", "memory", f"{device.memory_mib} MiB")


def _disk(device: Capabilities) -> Iterator[Finding]:
    if (disk := device.disk) is None:
        return
    if disk.read_only:
        yield Finding("failure", "disk", f"{disk.folder} is mounted read-only", f"{disk.remount} (dmesg says why)")
    if disk.free_mib < _SPACE_FAILURE_MIB:
        yield Finding(
            "failure",
            "disk",
            f"{disk.free_mib} MiB free in {disk.folder}, {_SPACE_FAILURE_MIB} needed",
            "free some space",
        )
    elif disk.free_mib < _SPACE_WARNING_MIB:
        yield Finding(
            "warning", "disk", f"{disk.free_mib} MiB free in {disk.folder}", "two releases need about 1000 MiB"
        )
    elif not disk.read_only:
        yield Finding("ok", "disk", f"{disk.free_mib} MiB free in {disk.folder}")


def clock_findings(device: Capabilities, now_s: float) -> Iterator[Finding]:
    """Whether the device's clock agrees with the time here."""
    if device.clock_s is None:
        return
    there = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(device.clock_s))
    off_s = abs(device.clock_s - now_s)
    if off_s < _CLOCK_WARNING_S:
        yield Finding("ok", "clock", there)
        return
    severity: Severity = "failure" if off_s > _CLOCK_FAILURE_S else "warning"
    yield Finding(
        severity, "clock", f"it says {there}, {off_s / 3600:.1f} h from this machine's", "sudo timedatectl set-ntp true"
    )


def _temperature(device: Capabilities) -> Iterator[Finding]:
    if (celsius := device.temperature_c) is None:
        return
    if celsius >= _HOT_C:
        yield Finding("warning", "temperature", f"{celsius:.0f} C, slows down from about {_HOT_C:.0f}", "cool it")
    else:
        yield Finding("ok", "temperature", f"{celsius:.0f} C")


def _power(device: Capabilities) -> Iterator[Finding]:
    if (power := device.power) is None:
        return
    supply = "use the board's own power supply and a short cable"
    if power.under_voltage_now:
        yield Finding("failure", "power", "under-voltage now", supply)
    elif power.under_voltage_before:
        yield Finding("warning", "power", "under-voltage since boot", supply)
    if power.throttled_now:
        yield Finding("warning", "power", "throttled now", "cool it, or use a stronger power supply")
    elif power.throttled_before:
        yield Finding("note", "power", "throttled since boot", "cool it, or use a stronger power supply")
    if not any(power):
        yield Finding("ok", "power", "no under-voltage, not throttled")


def _camera_nodes(device: Capabilities) -> Iterator[Finding]:
    if not device.cameras:
        yield Finding("note", "camera", "no capture node", "network streams work without one")
    for camera in device.cameras:
        if not camera.node.is_open_to(device.user, device.groups):
            yield Finding(
                "warning",
                "camera",
                f"{camera.path} ({camera.name}) is closed to {device.user}",
                _opening(camera.node, device.user, "video4linux", "video"),
            )


def _npu(device: Capabilities) -> Iterator[Finding]:
    if not device.npu_present:
        return
    if device.npu_node is None:
        have = ".".join(map(str, device.kernel))
        old = f"kernel {have} is older than {_NPU_KERNEL[0]}.{_NPU_KERNEL[1]}"
        why = old if device.kernel < _NPU_KERNEL else f"kernel {have} has not loaded its driver intel_vpu"
        yield Finding("warning", "npu", f"there, but without /dev/accel node: {why}", "a newer kernel and NPU firmware")
        return
    path, node = device.npu_node
    if node.is_open_to(device.user, device.groups):
        yield Finding("ok", "npu", f"{path} is open to {device.user}")
    else:
        yield Finding(
            "warning",
            "npu",
            f"{path} is closed to {device.user} (group {node.group}, mode {node.mode:o})",
            _opening(node, device.user, "accel", "render"),
        )


def _opening(node: Node, user: str, subsystem: str, group: str) -> str:
    """What lets a user open a node: joining its group, if that one may; else a rule that gives it to a group.

    Args:
        node: Closed to the user.
        user: Who is to open it.
        subsystem: Of the node, for udev.
        group: That such nodes have by custom.
    """
    if node.mode & 0o060 == 0o060 and node.group not in ("root", "UNKNOWN"):
        return f"sudo usermod -aG {node.group} {user}, then log in again"
    rule = f'SUBSYSTEM=="{subsystem}", GROUP="{group}", MODE="0660"'
    return f"put {rule} into /etc/udev/rules.d/70-{subsystem}.rules, sudo usermod -aG {group} {user}, then reboot"
