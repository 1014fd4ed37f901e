"""`siamedge tune`: measure every way to run a bundle on this device and keep the fastest for `siamedge track`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from siamedge.cli.choices import DEVICE, number
from siamedge.cli.progress import say
from siamedge.runtime.places import make_folder

if TYPE_CHECKING:
    from rich.table import Table

    from siamedge.runtime.bundles.bundle import Bundle
    from siamedge.runtime.speed.tuning import Pace
    from siamedge.runtime.speed.tuning_record import Tuning

SIZE = (640, 480)
CLIP = 24
"""Frames of the drawn scene that is followed."""


def tune(
    bundle: Annotated[Path, typer.Argument(help="A bundle: NAME.siamedge or its zip file.")],
    device: Annotated[str, typer.Option(help=DEVICE)] = "CPU",
    allow_fallback: Annotated[
        bool, typer.Option("--allow-fallback", help="Take the CPU, and say so, where the device cannot run the bundle.")
    ] = False,
    fps: Annotated[float, typer.Option(callback=number, min=1, help="Pace of the camera that is played.")] = 30.0,
    rounds: Annotated[int, typer.Option(min=1, help="How often each candidate has its turn.")] = 5,
    explain: Annotated[bool, typer.Option("--explain", help="Print the verdict on every candidate.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Measure every backend, precision and number of threads here and keep the fastest within the accuracy budget."""
    from siamedge.cli.choosing import tell_fallback
    from siamedge.runtime.bundles.bundle import Bundle
    from siamedge.runtime.bundles.picking import pick_or_cpu
    from siamedge.runtime.bundles.records import to_json
    from siamedge.runtime.speed.tuning import Pace
    from siamedge.runtime.speed.tuning_record import name_of, record_path

    opened = Bundle.open(bundle)
    if allow_fallback:
        picked, reason = pick_or_cpu(opened, device=device)
        tell_fallback(device, reason)
        device = picked.choice.device
    record = record_path(opened, device)
    make_folder(record.parent, "SIAMEDGE_CACHE")
    tuning = tune_and_save(opened, device, Pace(fps=fps, rounds=rounds, device=device))
    if as_json:
        sys.stdout.write(to_json(tuning))
        return
    from siamedge.cli.consoles import plain_console

    console = plain_console()
    if explain:
        console.print(tuning_table(tuning))
    chosen = next(trial for trial in tuning.trials if trial.verdict == "chosen")
    console.print(f"{name_of(chosen)}: {tuning.reason}", soft_wrap=True)
    console.print(f"kept in {record}; `siamedge track` uses it", soft_wrap=True)


def tune_and_save(bundle: "Bundle", device: str, pace: "Pace | None" = None) -> "Tuning":
    """Tune on a drawn scene, tell what is being done on a terminal, and keep the record."""
    from rich.console import Console

    from siamedge.runtime.backends.cache import default_cache
    from siamedge.runtime.sources.synthetic import SyntheticSource
    from siamedge.runtime.speed.tuning import Pace
    from siamedge.runtime.speed.tuning import tune as measure
    from siamedge.runtime.speed.tuning_record import record_path, save

    source = SyntheticSource(frames=CLIP * 6, size=SIZE)
    frames = [source.image_at(index) for index in range(CLIP)]
    with Console(stderr=True).status("tuning") as status:
        pace = pace or Pace(device=device)
        tuning = measure(bundle, frames, source.box_at(0), pace, cache=default_cache(), progress=status.update)
    path = record_path(bundle, device)
    try:
        save(tuning, path)
    except OSError as error:
        say(f"{path}: the record cannot be kept ({error.strerror})\n")
    return tuning


def tuning_table(tuning: "Tuning") -> "Table":
    """Every candidate and the verdict on it."""
    from rich.table import Table

    table = Table(title=f"paced at {tuning.fps:g} frames a second, milliseconds of an update")
    for heading in ("backend", "precision", "threads", "p50", "p99", "CPU", "verdict"):
        table.add_column(heading, justify="right" if heading in ("threads", "p50", "p99", "CPU") else "left")
    for trial in tuning.trials:
        times = ["-", "-", "-"]
        if trial.latency_ms is not None and trial.cpu_ms is not None:
            times = [f"{value:.2f}" for value in (trial.latency_ms.p50, trial.latency_ms.p99, trial.cpu_ms)]
        table.add_row(trial.backend, trial.precision, str(trial.threads), *times, trial.verdict)
    return table
