"""`siamedge export`: from a trained network to a verified bundle."""

import logging
import os
import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from siamedge.cli.choices import number, parse_choices, refuse
from siamedge.cli.libraries import export_libraries
from siamedge.runtime.backends.backend import ALL_PRECISIONS, FORMATS, PRECISIONS
from siamedge.runtime.places import check_file, room_for

if TYPE_CHECKING:
    from siamedge.export.pipeline import ExportRequest, ExportResult
    from siamedge.runtime.backends.backend import Precision
    from siamedge.runtime.bundles.manifest import Manifest


BUDGET_MISSED = 3
"""Exit code where a precision was asked for and a model of it is not within its budget."""


def export(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(
            help="Trained weights, .pth or .safetensors, or a name that `siamedge zoo` lists; none: siamedge's own "
            "default model."
        ),
    ] = None,
    arch: Annotated[str | None, typer.Option(help="Architecture; default: recognised from the tensors.")] = None,
    formats: Annotated[
        str | None, typer.Option(help="Of onnx,tflite,openvino; default: all whose libraries are installed.")
    ] = None,
    precisions: Annotated[
        str | None,
        typer.Option(
            help="Of fp32,fp16,int8,bf16 (OpenVINO only); default: fp32,fp16, and int8 where it can be calibrated. "
            "One that is named and misses its budget: exit code 3."
        ),
    ] = None,
    calibration: Annotated[
        list[str] | None,
        typer.Option(help="Video, folder of images or of videos that int8 is calibrated on, or SET.npz; repeatable."),
    ] = None,
    verification: Annotated[
        list[str] | None,
        typer.Option(help="Video, folder or set of other clips to verify on; default: other targets of --calibration."),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(callback=number, min=0.0, help="Tracking accuracy that int8 may cost, 0..1; needs --validation."),
    ] = None,
    metric: Annotated[str, typer.Option(help="Accuracy that --max-drop is about.")] = "auc",
    validation: Annotated[
        str | None, typer.Option(help="Annotated data set on which int8 is tracked against fp32.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Try fewer int8 recipes.")] = False,
    time_budget: Annotated[
        float | None,
        typer.Option(callback=number, min=0.0, help="Minutes after which no further int8 recipe is tried, a format."),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="End with exit code 3 if int8 misses its budget, as --max-drop and --precisions int8 do."
        ),
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="FILE.html to write: every int8 recipe that was tried, and why one was chosen.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="NAME.siamedge (a folder) or NAME.siamedge.zip.")
    ] = None,
) -> None:
    """Convert a tracker to ONNX, TFLite and OpenVINO, prove that each still computes the same, and pack a bundle."""
    with export_libraries("export"):
        from siamedge.export.calibration.choosing import set_beside
        from siamedge.export.int8.gate import ATTEMPTS, QUICK_ATTEMPTS, Effort
        from siamedge.export.pipeline import ExportRequest

    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    if report is not None:
        check_report(report, out)
    weights = None if checkpoint is None else from_zoo(checkpoint)
    is_uncalibrated = weights is not None and not (calibration or set_beside(weights))
    wanted = chosen_precisions(precisions, is_uncalibrated=is_uncalibrated)
    if "int8" not in wanted:
        gates = {"--strict": strict, "--max-drop": max_drop is not None}
        refuse(gates, "is about int8, which is not made; add --calibration VIDEO", "--precisions")
    request = ExportRequest(
        out=out or Path(f"{checkpoint.stem if checkpoint else 'siamedge-default'}.siamedge"),
        checkpoint=weights,
        arch=arch,
        formats=parse_choices(formats, FORMATS, "--formats") if formats is not None else None,
        precisions=wanted,
        calibration=tuple(calibration or ()),
        verification=tuple(verification or ()),
        effort=Effort(QUICK_ATTEMPTS if quick else ATTEMPTS, time_budget),
        max_drop=max_drop,
        metric=metric,
        validation=validation,
    )
    result = run_with_progress(request)
    if is_uncalibrated and precisions is None:
        left_out = "int8 left out: it needs crops that this tracker really sees, --calibration VIDEO"
        result = replace(result, skipped=(*result.skipped, left_out))
    print_result(result, request.out)
    if report is not None:
        write_report(result, report)
    named = request.precisions if precisions is not None else ()
    raise typer.Exit(exit_code(result.manifest, (*named, *(("int8",) if strict or max_drop is not None else ()))))


