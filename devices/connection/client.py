"""Calling the device's side of a flash (on_device/verbs.py) over a transport."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

from siamedge.devices.connection.transport import CommandError, Feed, Transport
from siamedge.devices.on_device.verbs import BUSY, HELD
from siamedge.runtime.errors import DeviceError

Scope = Literal["system", "user", "none"]
_ON_DEVICE = "siamedge.devices.on_device"
_MODULES = ("units", "files", "tuning", "locks", "stored", "verifying", "switching", "verbs")
"""Each needs those before it at most; the last has main."""
_BEFORE_THE_SWITCH = ("hold", "begin", "receive", "verify", "tune")
_TELLS = {"activate": "logs", "rollback": "status"}
"""Commands that say more after a refusal of a verb; after any other verb, doctor."""
_LOADER = """import sys, types
for name in ("siamedge", "siamedge.devices", "siamedge.devices.on_device"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = []
for name, source in {sources}:
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name, "exec"), module.__dict__)
sys.exit(module.main(sys.argv[1:]))
"""


@dataclass(frozen=True, slots=True)
class Remote:
    """A device with everything that its side of a flash needs to know.

    Attributes:
        transport: The way there.
        python: Its interpreter.
        base: Folder of all that siamedge keeps there.
        scope: Where the service runs: for the system, for the user, or nowhere.
        sudo: Commands run by `sudo -n`.
    """

    transport: Transport
    python: str
    base: str
    scope: Scope
    sudo: bool = False

    def call(self, verb: str, *arguments: str, feed: Feed = None, timeout_s: float = 300) -> Mapping[str, Any]:
        """Do a verb and give its answer.

        Raises:
            DeviceError: The device refuses; its reason is the message.
            ConnectionLostError: It may or may not have been done.
        """
        answers = answers_in(self.text(verb, *arguments, feed=feed, timeout_s=timeout_s))
        if not answers:
            raise DeviceError(f"{self.transport.name}: {verb} gave no answer", hint="try again")
        return answers[-1]

    def text(self, verb: str, *arguments: str, feed: Feed = None, timeout_s: float = 300) -> str:
        """Do a verb and give what it printed; see call."""
        try:
            return self.transport.run(self._argv(verb, *arguments), feed, timeout_s)
        except CommandError as error:
            raise self._explained(error, verb) from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep every other flash away from the device.

        Raises:
            DeviceError: Another one is under way.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(self.transport.hold(self._argv("hold"), HELD))
            except CommandError as error:
                raise self._explained(error, "hold") from error
            yield

    def _argv(self, verb: str, *arguments: str) -> list[str]:
        sudo = ("sudo", "-n") if self.sudo else ()
        return [*sudo, self.python, "-IS", "-c", program(), verb, self.base, *arguments]

    def _explained(self, error: CommandError, verb: str) -> DeviceError:
        if error.status == BUSY:
            return DeviceError(str(error), hint="wait for it; the lock ends with its connection")
        unchanged = "; nothing was switched" if verb in _BEFORE_THE_SWITCH else ""
        if "No space left on device" in error.stderr:
            return DeviceError(str(error), hint=f"free some space there{unchanged}")
        if self.sudo and error.stderr.rpartition("\n")[2].startswith("sudo:"):
            return DeviceError(str(error), hint="allow sudo without password, log in as root, or flash with --user")
        return DeviceError(str(error), hint=f"see `siamedge {_TELLS.get(verb, 'doctor')} TARGET`{unchanged}")


def answers_in(printed: str) -> list[Mapping[str, Any]]:
    """The answers of a verb, one a line; other lines are of the device's shell, which may greet."""
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{") and line.endswith("}")]


def program() -> str:
    """The device's side as one Python program."""
    folder = files(_ON_DEVICE)
    sources = [(f"{_ON_DEVICE}.{name}", folder.joinpath(f"{name}.py").read_text("utf-8")) for name in _MODULES]
    return _LOADER.replace("{sources}", repr(sources))
