"""Putting a release on a device: plan it, show it, do it."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from siamedge.devices.boards.capabilities import Capabilities
from siamedge.devices.connection.client import Remote
from siamedge.devices.connection.transport import ConnectionLostError
from siamedge.devices.diagnosis.diagnosing import record
from siamedge.devices.flashing.preflight import check_space, has_space
from siamedge.devices.releases.layers import Layer, pack
from siamedge.devices.releases.release import Release
from siamedge.runtime.errors import DeviceError

_logger = logging.getLogger(__name__)
_LAST_RELEASES = 2
_SEND_TIMEOUT_S = 3600.0
_VERIFY_TIMEOUT_S = 900.0
_TUNE_TIMEOUT_S = 300.0
_START_TIMEOUT_S = 600.0
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a flash will do.

    Attributes:
        release: To be switched on.
        send: Layers that the device lacks.
        keep: Layers that it has.
        current: Release that is on now, empty if none.
        send_release: The release itself is not there yet.
        runs: Its service, if it has one, is active; else none is.
    """

    release: Release
    send: tuple[Layer, ...]
    keep: tuple[Layer, ...]
    current: str
    send_release: bool
    runs: bool

    @property
    def bytes(self) -> int:
        """To be stored on the device."""
        return sum(layer.size for layer in self.send) + (self.release.folder.size if self.send_release else 0)

    @property
    def is_done(self) -> bool:
        """The device has exactly this release switched on, and it runs."""
        return self.current == self.release.name and not self.send and self.runs

    def lines(self) -> list[str]:
        """The plan for a person."""
        if self.is_done:
            return [f"{self.release.name} is on already; nothing to do"]
        sizes = [f"send {layer.name} ({layer.size / 1e6:.1f} MB)" for layer in self.send]
        kept = [f"keep {layer.name}" for layer in self.keep]
        before = f"instead of {self.current}" if self.current else "the first one"
        tune = ["measure there which backend is the fastest"] if self.release.is_tuned else []
        return [*sizes, *kept, "verify and run a model there", *tune, f"switch to {self.release.name}, {before}"]


def plan_flash(remote: Remote, release: Release) -> Plan:
    """Compare a release with what a device has.

    Raises:
        DeviceError: The device does not answer as expected.
    """
    state = remote.call("state", remote.scope)
    have = set(state["layers"])
    wanted = "active" if release.has_service else "inactive"
    return Plan(
        release,
        tuple(layer for layer in release.layers if layer.name not in have),
        tuple(layer for layer in release.layers if layer.name in have),
        state["current"],
        release.name not in state["releases"],
        remote.scope == "none" or state["service"].get("ActiveState", "inactive") == wanted,
    )


def with_room(plan: Plan, remote: Remote, device: Capabilities, keep: int) -> Plan:
    """The plan for a device that has the space for it; where it is short, old releases are removed there first.

    Args:
        plan: From plan_flash.
        remote: The same device.
        device: What it has.
        keep: Releases to keep besides the current and the previous one.

    Raises:
        DeviceError: It is too little all the same, or another flash is under way.
    """
    name = remote.transport.name
    if has_space(device, plan.bytes):
        return plan
    if not plan.current:
        check_space(device, name, plan.bytes)
    left = remote.call("tidy", str(keep))["kept"]
    plan = plan_flash(remote, plan.release)
    hint = "free some space there" + (", or remove old releases with --keep 0" if len(left) > _LAST_RELEASES else "")
    check_space(record(remote.transport, remote.base), name, plan.bytes, hint)
    return plan


def apply(
    plan: Plan, remote: Remote, cache: Path, *, settle_s: float = 5, keep: int = 1, progress: Progress = _logger.info
) -> Mapping[str, Any]:
    """Do a plan. Until the switch nothing that runs is touched; a failed switch goes back by itself.

    Args:
        plan: From plan_flash.
        remote: The same device.
        cache: Folder for packed layers.
        settle_s: How long the service must stay up.
        keep: Releases to keep besides the current and the previous one.
        progress: Told each step in a few words.

    Returns:
        What the health check said.

    Raises:
        DeviceError: The device refuses a step; what ran before still runs.
        ConnectionLostError: Before the switch: what ran before still runs. During it: the device ends it by itself.
    """
    with remote.lock():
        remote.call("begin")
        for layer in plan.send:
            progress(f"sending {layer.name}")
            send(remote, "layers", layer, cache)
        if plan.send_release:
            send(remote, "releases", plan.release.folder, cache)
        progress("verifying there")
        checked = _verify(plan, remote, cache, progress)
        if plan.release.is_tuned:
            progress("measuring there which backend is the fastest")
            progress(tuning_line(remote.call("tune", plan.release.name, timeout_s=_TUNE_TIMEOUT_S)))
        progress(f"switching to {plan.release.name}")
        limit_s = switch_limit_s(settle_s)
        remote.call("activate", plan.release.name, remote.scope, str(settle_s), timeout_s=limit_s)
        remote.call("collect", str(keep))
    return checked


def _verify(plan: Plan, remote: Remote, cache: Path, progress: Progress) -> Mapping[str, Any]:
    """Verify a release on the device; what it had already and was damaged there since is sent again."""
    try:
        return remote.call("verify", plan.release.name, timeout_s=_VERIFY_TIMEOUT_S)
    except ConnectionLostError:
        raise
    except DeviceError:
        kept = {f"layers/{layer.name}": layer for layer in plan.keep}
        if not plan.send_release:
            kept[f"releases/{plan.release.name}"] = plan.release.folder
        damaged = remote.call("damaged", *kept, timeout_s=_VERIFY_TIMEOUT_S)["damaged"]
        if not damaged:
            raise
    for path in damaged:
        progress(f"sending {kept[path].name} again, which is damaged there")
        send(remote, path.split("/")[0], kept[path], cache)
    return remote.call("verify", plan.release.name, timeout_s=_VERIFY_TIMEOUT_S)


def switch_limit_s(settle_s: float) -> float:
    """How long a switch may take, the way back included, when the service must stay up for so long."""
    return 2 * _START_TIMEOUT_S + settle_s


def rollback_limit_s(settle_s: float) -> float:
    """How long a rollback may take, which verifies before it switches."""
    return _VERIFY_TIMEOUT_S + switch_limit_s(settle_s)


def tuning_line(answer: Mapping[str, Any]) -> str:
    """What a tuning on the device came to, for a person; without one the service runs what the bundle recommends."""
    if answer["tuned"]:
        return f"tuned: {answer['tuned']}: {answer['reason']}"
    return f"not tuned, the service runs what the bundle recommends: {answer['reason']}"


def send(remote: Remote, kind: str, layer: Layer, cache: Path) -> None:
    """Send one layer or release; it appears there complete and verified, or not at all."""
    with pack(layer, cache / "packed").open("rb") as stream:
        remote.call("receive", kind, layer.name, feed=stream, timeout_s=_SEND_TIMEOUT_S)
