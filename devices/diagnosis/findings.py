"""What is fine on a device, what is not, and what helps."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from siamedge.devices.boards.capabilities import Capabilities, capabilities
from siamedge.devices.boards.recording import parse_recording, recorder_script
from siamedge.devices.connection.transport import Transport, run_script
from siamedge.devices.diagnosis.probing import Probe, probe
from siamedge.devices.libraries import LIBRARIES, OLDEST_PYTHON, explain_import
from siamedge.runtime.backends.backend import BACKENDS

Severity = Literal["ok", "note", "warning", "failure"]
EXIT_CODES: dict[Severity, int] = {"ok": 0, "note": 0, "warning": 3, "failure": 4}
"""Of `siamedge doctor`, by the worst finding; 1 and 2 are errors of siamedge and of usage."""

_CLOCK_WARNING_S = 300
_CLOCK_FAILURE_S = 86400
_SPACE_FAILURE_MIB = 400
_SPACE_WARNING_MIB = 1000
_MEMORY_WARNING_MIB = 400
_HOT_C = 80.0
_NPU_KERNEL = (6, 6)


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        severity: How bad.
        subject: What it is about, one word or two.
        message: What was found.
        fix: What helps, empty when nothing is to be done.
    """

    severity: Severity
    subject: str
    message: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The report on one device.

    Attributes:
        target: Name of the device.
        device: What it has.
        probes: What its libraries did.
        findings: In reading order.
    """

    target: str
    device: Capabilities
    probes: tuple[Probe, ...]
    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> int:
        """By the worst finding."""
        return max((EXIT_CODES[finding.severity] for finding in self.findings), default=0)


def record(target: Transport, folder: str = "/opt/siamedge") -> Capabilities:
    """Look at a device; `folder` is where its free space is measured, "~" where a user's service goes.

    Raises:
        ConnectionLostError: It cannot be reached.
        DeviceError: It has no POSIX shell.
    """
    return capabilities(parse_recording(run_script(target, recorder_script(), "", folder)))


def diagnose(target: Transport, python: Sequence[str] = ()) -> Diagnosis:
    """Look at a device, run a model on every library and a frame through every camera, and judge.

    Args:
        target: The device.
        python: Its interpreter; without, that of the installed release, else the system's.

    Raises:
        ConnectionLostError: It cannot be reached, or no longer.
    """
    device = record(target)
    interpreter = tuple(python) or _interpreter(device)
    probes = tuple(probe(target, interpreter, name) for name in BACKENDS) if interpreter else ()
    open_cameras = [camera.path for camera in device.cameras if camera.node.is_open_to(device.user, device.groups)]
    if interpreter and open_cameras:
        probes += (probe(target, interpreter, "cameras", open_cameras),)
    findings = (*system_findings(device, time.time()), *backend_findings(device, probes))
    return Diagnosis(target.name, device, probes, findings)


def _interpreter(device: Capabilities) -> tuple[str, ...]:
    if device.installed:
        return (f"{device.installed[0]}/current/python",)
    found = device.python_at_least(OLDEST_PYTHON)
    return (found.path,) if found else ()


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
        yield Finding(
            "failure", "disk", f"{disk.folder} is mounted read-only", "sudo mount -o remount,rw / (dmesg says why)"
        )
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
                f"sudo usermod -aG {camera.node.group} {device.user}, then log in again",
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
            f"sudo usermod -aG {node.group} {device.user}, then log in again",
        )


def backend_findings(device: Capabilities, probes: Sequence[Probe]) -> Iterator[Finding]:
    """What the libraries did, and whether anything at all can run a model."""
    backends = [found for found in probes if found.backend != "cameras"]
    for found in probes:
        yield from _library(device, found) if found.error else _devices(device, found)
    npu_ran = any(ran.device.startswith("NPU") and not ran.error for found in backends for ran in found.devices)
    openvino_loads = any(found.backend == "openvino" and not found.error for found in backends)
    if device.npu_node and openvino_loads and not npu_ran:
        yield Finding(
            "warning", "npu", "OpenVINO cannot use it", "install Intel's NPU driver package (linux-npu-driver)"
        )
    if backends and not any(not ran.error for found in backends for ran in found.devices):
        missing = all("No module named" in found.error for found in backends)
        fix = "`siamedge flash` brings them; here: pip install 'siamedge[tflite]'" if missing else "see above"
        yield Finding("warning" if missing else "failure", "backends", "no library runs a model yet", fix)


def _library(device: Capabilities, found: Probe) -> Iterator[Finding]:
    if "No module named" in found.error:
        extra = LIBRARIES[found.backend].extra if found.backend in LIBRARIES else ""
        fix = f"pip install 'siamedge[{extra}]'" if extra else "pip install siamedge"
        yield Finding("note", found.backend, "not installed", fix)
        return
    explained = explain_import(found.error, device.libc_version)
    meaning, fix = explained or (found.error, "install the library again")
    yield Finding("warning", found.backend, f"does not load: {meaning}", fix)


def _devices(device: Capabilities, found: Probe) -> Iterator[Finding]:
    for ran in found.devices:
        subject = "camera" if found.backend == "cameras" else f"{found.backend} {ran.device}"
        if not ran.error and found.backend == "cameras":
            yield Finding("ok", subject, f"{ran.device} gives {ran.ran_on}, first frame after {ran.ms:.0f} ms")
        elif found.backend == "cameras":
            yield Finding("warning", subject, f"{ran.device} {ran.error}", "is another program using it?")
        elif ran.error:
            explained = explain_import(ran.error, device.libc_version)
            meaning, fix = explained or (ran.error, "use another device of it")
            yield Finding("warning", subject, f"listed, but does not run: {meaning}", fix)
        elif ran.ran_on != ran.device and not ran.ran_on.startswith(f"{ran.device}."):
            yield Finding("warning", subject, f"listed, but the model ran on {ran.ran_on}", "use another device of it")
        else:
            yield Finding("ok", subject, f"{found.version} ran a model ({ran.ms:.1f} ms with loading)")
