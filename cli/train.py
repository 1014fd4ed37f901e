"""`siamedge train`: fine-tune the default tracker on annotated recordings, or run one of the other recipes."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NamedTuple, NoReturn

import typer

from siamedge.cli.libraries import export_libraries
from siamedge.cli.progress import Pulse, say
from siamedge.runtime.places import make_folder, room_for

if TYPE_CHECKING:
    from rich.table import Table

    from siamedge.training.job import AnyProgress, Job, Outcome
    from siamedge.training.settings import Settings

FEW = 10
"""Recordings below which a difference says little."""
FORGETTING = 0.02
"""Loss of overlap on drawn objects that is worth a warning."""
DRAWN = "drawn"
"""The fixed pairs of objects that are none of the user's."""
PULSE_S = 60.0
"""From one line to the next where no bar is seen."""


def train(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for weights, logs and checkpoint.")],
    data: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Videos with CLIP.txt beside them, folders with img/ and groundtruth.txt, folders of such, or folders "
            "of crops with annotations.jsonl."
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="finetune, smoke, default, default-int8, default-boxes or siamfc-narrow; default: finetune."),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(help="Weights to start from; default: siamedge's own for finetune, none for the other recipes."),
    ] = None,
    holdout: Annotated[
        list[str] | None,
        typer.Option(
            help="Recording that judges instead of training, or start of a track's name in folders of crops; "
            "repeatable; default: every fifth, or the last fifth of a single recording."
        ),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(
            help="nanotrackv3.pth as published, to learn from its features, scores and boxes; not for siamfc-narrow."
        ),
    ] = None,
    pairs: Annotated[int | None, typer.Option(min=1, help="Length of the run; default: the recipe's.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out, as it was started.")] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Log for TensorBoard too.")] = False,
) -> None:
    """Train a tracker, on your own annotated recordings by default, and say whether it got better."""
    with export_libraries("training"):
        from siamedge.training.job import prepare
        from siamedge.training.running.files import RunFiles
    wishes = Wishes(recipe, tuple(data or ()), init, tuple(holdout or ()), pairs, teacher)
    settings = settings_for(out, wishes, resume=resume)
    job = prepare(settings, out)
    for line in job.material.describe():
        say(line + "\n")
    make_folder(out, "--out")
    with room_for(out, "--out"), RunFiles(out).hold():
        settings.save(out)
        outcome, signals = run_with_progress(job, resume=resume, is_logged=tensorboard)
    if not outcome.is_complete:
        tell_stopped(outcome, job, signals)
    print_outcome(outcome, job)


class Wishes(NamedTuple):
    """What the command line asked for; the names are those of Settings."""

    recipe: str | None
    data: tuple[Path, ...]
    init: str | None
    holdout: tuple[str, ...]
    pairs: int | None
    teacher: Path | None


def settings_for(out: Path, wishes: Wishes, *, resume: bool) -> "Settings":
    """Give the settings of a new run, or those of the run that is resumed.

    Raises:
        typer.BadParameter: An option is unknown, contradicts the run that is resumed, or would overwrite a run.
        SourceError: There is no run to resume.
    """
    from siamedge.cli.choices import parse_choice
    from siamedge.training.recipes.siamfc import ALL_RECIPES
    from siamedge.training.running.files import RunFiles
    from siamedge.training.settings import DEFAULT, Settings, load_settings

    chosen = parse_choice(wishes.recipe or "finetune", list(ALL_RECIPES), "--recipe")
    usual, init = DEFAULT if chosen == "finetune" else None, wishes.init
    start = str(Path(init).resolve()) if init and init != DEFAULT else init or usual
    paths = tuple(str(path.resolve()) for path in wishes.data)
    holdout = tuple(str(Path(name).resolve()) if Path(name).exists() else name for name in wishes.holdout)
    teacher = str(wishes.teacher.resolve()) if wishes.teacher else None
    asked = Settings(chosen, paths, start, holdout, wishes.pairs, teacher)
    if not resume:
        if RunFiles(out).checkpoint.exists():
            raise typer.BadParameter(
                f"{out} holds a run already; add --resume, or choose another", param_hint="'--out'"
            )
        return asked
    kept = load_settings(out)
    for name, value in wishes._asdict().items():
        if value and getattr(asked, name) != getattr(kept, name):
            raise typer.BadParameter(
                f"{name} differs from that of the run in {out}: {getattr(kept, name)!r}", param_hint="'--resume'"
            )
    return kept


