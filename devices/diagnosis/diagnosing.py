"""Looking at a device, and the whole report on it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from siamedge.devices.boards.capabilities import Capabilities
from siamedge.devices.boards.reading import read_capabilities
from siamedge.devices.boards.recording import parse_recording, recorder_script
from siamedge.devices.connection.transport import Transport, run_script
from siamedge.devices.diagnosis.findings import EXIT_CODES, Finding
from siamedge.devices.diagnosis.libraries_tried import backend_findings
from siamedge.devices.diagnosis.probing import Probe, probe
from siamedge.devices.diagnosis.system import system_findings
from siamedge.devices.libraries import OLDEST_PYTHON
from siamedge.runtime.backends.backend import BACKENDS


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
    return read_capabilities(parse_recording(run_script(target, recorder_script(), "", folder)))


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
