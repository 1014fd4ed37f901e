"""Several devices: one first, then a few at a time, stop at the first that fails."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from importlib import import_module
from pathlib import Path
from typing import Literal, NamedTuple

from siamedge.devices.flashing.ansible_inventory import INI_SUFFIXES, YAML_SUFFIXES, Variables, read_hosts
from siamedge.devices.flashing.targets import check_target
from siamedge.runtime.errors import DeviceError, SiamedgeError

Result = Literal["done", "unchanged", "failed", "not tried"]
_KEYS: Mapping[str, type] = {"target": str, "run": str, "backends": str, "canary": bool}


class Member(NamedTuple):
    """One device of an inventory.

    Attributes:
        target: ssh://user@host[:port].
        run: Arguments of `siamedge track`.
        backends: Comma separated; empty: as the profile says.
        canary: It goes first; without any, the first of the list does.
    """

    target: str
    run: str = ""
    backends: str = ""
    canary: bool = False


class Outcome(NamedTuple):
    """What became of one device."""

    member: Member
    result: Result
    detail: str


def read_inventory(path: Path) -> tuple[Member, ...]:
    """Read the devices of an inventory: TOML (see read_toml), or Ansible's INI (.ini, .cfg, no suffix) or YAML (.yml).

    Raises:
        DeviceError: The file cannot be read, names no device or one twice, has a wrong target, or asks for something
            else than ssh.
    """
    is_ansible = path.suffix in (*INI_SUFFIXES, *YAML_SUFFIXES)
    members = _read_ansible(path) if is_ansible else read_toml(path)
    for member in members:
        check_target(member.target)
    if twice := sorted(target for target, count in Counter(member.target for member in members).items() if count > 1):
        raise DeviceError(f"{path.name}: {twice[0]} is named twice", hint="name each device once")
    return members


def _read_ansible(path: Path) -> tuple[Member, ...]:
    members = tuple(member_of(host, variables, path.name) for host, variables in read_hosts(path).items())
    if not members:
        raise DeviceError(f"{path.name}: no hosts", hint="`ansible-inventory --list` shows what is in it")
    return members


def member_of(host: str, variables: Variables, name: str) -> Member:
    """A device from what Ansible knows of it: ansible_host, _user, _port; siamedge_run, _backends, _canary.

    Raises:
        DeviceError: It is not reached by ssh.
    """
    if (connection := variables.get("ansible_connection", "ssh")) not in ("ssh", "smart"):
        raise DeviceError(
            f"{name}: {host} has ansible_connection={connection}, ssh needed", hint="use the Ansible role"
        )
    address = str(variables.get("ansible_host", host))
    user = f"{variables['ansible_user']}@" if "ansible_user" in variables else ""
    port = f":{variables['ansible_port']}" if "ansible_port" in variables else ""
    target = f"ssh://{user}{f'[{address}]' if ':' in address else address}{port}"
    run, backends = (str(variables.get(f"siamedge_{key}", "")) for key in ("run", "backends"))
    is_canary = str(variables.get("siamedge_canary", False)).lower() in ("true", "yes", "1")
    return Member(target, run, backends, is_canary)


def read_toml(path: Path) -> tuple[Member, ...]:
    """Read [[device]] tables of a TOML file, with [defaults] for the keys that a device lacks.

    Raises:
        DeviceError: The file is missing, no TOML, names no device, or has an unknown key.
    """
    try:
        tomllib = import_module("tomllib")
    except ModuleNotFoundError as error:
        raise DeviceError("inventories need Python 3.11 here", hint="or flash the devices one by one") from error
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DeviceError(f"{path.name} cannot be read: {error}", hint="docs/flash.md has an example") from error
    defaults, tables = content.get("defaults", {}), content.get("device", [])
    if not isinstance(defaults, dict):
        raise DeviceError(f"{path.name}: defaults is no [defaults] table", hint="docs/flash.md has an example")
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise DeviceError(f"{path.name}: device is no list of [[device]] tables", hint="docs/flash.md has an example")
    for table in (defaults, *tables):
        if unknown := sorted(set(table) - _KEYS.keys()):
            raise DeviceError(f"{path.name}: unknown key {unknown[0]!r}", hint=f"known: {', '.join(sorted(_KEYS))}")
        for key, value in table.items():
            if not isinstance(value, _KEYS[key]):
                found, wanted = type(value).__name__, "true or false" if _KEYS[key] is bool else "a text"
                raise DeviceError(f"{path.name}: {key} is a {found}, not {wanted}", hint="docs/flash.md has an example")
    members = tuple(Member(**{**defaults, **table}) for table in tables if "target" in table)
    if not members or len(members) != len(tables):
        raise DeviceError(
            f"{path.name}: {len(members)} of {len(tables)} devices have a target", hint="[[device]] target = ..."
        )
    return members


def canaries(members: Sequence[Member]) -> tuple[Member, ...]:
    """Those that go first: the ones marked so, else the first of the list."""
    return tuple(member for member in members if member.canary) or tuple(members[:1])


def roll_out(
    members: Sequence[Member], flash: Callable[[Member], tuple[Result, str]], parallel: int
) -> tuple[Outcome, ...]:
    """Flash the canaries one by one, then the others with at most `parallel` at once; none is begun after a failure.

    A second call continues where the first stopped, since a device that is done is left unchanged.

    Args:
        members: Of the inventory.
        flash: Flashes one device and says "done" or "unchanged" and a detail.
        parallel: At least 1.

    Returns:
        An outcome for every member, in the order of the inventory.
    """
    first = canaries(members)
    rest = [member for member in members if member not in first]
    outcomes: dict[Member, Outcome] = {}
    for canary in first:
        outcomes[canary] = _attempt(canary, flash)
        if outcomes[canary].result == "failed":
            rest = []
            break
    with ThreadPoolExecutor(parallel) as pool:
        running: set[Future[Outcome]] = set()
        while rest or running:
            while rest and len(running) < parallel:
                running.add(pool.submit(_attempt, rest.pop(0), flash))
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                outcomes[future.result().member] = future.result()
                rest = [] if future.result().result == "failed" else rest
    return tuple(outcomes.get(member, Outcome(member, "not tried", "")) for member in members)


def _attempt(member: Member, flash: Callable[[Member], tuple[Result, str]]) -> Outcome:
    try:
        return Outcome(member, *flash(member))
    except (SiamedgeError, OSError) as error:
        return Outcome(member, "failed", str(error))
