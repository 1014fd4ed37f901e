"""The device's side of the service: systemd's tools, for the system or for one user; sent along with verbs.py."""

import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

UNIT = "siamedge.service"
PATIENCE_S = 180
START_PATIENCE_S = 570
"""Of a start: systemd itself ends it by the unit's TimeoutStartSec, which a drop-in may have made longer."""


class RefusedError(Exception):
    """The device does not do it, for a reason that a person can read."""


def start(unit: Path, scope: str, settle_s: float) -> None:
    """Install a release's unit, restart the service, and see that it stays up; at first boot only enable it.

    A release without a unit has no service: that of another release is stopped and disabled.

    Raises:
        RefusedError: It does not; with the service's last words.
    """
    if scope == "none":
        return
    if not unit.is_file():
        _disable(scope)
        return
    _install_unit(unit, scope)
    if scope == "boot":
        return
    if systemctl(scope, "restart", UNIT, limit_s=START_PATIENCE_S).returncode:
        raise RefusedError(f"does not start: {_last_words(scope)}")
    before = properties(scope)
    time.sleep(settle_s)
    after = properties(scope)
    if after.get("ActiveState") != "active" or after.get("NRestarts") != before.get("NRestarts"):
        raise RefusedError(f"does not stay up: {_last_words(scope)}")


def _install_unit(unit: Path, scope: str) -> None:
    target = unit_folder(scope) / UNIT
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    shutil.copyfile(unit, part)
    part.replace(target)
    if scope == "user":
        _tool(scope, "loginctl", "enable-linger")
    if scope != "boot":
        systemctl(scope, "daemon-reload")
    if (done := systemctl(scope, "enable", UNIT)).returncode:
        raise RefusedError(f"cannot be supervised: {_last_line(done)}")


def _disable(scope: str) -> None:
    """Stop the service, for reboots too; its unit stays, without which `stop` could not remove its state."""
    if not (unit_folder(scope) / UNIT).is_file():
        return
    if (done := systemctl(scope, "disable", "--now", UNIT)).returncode:
        raise RefusedError(f"cannot stop the service of another one: {_last_line(done)}")
    systemctl(scope, "reset-failed", UNIT)


def stop(scope: str) -> None:
    """Stop the service and remove its unit and its state.

    Raises:
        RefusedError: It still runs.
    """
    if scope == "none":
        return
    done = systemctl(scope, "disable", "--now", UNIT)
    if done.returncode and properties(scope).get("ActiveState") == "active":
        raise RefusedError(f"{UNIT} cannot be stopped: {_last_line(done)}")
    systemctl(scope, "clean", "--what=state", "--what=cache", UNIT)
    (unit_folder(scope) / UNIT).unlink(missing_ok=True)
    systemctl(scope, "daemon-reload")
    systemctl(scope, "reset-failed", UNIT)


def systemctl(scope: str, *arguments: str, limit_s: float = PATIENCE_S) -> "subprocess.CompletedProcess[str]":
    """Run systemctl for the system or the user."""
    return _tool(scope, "systemctl", *(("--user",) if scope == "user" else ()), *arguments, limit_s=limit_s)


def _tool(scope: str, *command: str, limit_s: float = PATIENCE_S) -> "subprocess.CompletedProcess[str]":
    environment = dict(os.environ)
    if scope == "user":
        environment.setdefault("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit_s, env=environment)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise RefusedError(f"cannot be supervised: {error}") from error


def unit_folder(scope: str) -> Path:
    """Where unit files go."""
    if scope == "user":
        return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd/user"
    return Path("/etc/systemd/system")


def properties(scope: str) -> Mapping[str, str]:
    """What systemd knows of the service, by its names."""
    if scope == "none":
        return {}
    wanted = "ActiveState,SubState,NRestarts,StatusText,ActiveEnterTimestamp,MainPID"
    shown = systemctl(scope, "show", UNIT, "-p", wanted).stdout
    return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)


def journal(scope: str, lines: int) -> str:
    """The last lines of the service."""
    match = f"--user-unit={UNIT}" if scope == "user" else f"--unit={UNIT}"
    with suppress(RefusedError):
        return _tool(scope, "journalctl", match, "-n", str(lines), "--no-pager", "-o", "short-iso").stdout
    return ""


def _last_line(done: "subprocess.CompletedProcess[str]") -> str:
    return (done.stderr.strip() or f"systemctl ended with status {done.returncode}").splitlines()[-1]


def _last_words(scope: str) -> str:
    lines = [line for line in journal(scope, 20).splitlines() if "systemd[" not in line and not line.startswith("--")]
    return lines[-1].strip() if lines else f"systemctl status {UNIT} has nothing more"
