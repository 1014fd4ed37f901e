"""siamedge flash --inventory: the same for many devices."""

import shlex
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
    """Flash every device of an inventory, or only list them; exit 1 unless all are done."""
    from siamedge.devices.flashing.fleet import canaries, read_inventory, roll_out

    members = read_inventory(inventory)
    if dry_run:
        first = canaries(members)
        for member in members:
            typer.echo(f"{member.target}{'  (first)' if member in first else ''}")
        return
    outcomes = roll_out(members, lambda member: _flash_one(bundle, member, rollout), rollout.parallel)
    _show(outcomes)
    if any(outcome.result in ("failed", "not tried") for outcome in outcomes):
        raise typer.Exit(1)


def _flash_one(bundle: Path, member: "Member", rollout: Rollout) -> "tuple[Result, str]":
    from dataclasses import replace

    from siamedge.cli.choices import parse_choices
    from siamedge.devices.flashing.flash import apply, plan_flash
    from siamedge.devices.flashing.preflight import check_space
    from siamedge.devices.flashing.preparing import cache_folder, prepare
    from siamedge.devices.flashing.targets import open_target
    from siamedge.runtime.backends.backend import BACKENDS

    options = rollout.options
    backends = parse_choices(member.backends, list(BACKENDS), "backends") if member.backends else options.backends
    options = replace(options, track=tuple(shlex.split(member.run)) or options.track, backends=backends)
    with open_target(member.target) as transport, tempfile.TemporaryDirectory(prefix="siamedge-") as work:
        ready = prepare(transport, bundle, options, cache_folder(), Path(work))
        plan = plan_flash(ready.remote, ready.release)
        if plan.is_done:
            return "unchanged", plan.release.name
        check_space(ready.device, transport.name, plan.bytes)
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
