"""siamedge flash --inventory: the same for many devices."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

if TYPE_CHECKING:
    from siamedge.devices.flashing.fleet import Member, Outcome, Result
    from siamedge.devices.flashing.preparing import FlashOptions


class Rollout(NamedTuple):
    """How devices are flashed.

    Attributes:
        options: What each is to get, if the inventory does not say.
        parallel: How many at once.
        settle_s: How long each service must stay up.
        keep: Releases to keep on each besides the last two.
    """

    options: "FlashOptions"
    parallel: int
    settle_s: float
    keep: int


def flash_inventory(bundle: Path, inventory: Path, rollout: Rollout, dry_run: bool) -> None:
    """Flash every device of an inventory, or only list them; exit 1 unless all are done.

    Raises:
        BundleError: The bundle is damaged; no device was asked.
        DeviceError: The inventory is wrong; no device was asked.
    """
    from siamedge.devices.flashing.fleet import canaries, read_inventory, roll_out
    from siamedge.devices.flashing.preparing import bundle_formats

    members = read_inventory(inventory)
    options = {member: _options(member, rollout.options, inventory.name) for member in members}
    bundle_formats(bundle)
    if dry_run:
        first = canaries(members)
        for member in members:
            typer.echo(f"{member.target}{'  (first)' if member in first else ''}")
        return
    outcomes = roll_out(members, lambda member: _flash_one(bundle, member, options[member], rollout), rollout.parallel)
    _show(outcomes)
    if any(outcome.result in ("failed", "not tried") for outcome in outcomes):
        raise typer.Exit(1)


def _options(member: "Member", common: "FlashOptions", inventory: str) -> "FlashOptions":
    from dataclasses import replace

    from siamedge.cli.service import service_of

    track, backends = service_of(member.run, member.backends, f"{inventory}: {member.target}")
    return replace(common, track=track or common.track, backends=backends or common.backends)


def _flash_one(bundle: Path, member: "Member", options: "FlashOptions", rollout: Rollout) -> "tuple[Result, str]":
    from siamedge.devices.flashing.flash import apply, plan_flash, with_room
    from siamedge.devices.flashing.preparing import cache_folder, prepare
    from siamedge.devices.flashing.targets import open_target

    with open_target(member.target) as transport, tempfile.TemporaryDirectory(prefix="siamedge-") as work:
        ready = prepare(transport, bundle, options, cache_folder(), Path(work))
        plan = plan_flash(ready.remote, ready.release)
        if plan.is_done:
            return "unchanged", plan.release.name
        plan = with_room(plan, ready.remote, ready.device, rollout.keep)
        apply(plan, ready.remote, cache_folder(), settle_s=rollout.settle_s, keep=rollout.keep)
        return "done", plan.release.name


def _show(outcomes: "tuple[Outcome, ...]") -> None:
    from rich.table import Table
    from rich.text import Text

    from siamedge.cli.consoles import plain_console

    table = Table("device", "result", "release or reason", box=None)
    for member, result, detail in outcomes:
        table.add_row(member.target, result, Text(detail))
    plain_console().print(table)