def chosen_precisions(text: str | None, *, is_uncalibrated: bool) -> "tuple[Precision, ...]":
    """Give the precisions that were asked for; without a wish all that can be made.

    Raises:
        typer.BadParameter: One is unknown.
    """
    if text is None:
        return ("fp32", "fp16") if is_uncalibrated else PRECISIONS
    return parse_choices(text, ALL_PRECISIONS, "--precisions")


def from_zoo(checkpoint: Path) -> Path:
    """Give the file of a published checkpoint that was named, fetched if need be; any other path as it is.

    Raises:
        ExportError: It cannot be fetched.
    """
    from rich.console import Console

    from siamedge.export.checkpoints.zoo import ZOO, get_checkpoint

    name = str(checkpoint)
    if name not in ZOO or checkpoint.is_file():
        return checkpoint
    with Console(stderr=True).status(f"looking for {name}") as status:
        return get_checkpoint(
            name, lambda done, total: status.update(f"fetching {name}: {done / 1e6:.1f} of {total / 1e6:.1f} MB")
        )


def check_report(path: Path, out: Path | None) -> None:
    """Refuse, before minutes are spent, a report that could not be written.

    Raises:
        ExportError: Its name does not end in .html, or is the bundle's.
        SourceError: It is a folder, or its folder is missing or not writable.
    """
    from siamedge.runtime.errors import ExportError

    if path.suffix != ".html":
        raise ExportError(f"{path.name}: the report's name must end in .html", hint="--report FILE.html")
    if path == out:
        raise ExportError(f"{path}: is the bundle's name too", hint="choose another --report")
    check_file(path, "--report")


def write_report(result: "ExportResult", path: Path) -> None:
    """Write the page about int8, and say so."""
    from siamedge.export.quantization_page import to_html

    with room_for(path, "--report"):
        path.write_text(to_html(result.manifest, result.measured), encoding="utf-8")
    typer.echo(f"wrote {path}")


def exit_code(manifest: "Manifest", wanted: Collection[str]) -> int:
    """Give BUDGET_MISSED where a model of a wanted precision is beyond its budget, else 0."""
    is_missed = any(item.precision in wanted and item.verdict != "pass" for item in manifest.verification)
    return BUDGET_MISSED if is_missed else 0


def run_with_progress(request: "ExportRequest") -> "ExportResult":
    """Export with a line that tells what is being done, on a terminal only."""
    from rich.console import Console

    from siamedge.export.pipeline import export_bundle

    if not sys.stderr.isatty():
        return export_bundle(request)
    # Converters have descriptor 2 pointed elsewhere while they run; the status line keeps a terminal of its own.
    with (
        os.fdopen(os.dup(sys.stderr.fileno()), "w") as terminal,
        Console(file=terminal, force_terminal=True).status("starting") as status,
    ):
        return export_bundle(request, status.update)


def print_result(result: "ExportResult", out: Path) -> None:
    """Print the verification table, what is recommended, where the bundle is, and a first use of it."""
    from siamedge.cli.consoles import plain_console
    from siamedge.cli.tables import quantization_lines, recommendation_lines, verification_table

    console = plain_console()
    latencies = {(m.verification.format, m.verification.precision): m.latency_ms for m in result.measured}
    console.print(verification_table(result.manifest, latencies))
    for line in (*result.skipped, *quantization_lines(result.manifest), *recommendation_lines(result.manifest)):
        console.print(line, soft_wrap=True)
    size = sum(entry.bytes for entry in result.manifest.files)
    console.print(f"wrote {out} ({size / 1e6:.1f} MB)", soft_wrap=True)
    # A drawn scene: it needs no camera, no clip and no box.
    console.print(f"try it: siamedge track {quote(str(out))} --source synthetic: --output track.mp4", soft_wrap=True)