def run_with_progress(job: "Job", *, resume: bool, is_logged: bool) -> "tuple[Outcome, list[int]]":
    """Train with a bar on a terminal, a line a minute elsewhere.

    Ctrl-C, SIGTERM or SIGHUP ends the run after the step that it is in, a second one at once; gives the first one, too.
    """
    from rich import progress as rich_progress
    from rich.console import Console

    from siamedge.training.job import Watch, run_job
    from siamedge.training.running.checkpoints import load_checkpoint
    from siamedge.training.running.files import RunFiles
    from siamedge.training.tensorboard_log import open_log

    text, console = rich_progress.TextColumn, Console(stderr=True)
    columns = text("{task.description}"), rich_progress.BarColumn(), text("{task.fields[figures]}")
    left = rich_progress.TimeRemainingColumn()
    bar = rich_progress.Progress(*columns, left, console=console, disable=not console.is_terminal, transient=True)
    pulse = Pulse(float("inf") if console.is_terminal else PULSE_S)
    checkpoint = load_checkpoint(RunFiles(job.out).checkpoint) if is_logged else None
    start = 0 if checkpoint is None else checkpoint.pairs + 1
    with open_log(job.out if is_logged else None, start) as log, until_interrupted() as stop, bar:
        task = bar.add_task("preparing", total=job.recipe.pairs, figures="")

        def show(progress: "AnyProgress") -> None:
            figures = f"{progress.pairs} pairs, loss {progress.loss:.3f}, {progress.pairs_per_s:.0f} pairs/s"
            bar.update(task, completed=progress.pairs, description="training", figures=figures)
            pulse.add(f"training: {figures}, {progress.total_pairs} pairs in all")
            if log is not None:
                log.add(progress)

        def tell(step: str) -> None:
            bar.update(task, description=step)
            pulse.add(step)

        return run_job(job, Watch(tell, show, lambda: bool(stop)), resume=resume), stop


@contextmanager
def until_interrupted() -> Iterator[list[int]]:
    """Give a list that is empty until Ctrl-C, SIGTERM or SIGHUP comes; a second one does what it does elsewhere."""
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        restore()
        seen.append(number)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if number != signal.SIGHUP or handler != signal.SIG_IGN:  # nohup
            signal.signal(number, note)
    try:
        yield seen
    finally:
        restore()


def tell_stopped(outcome: "Outcome", job: "Job", signals: list[int]) -> NoReturn:
    """Say what was saved and how to go on, then do what the signal does elsewhere.

    Raises:
        KeyboardInterrupt: If the process is still there.
    """
    from siamedge.training.running.files import RunFiles

    say(
        f"stopped after {outcome.result.pairs} of {job.recipe.pairs} pairs, saved in {RunFiles(job.out).checkpoint}; "
        f"go on with: siamedge train --resume --out {job.out}\n"
    )
    for number in signals:
        signal.raise_signal(number)
    raise KeyboardInterrupt


def print_outcome(outcome: "Outcome", job: "Job") -> None:
    """Print how the weights do before and after, what that is worth, and where they are."""
    from siamedge.cli.consoles import plain_console

    console = plain_console()
    console.print(fixed_table(outcome))
    if outcome.changes:
        console.print(changes_table(outcome))
    for line in verdict(outcome, job):
        console.print(line, soft_wrap=True)
    weights = outcome.result.weights
    console.print(f"wrote {weights}; to a bundle: siamedge export {weights}", soft_wrap=True)


def fixed_table(outcome: "Outcome") -> "Table":
    """Show loss and overlap on each fixed set, at the start and at the end."""
    from rich import box
    from rich.table import Table

    table = Table(title="Pairs that were not trained on", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("pairs of", no_wrap=True)
    for heading in ("loss before", "after", "overlap before", "after", "change"):
        table.add_column(heading, justify="right")
    for first, last in outcome.first_and_last():
        losses = f"{first.loss:.3f}", f"{last.loss:.3f}"
        overlaps = f"{first.overlap:.3f}", f"{last.overlap:.3f}", f"{last.overlap - first.overlap:+.3f}"
        table.add_row(first.name, *losses, *overlaps)
    return table


def changes_table(outcome: "Outcome") -> "Table":
    """Show the success AUC of each held-out recording before and after, and their mean."""
    from rich import box
    from rich.table import Table

    table = Table(title="Held-out recordings, success AUC of one pass", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("recording", no_wrap=True)
    for heading in ("before", "after", "change"):
        table.add_column(heading, justify="right")
    rows = [(before.name, before.area, after.area) for before, after in outcome.changes]
    if len(rows) > 1:
        rows.append(("mean", sum(row[1] for row in rows) / len(rows), sum(row[2] for row in rows) / len(rows)))
    for name, before, after in rows:
        table.add_row(name, f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f}")
    return table


def verdict(outcome: "Outcome", job: "Job") -> Iterator[str]:
    """Say in words what the tables mean, above all if it got worse."""
    if job.init is None:
        return
    gaps = [after.area - before.area for before, after in outcome.changes]
    if gaps:
        yield in_words(sum(gaps) / len(gaps), "success AUC of the held-out recordings")
    else:
        yield "no recording was held out: name one with --holdout to see how the weights track"
    overlaps = outcome.overlap_changes()
    yield from (in_words(gap, f"overlap on {name}") for name, gap in overlaps.items() if name != DRAWN)
    if overlaps[DRAWN] < -FORGETTING:
        yield f"overlap on drawn objects: WORSE by {-overlaps[DRAWN]:.3f}; it forgets what is not yours: fewer --pairs?"
    if 0 < len(gaps) < FEW:
        yield f"{len(gaps)} held-out recording(s) say little about others; hold out more with --holdout"


def in_words(gap: float, what: str) -> str:
    """Say whether a difference is good."""
    if round(gap, 3) == 0:
        return f"no change in the {what}"
    return f"{what}: better by {gap:.3f}" if gap > 0 else f"{what}: WORSE by {-gap:.3f}; the old weights may be better"
