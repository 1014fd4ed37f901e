"""`siamedge bench`: how fast a bundle runs here, stage by stage, in every backend and precision."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from siamedge.cli.choices import DEVICE, number, parse_box, parse_choice
from siamedge.runtime.backends.backend import ALL_PRECISIONS, BACKENDS

if TYPE_CHECKING:
    from rich.table import Table

    from siamedge.runtime.backends.backend import Precision
    from siamedge.runtime.bundles.bundle import Bundle
    from siamedge.runtime.bundles.picking import Candidate
    from siamedge.runtime.speed.benchmark import Plan, Row, Start
    from siamedge.runtime.tracking.trackers import Tracker

RIVAL = "cv2 TrackerNano"
"""Of OpenCV's trackers, the one that all others are compared with."""
CLIP = 60
"""Frames of the clip that is followed."""


def bench(
    bundle: Annotated[Path, typer.Argument(help="A bundle: NAME.siamedge or its zip file.")],
    source: Annotated[str, typer.Option(help="Video or folder of images; default: a drawn scene, 640x480.")] = "",
    init: Annotated[str | None, typer.Option(help="The target in the first frame of --source: x,y,w,h.")] = None,
    backend: Annotated[str | None, typer.Option(help="Only this one.")] = None,
    precision: Annotated[str | None, typer.Option(help="Only this one.")] = None,
    device: Annotated[str, typer.Option(help=DEVICE)] = "CPU",
    allow_fallback: Annotated[
        bool, typer.Option("--allow-fallback", help="Take the CPU, and say so, where the device cannot run the bundle.")
    ] = False,
    updates: Annotated[int, typer.Option(min=20, help="Updates of each candidate.")] = 200,
    minutes: Annotated[
        float, typer.Option(callback=number, min=0, help="Run each candidate so long, for the steady state.")
    ] = 0.0,
    against: Annotated[str | None, typer.Option(help="opencv: cv2.TrackerNano, interleaved with ours.")] = None,
    opencv_models: Annotated[
        str | None, typer.Option(metavar="BACKBONE,HEAD", help="Two .onnx files for --against opencv.")
    ] = None,
    cold: Annotated[bool, typer.Option(help="Measure the start of `siamedge track` too.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure this device; exit with 3 if it was busy or throttled, so that the numbers are not valid."""
    wanted = None if precision is None else parse_choice(precision, ALL_PRECISIONS, "--precision")
    if backend is not None:
        parse_choice(backend, list(BACKENDS), "--backend")
    if against is not None:
        parse_choice(against, ["opencv"], "--against")
    if against is not None and opencv_models is None:
        raise typer.BadParameter("give BACKBONE.onnx,HEAD.onnx", param_hint="'--opencv-models'")
    if against is None and opencv_models is not None:
        raise typer.BadParameter("only with --against opencv", param_hint="'--opencv-models'")

    from siamedge.runtime.bundles.bundle import Bundle
    from siamedge.runtime.bundles.records import plain

    opened = Bundle.open(bundle)
    plan = plan_of(source, init, updates, minutes)
    rivals = {} if opencv_models is None else rivals_of(opencv_models, plan)
    choices = chosen(opened, backend, wanted, device, may_fall_back=allow_fallback)
    if rivals and choices[0].device != "CPU":
        reason = f"it compares CPU time, in which the work of {choices[0].device} is not; leave --device away"
        raise typer.BadParameter(reason, param_hint="'--against'")
    found = measure(opened, plan, choices, is_cold=cold)
    if rivals:
        found["against_opencv"] = raced = race_opencv(opened, plan, rivals, choices)
        found["not_valid"] += [reason] if (reason := raced["contention"].reason) else []
    if as_json:
        sys.stdout.write(json.dumps(plain(found), indent=1, sort_keys=True) + "\n")
    else:
        show(found)
    raise typer.Exit(0 if not found["not_valid"] else 3)


def plan_of(source: str, init: str | None, updates: int, minutes: float) -> "Plan":
    """The clip to follow."""
    from itertools import islice

    from siamedge.runtime.sources.source import open_source
    from siamedge.runtime.sources.synthetic import SyntheticSource
    from siamedge.runtime.speed.benchmark import Plan

    if not source and init is not None:
        raise typer.BadParameter("the target in a drawn scene is known; give --source too", param_hint="'--init'")
    if not source:
        drawn = SyntheticSource(frames=CLIP * 3)
        return Plan([drawn.image_at(i) for i in range(CLIP)], drawn.box_at(0), updates, minutes)
    if init is None:
        raise typer.BadParameter("give the target in the first frame: --init x,y,w,h", param_hint="'--init'")
    with open_source(source) as frames:
        return Plan([frame.image for frame in islice(frames, CLIP)], parse_box(init), updates, minutes)


def chosen(
    bundle: "Bundle", backend: str | None, precision: "Precision | None", device: str, *, may_fall_back: bool
) -> "list[Candidate]":
    """The candidates that were asked for; None: every one.

    Raises:
        BackendError: None can run on the device; with may_fall_back on the CPU.
    """
    from siamedge.cli.choosing import tell_fallback
    from siamedge.runtime.bundles.picking import pick, pick_or_cpu
    from siamedge.runtime.speed.benchmark import usable

    if may_fall_back:
        picked, reason = pick_or_cpu(bundle, backend=backend, precision=precision, device=device)
        tell_fallback(device, reason)
        device = picked.choice.device
    else:
        pick(bundle, backend=backend, precision=precision, device=device)
    choices = usable(bundle, device)
    return [c for c in choices if c.backend == (backend or c.backend) and c.precision == (precision or c.precision)]


def measure(bundle: "Bundle", plan: "Plan", choices: "list[Candidate]", *, is_cold: bool) -> dict[str, Any]:
    """Measure every candidate, the arithmetic floor, and whether the numbers are valid."""
    from siamedge.runtime.health import read_health
    from siamedge.runtime.speed.benchmark import bench as run
    from siamedge.runtime.speed.benchmark import cold_start
    from siamedge.runtime.speed.tuning_record import fingerprint

    health, rows = [read_health()], []
    starts: dict[str, Start] = {}
    for choice in choices:
        rows.append(run(bundle, choice, plan))
        health.append(read_health())
        if is_cold:
            starts[f"{choice.backend} {choice.precision}"] = cold_start(bundle.path, choice, plan)
            health.append(read_health())
    reasons = {row.contention.reason for row in rows} | {start.reason for start in starts.values()}
    reasons |= {state.reason for state in health}
    height, width = plan.frames[0].shape[:2]
    return {
        "bundle": bundle.manifest.name,
        "frame": f"{width}x{height}",
        "minutes": plan.minutes,
        "device": fingerprint(),
        "health": {"before": health[0], "after": health[-1]},
        "rows": rows,
        "starts": {name: start._asdict() for name, start in starts.items()},
        "floor": floor_of(bundle, rows),
        "not_valid": sorted(reason for reason in reasons if reason is not None),
    }


def floor_of(bundle: "Bundle", rows: "list[Row]") -> dict[str, Any]:
    """The time that the search graph's multiply-adds take at this processor's peak, and the share that is reached."""
    from siamedge.export.arithmetic import count_macs, peak_gmacs
    from siamedge.runtime.errors import SiamedgeError

    try:
        macs = count_macs(bundle.load(bundle.find("search", "onnx", "fp32")).content)
        peaks = {"fp32": peak_gmacs("fp32"), "int8": peak_gmacs("int8")}
    except SiamedgeError as error:
        return {"unknown": str(error)}
    floors = {name: macs / peak / 1e6 for name, peak in peaks.items()}
    shares = {}
    for row in (row for row in rows if row.device == "CPU" and row.precision != "bf16"):  # its peak is not measured
        kind = "int8" if row.precision == "int8" else "fp32"
        shares[f"{row.backend} {row.precision}"] = floors[kind] / row.stages.network
    return {"mmacs": macs / 1e6, "peak_gmacs": peaks, "floor_ms": floors, "share": shares}


def rivals_of(models: str, plan: "Plan") -> "dict[str, Tracker]":
    """OpenCV's trackers by name, after one update of each.

    Raises:
        typer.BadParameter: These are not two files.
        SourceError: There is no second frame to find the target in.
        BackendError: OpenCV cannot run them.
    """
    from siamedge.runtime.errors import SourceError
    from siamedge.runtime.speed.rivals import contrib_trackers, opencv_nano

    backbone, _, head = models.partition(",")
    if not (backbone and head):
        raise typer.BadParameter(f"{models!r}, expected BACKBONE.onnx,HEAD.onnx", param_hint="'--opencv-models'")
    if len(plan.frames) < 2:
        raise SourceError(
            f"--against opencv needs two frames, the source has {len(plan.frames)}", hint="give a longer --source"
        )
    rivals = {RIVAL: opencv_nano(Path(backbone), Path(head)), **contrib_trackers()}
    for rival in rivals.values():
        rival.init(plan.frames[0], plan.start)
        rival.update(plan.frames[0])
    return rivals


def race_opencv(
    bundle: "Bundle", plan: "Plan", rivals: "dict[str, Tracker]", choices: "list[Candidate]"
) -> dict[str, Any]:
    """Medians of interleaved rounds on the same boxes, and how many times faster ours are."""
    from siamedge.runtime.bundles.picking import open_tracker
    from siamedge.runtime.speed.measuring import ContentionMeter, Scene, race, ratio_to

    ours = {f"{c.backend} {c.precision}": open_tracker(bundle, c) for c in choices}
    scenes = [Scene(plan.frames[0], frame, plan.start) for frame in plan.frames[1:9]]
    with ContentionMeter() as meter:
        medians = race({**rivals, **ours}, scenes, rounds=5)
    faster = {name: ratio_to(medians[RIVAL], taken) for name, taken in medians.items()}
    return {"cpu_ms": medians, "times_faster": faster, "contention": meter.result}


def show(found: dict[str, Any]) -> None:
    """Print the tables for a person."""
    from siamedge.cli.consoles import plain_console

    console = plain_console()
    console.print(table_of(found))
    if "mmacs" in (floor := found["floor"]):
        peaks, floors = floor["peak_gmacs"], floor["floor_ms"]
        console.print(
            f"search graph {floor['mmacs']:.0f} MMAC; one core does {peaks['fp32']:.0f} GMAC/s fp32, "
            f"{peaks['int8']:.0f} int8: {floors['fp32']:.2f} ms, {floors['int8']:.2f} ms at least",
            soft_wrap=True,
        )
    for name, ratio in found.get("against_opencv", {}).get("times_faster", {}).items():
        console.print(f"{name}: {ratio:.2f} times as fast as cv2.TrackerNano")
    for reason in found["not_valid"]:
        console.print(f"NOT VALID: {reason}", style="bold red", soft_wrap=True)


COLUMNS = ("backend", "", "p50", "p95", "p99", "last", "CPU", "crop", "net", "post", "peak", "init", "cold", "MiB")
"""Of the table; `peak` is the share of the processor's, `cold` a start in ms."""


def cells_of(row: "Row", found: dict[str, Any]) -> list[str]:
    """What stands in each of COLUMNS; - where it was not measured."""
    name, u, s = f"{row.backend} {row.precision}", row.update_ms, row.stages
    share, start = found["floor"].get("share", {}).get(name), found["starts"].get(name)
    return [
        row.backend,
        row.precision,
        *(f"{value:.2f}" for value in (u.p50, u.p95, u.p99)),
        f"{row.last_ms:.2f}" if found["minutes"] else "-",
        *(f"{value:.2f}" for value in (row.cpu_ms, s.crop, s.network, s.post)),
        "-" if share is None else f"{share:.0%}",
        f"{row.init_ms:.1f}",
        "-" if start is None else f"{1000 * start['seconds']:.0f}",
        "-" if start is None or start["rss_mib"] is None else f"{start['rss_mib']:.0f}",
    ]


def table_of(found: dict[str, Any]) -> "Table":
    """A row a backend and precision."""
    from rich import box
    from rich.table import Table

    title = f"{found['bundle']}, {found['frame']}, ms; stages are CPU time"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.padding = 0  # the columns are to fit a terminal of 80
    rows = [cells_of(row, found) for row in found["rows"]]
    shown = [index for index in range(len(COLUMNS)) if any(cells[index] != "-" for cells in rows)]
    for index in shown:
        table.add_column(COLUMNS[index], justify="left" if index < 2 else "right", no_wrap=True)
    for cells in rows:
        table.add_row(*(cells[index] for index in shown))
    return table
