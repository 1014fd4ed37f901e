"""Ansible's way to the same flash: its connection, users and check mode; siamedge's releases, checks and way back.

The packed layers that a device lacks are copied by Ansible into a temporary folder there; one command then takes the
lock, stores, verifies, tunes and switches over, as `siamedge flash` does. siamedge must be installed beside Ansible.
"""

import shlex
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from siamedge.cli.service import service_of
from siamedge.devices.connection.client import Remote, answers_in
from siamedge.devices.connection.transport import CommandError, ConnectionLostError, Feed
from siamedge.devices.flashing.flash import Plan, plan_flash, tuning_line, with_room
from siamedge.devices.flashing.preparing import FlashOptions, Prepared, cache_folder, prepare
from siamedge.devices.flashing.targets import connected
from siamedge.devices.releases.layers import pack
from siamedge.runtime.errors import DeviceError, SiamedgeError

OPTIONS = {"bundle", "state", "run", "backends", "user", "wheels", "settle_s", "keep"}
INSTALL_TIMEOUT_S = 1200


class ActionTransport:
    """The Transport (devices/connection/transport.py) over the connection of an Ansible task, with its become."""

    def __init__(self, action: ActionBase, name: str) -> None:
        self._action, self.name = action, name

    def run(self, argv: Sequence[str], feed: Feed = None, timeout_s: float = 120) -> str:
        """Run a program there; Ansible's own time limits hold."""
        if feed is not None:
            raise DeviceError("files go by copy, not by standard input", hint="this is a mistake of the plugin")
        try:
            done = self._action._low_level_execute_command(shlex.join(argv))
        except AnsibleConnectionFailure as error:
            raise ConnectionLostError(
                f"{self.name}: {error}", hint="`ansible -m ping` checks the connection"
            ) from error
        stderr = str(done["stderr"]).strip()
        if done["rc"]:
            last = stderr.splitlines()[-1] if stderr else f"{argv[0]} ended with status {done['rc']}"
            raise CommandError(f"{self.name}: {last}", status=int(done["rc"]), stderr=stderr)
        return str(done["stdout"])

    def hold(self, argv: Sequence[str], ready: str) -> AbstractContextManager[None]:
        """Not over Ansible: the command that installs takes the lock itself."""
        raise DeviceError(f"{argv[0]} cannot be held over Ansible", hint="this is a mistake of the plugin")

    def __enter__(self) -> "ActionTransport":
        return self

    def __exit__(self, *exception: object) -> None:
        """Ansible keeps its connection."""


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """The task: siamedge_flash, with the options of the role's defaults."""

    TRANSFERS_FILES = True
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Do it; a refusal fails the task with siamedge's own message and hint."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self._task.args
        if unknown := sorted(set(arguments) - OPTIONS):
            return {
                **result,
                "failed": True,
                "msg": f"unknown option {unknown[0]!r}; known: {', '.join(sorted(OPTIONS))}",
            }
        name = str((task_vars or {}).get("inventory_hostname", "device"))
        try:
            absent = arguments.get("state", "present") == "absent"
            done = self._remove(name, arguments) if absent else self._flash(name, arguments)
        except SiamedgeError as error:
            return {**result, "failed": True, "msg": f"{error} (try: {error.hint})"}
        return {**result, **done}

    def _flash(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="siamedge-") as work:
            bundle = Path(str(arguments.get("bundle", "")))
            options = options_of(arguments, name)
            ready = prepare(ActionTransport(self, name), bundle, options, cache_folder(), Path(work))
            plan = plan_flash(ready.remote, ready.release)
            told = {"plan": plan.lines(), "release": plan.release.name, "notes": list(ready.notes)}
            if plan.is_done or self._task.check_mode:
                return {"changed": not plan.is_done, **told}
            keep = str(arguments.get("keep", 1))
            plan = with_room(plan, ready.remote, ready.device, int(keep))
            answers = self._install(ready, plan, str(arguments.get("settle_s", 5)))
        ready.remote.call("tidy", keep)
        return {"changed": True, **told, "check": answers["check"], "tuning": tuning_line(answers)}

    def _install(self, ready: Prepared, plan: Plan, settle_s: str) -> dict[str, Any]:
        folder = self._make_tmp_path()
        for kind, layer in (*(("layers", layer) for layer in plan.send), ("releases", plan.release.folder)):
            there = self._connection._shell.join_path(folder, kind)
            ready.remote.transport.run(["mkdir", "-p", there])
            packed = pack(layer, cache_folder() / "packed")
            self._transfer_file(str(packed), self._connection._shell.join_path(there, packed.name))
        words = (folder, plan.release.name, ready.remote.scope, settle_s)
        answers: dict[str, Any] = {}
        for answer in answers_in(ready.remote.text("install", *words, timeout_s=INSTALL_TIMEOUT_S)):
            answers |= answer
        return answers

    def _remove(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        try:
            scope = options_of(arguments, name).scope
            remote: Remote = connected(ActionTransport(self, name), scope, leftovers=True)
        except DeviceError as error:
            if "is not installed there" in str(error):
                return {"changed": False}
            raise
        if not self._task.check_mode:
            remote.call("uninstall", remote.scope)
        return {"changed": True}


def options_of(arguments: Mapping[str, Any], name: str) -> FlashOptions:
    """The options of a flash from those of the task.

    Raises:
        DeviceError: The arguments for the service or the backends are wrong.
    """
    wheels = str(arguments.get("wheels") or "")
    track, backends = service_of(str(arguments.get("run") or ""), str(arguments.get("backends") or ""), name)
    return FlashOptions(
        track,
        backends,
        "user" if is_true(arguments.get("user")) else "system",
        Path(wheels) if wheels not in ("", "none") else None,
        wheels != "none",
    )


def is_true(value: object) -> bool:
    """Ansible gives booleans as words, too."""
    return str(value).lower() in ("true", "yes", "1", "on")
