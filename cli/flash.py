"""siamedge flash: put a bundle on a device as a supervised service."""

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from siamedge.cli.choices import number
from siamedge.cli.service import service_backends, service_words

if TYPE_CHECKING:
    from siamedge.devices.connection.client import Remote, Scope
    from siamedge.devices.flashing.preparing import FlashOptions, Prepared

_RELEASE = frozenset({"run", "backends", "wheels", "no_wheels"})
_USED: Mapping[str, frozenset[str]] = {
    "--rollback": frozenset({"rollback", "user", "settle_s"}),
    "--uninstall": frozenset({"uninstall", "user"}),
    "--inventory": _RELEASE | {"inventory", "user", "parallel", "keep", "settle_s"},
    "card:, image: or bundle:": _RELEASE | {"board", "system"},
    "a device": _RELEASE | {"user", "keep", "settle_s"},
}
"""What is flashed to the options that have an effect then, besides --dry-run."""


def flash(
    context: typer.Context,
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="[BUNDLE] TARGET", help="ssh://user@host[:port], card:DIR, image:FILE or bundle:FILE.tar"
        ),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    run: Annotated[str, typer.Option(help="Arguments of `siamedge track` for the service: '--source 0 ...'.")] = "",
    backends: Annotated[str, typer.Option(help="Libraries to install; default: those of the device's profile.")] = "",
    user: Annotated[bool, typer.Option("--user", help="Install for the user, without root.")] = False,
    wheels: Annotated[Path | None, typer.Option(help="Folder of wheels, instead of the network.")] = None,
    no_wheels: Annotated[bool, typer.Option("--no-wheels", help="Use the packages that the device has.")] = False,
    inventory: Annotated[
        Path | None, typer.Option(help="Devices, TOML or Ansible's; then only BUNDLE is given.")
    ] = None,
    parallel: Annotated[int, typer.Option(min=1, help="Devices of an inventory at once, after the first.")] = 4,
    board: Annotated[str, typer.Option(help="For card:, image: and bundle:, such as pi5.")] = "",
    system: Annotated[str, typer.Option(help="For card:, image: and bundle:, such as trixie.")] = "",
    keep: Annotated[int, typer.Option(min=0, help="Releases to keep besides the last two.")] = 1,
    settle_s: Annotated[
        float, typer.Option(callback=number, min=0, help="Seconds that the service must stay up.")
    ] = 5.0,
    rollback: Annotated[bool, typer.Option("--rollback", help="Back to the release before; no BUNDLE.")] = False,
    uninstall: Annotated[bool, typer.Option("--uninstall", help="Remove everything; no BUNDLE.")] = False,
) -> None:
    """Check a device, send what it lacks, verify it there, switch over, and go back if it is not healthy."""
    from siamedge.cli.fleet import Rollout, flash_inventory
    from siamedge.devices.flashing.card import NO_RAW_DEVICES
    from siamedge.devices.flashing.preparing import FlashOptions, cache_folder
    from siamedge.runtime.errors import DeviceError
    from siamedge.runtime.places import room_for

    scope: Scope = "user" if user else "system"
    if rollback or uninstall:
        if len(what) != 1 or (rollback and uninstall):
            raise typer.BadParameter("--rollback and --uninstall take one TARGET and no BUNDLE")
        _refuse_idle(context, "--rollback" if rollback else "--uninstall")
        _back_or_away(what[0], scope, rollback, settle_s, dry_run)
        return
    if len(what) != (1 if inventory else 2):
        raise typer.BadParameter(f"{'BUNDLE' if inventory else 'BUNDLE and TARGET'} expected, {len(what)} given")
    is_carried = what[-1].startswith(("card:", "image:", "bundle:"))
    _refuse_idle(context, "--inventory" if inventory else "card:, image: or bundle:" if is_carried else "a device")
    options = FlashOptions(service_words(run), service_backends(backends), scope, wheels, not no_wheels)
    if inventory:
        flash_inventory(Path(what[0]), inventory, Rollout(options, parallel, settle_s, keep), dry_run)
    elif what[1].startswith("/dev/"):
        raise DeviceError(f"{what[1]} is no target", hint=NO_RAW_DEVICES)
    else:
        with room_for(cache_folder(), "folder by XDG_CACHE_HOME, or of temporary files by TMPDIR"):
            if is_carried:
                _carry(Path(what[0]), what[1], options, (board, system), dry_run)
            else:
                _flash(Path(what[0]), what[1], options, keep, settle_s, dry_run)


def _refuse_idle(context: typer.Context, mode: str) -> None:
    """Refuse options that would have no effect.

    Args:
        context: Of the command.
        mode: A key of _USED.

    Raises:
        typer.BadParameter: One was given.
    """
    for name in context.params:
        source = context.get_parameter_source(name)
        if name not in _USED[mode] | {"what", "dry_run"} and source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(f"--{name.replace('_', '-')} does nothing with {mode}")


