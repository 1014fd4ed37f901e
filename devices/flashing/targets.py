"""From the words of the command line to a connection, and to a siamedge that is installed there."""

from siamedge.devices.connection.client import Remote, Scope
from siamedge.devices.connection.transport import LocalTransport, SshTransport, Transport, parse_ssh_target
from siamedge.devices.diagnosis.diagnosing import record
from siamedge.devices.libraries import OLDEST_PYTHON
from siamedge.runtime.errors import DeviceError


def open_target(text: str) -> Transport:
    """A transport, not yet connected: "here", or ssh://user@host[:port].

    Raises:
        DeviceError: It is neither.
    """
    return LocalTransport() if text == "here" else SshTransport(parse_ssh_target(text))


def check_target(text: str) -> None:
    """Refuse what open_target refuses, without opening anything.

    Raises:
        DeviceError: It is no target.
    """
    if text != "here":
        parse_ssh_target(text)


def connected(transport: Transport, scope: Scope | None = None, *, leftovers: bool = False) -> Remote:
    """The siamedge that is installed on a device.

    Args:
        transport: Connected.
        scope: Of the installation; without, the user's if there is one, else the system's.
        leftovers: What a flash left that failed before anything was switched on counts as well.

    Raises:
        DeviceError: None is installed, or no Python is there.
    """
    device = record(transport)
    python = device.python_at_least(OLDEST_PYTHON)
    home = f"{device.home}/.local/share/siamedge"
    bases = {"user": home, "system": "/opt/siamedge"}
    installed = device.kept if leftovers else device.installed
    found = [name for name, base in bases.items() if base in installed and scope in (None, name, "none")]
    others = [name for name, base in bases.items() if base in installed and not found]
    if others and python is not None:
        asked, hint = ("system", "add --user") if others == ["user"] else ("user", "leave out --user")
        message = f"{transport.name}: siamedge is not installed there for the {asked}, but for the {others[0]}"
        raise DeviceError(message, hint=hint)
    if python is None or not found:
        raise DeviceError(f"{transport.name}: siamedge is not installed there", hint="`siamedge flash BUNDLE TARGET`")
    wanted: Scope = "user" if found[0] == "user" else "system"
    supervised: Scope = wanted if device.systemd else "none"
    return Remote(transport, python.path, bases[found[0]], supervised, wanted == "system" and device.user != "root")
