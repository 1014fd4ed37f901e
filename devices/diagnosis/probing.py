"""Sending probe.py to a device and reading what it found."""

import json
import logging
from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple

from siamedge.devices.connection.transport import CommandError, Transport

_logger = logging.getLogger(__name__)
_MARK = "siamedge-probe "
_SIGNALS = {132: "illegal instruction", 134: "abort", 135: "bus error", 137: "killed", 139: "segmentation fault"}
_PROBE_TIMEOUT_S = 180
_IN_A_HOME_OF_ITS_OWN = """
PYTHONUSERBASE=${PYTHONUSERBASE:-$HOME/.local}
HOME=$(mktemp -d)
XDG_CACHE_HOME=$HOME
export PYTHONUSERBASE HOME XDG_CACHE_HOME
"$@"
status=$?
rm -rf "$HOME"
exit $status
"""
"""Some libraries leave files in the home folder; a status over 128 tells the signal, which ssh alone would not."""


class Ran(NamedTuple):
    """One device of a library, or one camera, tried.

    Attributes:
        device: As the library names it, or the camera's node.
        ran_on: What executed, as read back; empty when it failed; frame size of a camera.
        error: Empty when it ran and computed right.
        ms: Loading and one run.
    """

    device: str
    ran_on: str
    error: str
    ms: float


class Probe(NamedTuple):
    """What one library did on a device.

    Attributes:
        backend: Name in runtime.backends.backend.BACKENDS, or "cameras".
        version: Of the library, empty when it does not load.
        error: Why it does not load, empty when it does.
        devices: Every device that it lists.
    """

    backend: str
    version: str
    error: str
    devices: tuple[Ran, ...]


def probe(target: Transport, python: Sequence[str], backend: str, nodes: Sequence[str] = ()) -> Probe:
    """Probe one backend in a process of its own, so that a crash is a finding.

    Args:
        target: The device.
        python: Interpreter there, with arguments.
        backend: Name, or "cameras".
        nodes: Capture nodes, for "cameras".

    Raises:
        ConnectionLostError: The device went away.
    """
    script = files(__package__).joinpath("probe.py").read_bytes()
    argv = ["sh", "-c", _IN_A_HOME_OF_ITS_OWN, "siamedge", *python, "-", backend, *nodes]
    try:
        printed = target.run(argv, script, _PROBE_TIMEOUT_S)
    except CommandError as error:
        _logger.debug("probe of %s: %s", backend, error.stderr)
        died = _SIGNALS.get(error.status, f"status {error.status}")
        return Probe(backend, "", f"the process died: {died}", ())
    return _parse(printed, backend)


def _parse(printed: str, backend: str) -> Probe:
    lines = [line for line in printed.splitlines() if line.startswith(_MARK)]
    if not lines:
        return Probe(backend, "", "the probe printed nothing", ())
    report = json.loads(lines[-1].removeprefix(_MARK))
    devices = tuple(Ran(row["device"], row["ran_on"], row["error"], row["ms"]) for row in report["devices"])
    return Probe(backend, report["version"], report["error"], devices)