def _flash(bundle: Path, target: str, options: "FlashOptions", keep: int, settle_s: float, dry_run: bool) -> None:
    from siamedge.devices.flashing.flash import apply, plan_flash, with_room
    from siamedge.devices.flashing.preparing import cache_folder, prepare
    from siamedge.devices.flashing.targets import open_target

    cache = cache_folder()
    with open_target(target) as transport, tempfile.TemporaryDirectory(prefix="siamedge-") as work:
        ready = prepare(transport, bundle, options, cache, Path(work))
        plan = plan_flash(ready.remote, ready.release)
        _show(ready, plan.lines())
        if dry_run or plan.is_done:
            return
        plan = with_room(plan, ready.remote, ready.device, keep)
        checked = apply(plan, ready.remote, cache, settle_s=settle_s, keep=keep, progress=_say)
        _say(f"health check: {checked['check']}")
    typer.echo(f"{plan.release.name} is on at {transport.name}")


def _carry(bundle: Path, target: str, options: "FlashOptions", device: tuple[str, str], dry_run: bool) -> None:
    from siamedge.devices.flashing.card import check_card, check_image, write_card, write_image
    from siamedge.devices.flashing.carried import write_carried, write_tar
    from siamedge.devices.flashing.preparing import Parts, bundle_formats, cache_folder, make_release
    from siamedge.devices.flashing.systems import assume
    from siamedge.devices.releases.needs import groups_of
    from siamedge.runtime.places import check_file, room_for

    if not all(device):
        raise typer.BadParameter("card:, image: and bundle: need --board and --system, such as pi5 and trixie")
    kind, _, place = target.partition(":")
    check_tar = partial(check_file, option="tar file, such as bundle:site.tar")
    checks: dict[str, Callable[[Path], None]] = {"card": check_card, "image": check_image, "bundle": check_tar}
    checks[kind](Path(place))
    found, platform = assume(*device, bundle_formats(bundle), options.backends)
    with tempfile.TemporaryDirectory(prefix="siamedge-") as work:
        parts = Parts(bundle, found, platform, groups_of(options.track, found.profile))
        release = make_release(parts, options, cache_folder(), Path(work) / "release")
        size = sum(layer.size for layer in (*release.layers, release.folder)) / 1e6
        typer.echo(f"  {release.name} ({size:.1f} MB) for {device[0]}, {device[1]}: {', '.join(found.backends)}")
        for note in found.notes:
            _say(f"note: {note}")
        if dry_run:
            return
        carried = Path(work) / "carried"
        write_carried(release, platform, carried, cache_folder())
        with room_for(Path(place), "place"):
            {"card": write_card, "image": write_image, "bundle": write_tar}[kind](Path(place), carried)
    typer.echo(f"{release.name} is in {place}; " + _CARRIED[kind])


_CARRIED = {
    "card": "it installs itself at the first boot",
    "image": "it installs itself at the first boot",
    "bundle": "on the device: tar -xf FILE.tar && sudo sh siamedge/install.sh",
}


def _back_or_away(target: str, scope: "Scope", rollback: bool, settle_s: float, dry_run: bool) -> None:
    from siamedge.devices.flashing.flash import rollback_limit_s
    from siamedge.devices.flashing.targets import connected, open_target

    with open_target(target) as transport:
        remote = connected(transport, scope, leftovers=not rollback)
        if dry_run:
            typer.echo(
                f"  {_way_back(remote) if rollback else f'remove {remote.base}, the service, its state and cache'}"
            )
            return
        with remote.lock():
            if rollback:
                answer = remote.call("rollback", remote.scope, str(settle_s), timeout_s=rollback_limit_s(settle_s))
                typer.echo(f"{answer['active']} is on at {transport.name}")
            else:
                remote.call("uninstall", remote.scope)
                typer.echo(f"siamedge is removed from {transport.name}")


def _way_back(remote: "Remote") -> str:
    from siamedge.runtime.errors import DeviceError

    state = remote.call("state", remote.scope)
    if not state["previous"]:
        name = remote.transport.name
        raise DeviceError(f"{name}: there is no release to go back to", hint="flash the bundle that it should run")
    return f"switch to {state['previous']}, instead of {state['current']}"


def _show(ready: "Prepared", lines: list[str]) -> None:
    profile = ready.found.profile
    _say(f"{ready.remote.transport.name}: {ready.device.model} (profile {profile.name}), {ready.device.system}")
    _say(f"backends: {', '.join(ready.found.backends)}; Python {ready.found.python.tag}; folder {ready.found.base}")
    for note in ready.notes:
        _say(f"note: {note}")
    if not ready.release.has_service:
        _say(
            "note: no service: "
            + ("no --run, one that runs is stopped" if ready.found.scope != "none" else "systemd does not run there")
        )
    for line in lines:
        typer.echo(f"  {line}")


def _say(text: str) -> None:
    typer.echo(text, err=True)
