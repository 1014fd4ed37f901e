"""`siamedge eval`: how well a tracker follows annotated targets."""

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from siamedge.cli.choices import DEVICE
from siamedge.runtime.places import check_file, make_folder, room_for

if TYPE_CHECKING:
    from rich.table import Table

    from siamedge.export.evaluation.bootstrap import Estimate
    from siamedge.export.evaluation.evaluation import Order
    from siamedge.export.evaluation.outputs import Outcome
    from siamedge.export.evaluation.realtime import Clock
    from siamedge.export.evaluation.reports import Report
    from siamedge.export.evaluation.runner import Run


def evaluate(
    tracker: Annotated[
        str,
        typer.Argument(help="Bundle, checkpoint (run in PyTorch), opencv:nano:BACKBONE.onnx,HEAD.onnx or identity."),
    ],
    dataset: Annotated[list[Path], typer.Argument(help="Data set, one sequence, or a video with CLIP.txt beside it.")],
    convention: Annotated[str, typer.Option(help="otb, got10k, lasot or vot-multistart.")] = "otb",
    layout: Annotated[str, typer.Option(help="How the data set is laid out; auto: recognised.")] = "auto",
    one_based: Annotated[
        bool | None,
        typer.Option("--one-based/--zero-based", help="First pixel in the annotation; default: as it is published."),
    ] = None,
    backend: Annotated[str, typer.Option(help="onnxruntime, tflite, openvino, or auto.")] = "auto",
    precision: Annotated[str, typer.Option(help="fp32, fp16, int8, bf16, or auto.")] = "auto",
    device: Annotated[str, typer.Option(help=DEVICE)] = "CPU",
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder for runs, results and plots.")] = None,
    jobs: Annotated[int, typer.Option(help="Sequences at once on this machine; -1: one a core.")] = 1,
    dask: Annotated[str | None, typer.Option(help="Address of a Dask scheduler to run on.")] = None,
    realtime: Annotated[float | None, typer.Option(help="Frames a second; late results do not count.")] = None,
    latency_trace: Annotated[Path | None, typer.Option(help="File of latencies in ms, instead of measuring.")] = None,
    realtime_rule: Annotated[str, typer.Option(help="stream or vot-toolkit.")] = "stream",
    against: Annotated[
        list[Path] | None, typer.Option(help="Folder of another run to compare with; repeatable.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write the comparison as one page.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The scores as JSON on standard output.")] = False,
) -> None:
    """Run a tracker over annotated sequences and score it as the field does."""
    from siamedge.export.evaluation.conventions import get_convention
    from siamedge.export.evaluation.datasets import open_dataset
    from siamedge.export.evaluation.evaluation import Order
    from siamedge.export.evaluation.outputs import score, write_outputs
    from siamedge.export.evaluation.specs import TrackerSpec, resolved

    if jobs < 1 and jobs != -1:
        raise typer.BadParameter(f"{jobs} sequences at once: give 1 or more, or -1", param_hint="--jobs")
    chosen = get_convention(convention)
    clock = make_clock(realtime, latency_trace, realtime_rule)
    spec = resolved(TrackerSpec(tracker, backend, precision, device))
    origin: Literal["auto", "zero", "one"] = "auto" if one_based is None else "one" if one_based else "zero"
    sequences = tuple(item for path in dataset for item in open_dataset(path, layout, origin))
    folder = out or Path("out", "eval", spec.label + (f"-{clock.fps:g}fps" if clock else ""))
    make_folder(folder, "-o")
    if html:
        check_file(html, "--html")
    order = Order(spec, sequences, chosen.protocol, folder, jobs, dask, clock)
    with room_for(folder, "-o"):
        runs = run_with_progress(order)
        outcome = score(order, convention, runs, against or [])
        write_outputs(order, outcome, runs)
    if html:
        with room_for(html, "--html"):
            html.write_text(outcome.html(), encoding="utf-8")
    if as_json:
        sys.stdout.write(outcome.json())
    else:
        print_outcome(outcome, folder)


def make_clock(fps: float | None, trace: Path | None, rule: str) -> "Clock | None":
    """Give the clock that the options ask for; 30 fps with a trace alone.

    Raises:
        typer.BadParameter: The frame rate is not positive and finite, or the rule is unknown.
        SourceError: The trace cannot be read.
    """
    from siamedge.export.evaluation.realtime import RULES, Clock, read_trace

    chosen = next((known for known in RULES if known == rule), None)
    if chosen is None:
        raise typer.BadParameter(f"{rule!r}: choose {' or '.join(RULES)}", param_hint="--realtime-rule")
    if fps is not None and not 0 < fps < math.inf:
        raise typer.BadParameter(f"{fps} frames a second", param_hint="--realtime")
    if fps is None and trace is None:
        return None
    return Clock(fps or 30.0, read_trace(trace) if trace else (), chosen)


def run_with_progress(order: "Order") -> "list[tuple[Run, ...]]":
    """Evaluate with a bar of the frames done, on a terminal only."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from siamedge.export.evaluation.evaluation import evaluate as run

    console = Console(stderr=True)
    if not console.is_terminal:
        return run(order)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(order.spec.label, total=None)
        return run(order, lambda done, total: bar.update(task, completed=done, total=total))


def print_outcome(outcome: "Outcome", folder: Path) -> None:
    """Print scores, paired differences and where the files are."""
    from siamedge.cli.consoles import plain_console

    report, console = outcome.report, plain_console()
    console.print(outcome_table(outcome))
    count = len(report.names)
    parts = [f"{count} sequence{'s' if count > 1 else ''}, {report.frames} frames, convention {report.convention}"]
    if count > 1:
        parts.append("in brackets the 95 % bootstrap interval over sequences")
    parts.append(f"files in {folder / report.convention}")
    console.print("; ".join(parts), soft_wrap=True)


def outcome_table(outcome: "Outcome") -> "Table":
    """A row a run, and one a paired difference; long names of runs are folded, not cut."""
    from rich import box
    from rich.table import Table

    report, metrics = outcome.report, outcome.convention.metrics
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("", overflow="fold")
    for heading in (*(metric.label for metric in metrics.values()), "median latency"):
        table.add_column(heading)
    for item in (report, *outcome.others):
        table.add_row(item.label, *(interval(item.scores[key], "") for key in metrics), milliseconds(item))
    for label, gaps in outcome.against.items():
        table.add_row(f"minus {label}", *(interval(gaps[key], "+") for key in metrics), "")
    return table


def interval(found: "Estimate", sign: str) -> str:
    """Give an estimate and, on a second line, its interval where it has one."""
    text = f"{found.value:{sign}.3f}"
    return text if math.isnan(found.low) else f"{text}\n[{found.low:{sign}.3f}, {found.high:{sign}.3f}]"


def milliseconds(report: "Report") -> str:
    """Give the median latency, or a dash."""
    from siamedge.export.evaluation.reports import latency

    median = latency(report)["median_ms"]
    return "-" if math.isnan(median) else f"{median:.2f} ms"
