"""`siamedge track`: follow a target through a video, a folder of images or a camera."""

import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from siamedge.cli.choices import parse_box, parse_choice
from siamedge.cli.live import REACQUIRE, ROTATIONS, serve_page, source_options, tell_event_as_json, watched
from siamedge.runtime.backends import BACKENDS, PRECISIONS
from siamedge.runtime.latency import LatencyMeter

if TYPE_CHECKING:
    from siamedge.runtime.geometry import Box
    from siamedge.runtime.loop import Step
    from siamedge.runtime.picking import Pick
    from siamedge.runtime.sources import FrameSource


def track(
    bundle: Annotated[Path, typer.Argument(help="A bundle: NAME.siamedge or its zip file.")],
    source: Annotated[
        str, typer.Option(help="Video file, folder of images, camera number, URL, or synthetic: (a drawn scene).")
    ],
    init: Annotated[
        str | None, typer.Option(help="The target in the first frame: x,y,w,h in pixels; synthetic: knows its own.")
    ] = None,
    backend: Annotated[str | None, typer.Option(help="onnxruntime, tflite or openvino; default: chosen.")] = None,
    precision: Annotated[str | None, typer.Option(help="fp32, fp16 or int8; default: what the bundle says.")] = None,
    device: Annotated[str, typer.Option(help="The backend's name of a device, such as CPU, GPU or NPU.")] = "CPU",
    threads: Annotated[int, typer.Option(min=1, help="Threads of the backend.")] = 1,
    output: Annotated[Path | None, typer.Option(help="Write the video with the box drawn: NAME.mp4.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON a frame on standard output.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say why this backend was chosen.")] = False,
    web: Annotated[
        str | None, typer.Option(metavar="[HOST:PORT]", help="Serve a page to pick the target on; 127.0.0.1:8765.")
    ] = None,
    reacquire: Annotated[str, typer.Option(help="Notice loss and search the target: off, near or full-frame.")] = "off",
    size: Annotated[str | None, typer.Option(help="Ask the camera for WIDTHxHEIGHT.")] = None,
    fps: Annotated[float | None, typer.Option(min=0.1, max=1000, help="Ask the camera for this rate.")] = None,
    rotate: Annotated[str, typer.Option(help="Turn frames clockwise: 0, 90, 180 or 270.")] = "0",
    mirror: Annotated[bool, typer.Option("--mirror", help="Swap left and right.")] = False,
    pace: Annotated[bool, typer.Option("--pace", help="Play a recording at its own rate.")] = False,
    reconnect: Annotated[float, typer.Option(min=0, help="Seconds to try when a live source breaks.")] = 60.0,
) -> None:
    """Follow a target and say where it is in every frame."""
    box = parse_box(init) if init is not None else None
    wanted = parse_choice(precision, PRECISIONS, "--precision") if precision is not None else None
    if backend is not None:
        parse_choice(backend, list(BACKENDS), "--backend")
    parse_choice(reacquire, REACQUIRE, "--reacquire")
    parse_choice(rotate, ROTATIONS, "--rotate")
    options = source_options(
        size=size, fps=fps, rotate=rotate, is_mirrored=mirror, is_paced=pace, reconnect_s=reconnect
    )
    if as_json:
        options = replace(options, on_event=tell_event_as_json)

    from siamedge.runtime.bundle import Bundle
    from siamedge.runtime.loop import as_json_line
    from siamedge.runtime.loop import track as follow
    from siamedge.runtime.overlay import draw_step
    from siamedge.runtime.picking import open_tracker, pick
    from siamedge.runtime.sources import open_source
    from siamedge.runtime.video import VideoWriter

    opened = Bundle.open(bundle)
    picked = pick(opened, backend=backend, precision=wanted, device=device)
    if web is not None:
        serve_page(opened, picked, source=source, options=options, address=web, reacquire=reacquire, threads=threads)
        return
    with ExitStack() as stack:
        frames = stack.enter_context(open_source(source, options))
        start = box or start_of(frames)
        tracker = watched(open_tracker(opened, picked.choice, threads), reacquire)
        writer = stack.enter_context(VideoWriter(output, frames.fps)) if output else None
        summary = Summary(picked, explain)
        for step in follow(frames, tracker, start):
            if as_json:
                sys.stdout.write(as_json_line(step) + "\n")
                sys.stdout.flush()
            if writer:
                writer.write(draw_step(step))
            summary.add(step)
    summary.finish(output, frames)


def start_of(frames: object) -> "Box":
    """Give the box of a source that knows its own target.

    Raises:
        typer.BadParameter: It does not.
    """
    from siamedge.runtime.synthetic import SyntheticSource

    if not isinstance(frames, SyntheticSource):
        raise typer.BadParameter("give the target in the first frame: --init x,y,w,h", param_hint="'--init'")
    return frames.box_at(0)


class Summary:
    """The one-line status on a terminal, and the last lines on standard error."""

    def __init__(self, picked: "Pick", explain: bool) -> None:
        self._choice, self._lost = picked.choice, 0
        self._latencies: list[float] = []
        self._from_capture = LatencyMeter()
        self._is_terminal = sys.stderr.isatty()
        if explain:
            for candidate in picked.candidates:
                self._say(f"{candidate.backend} {candidate.precision} on {candidate.device}: {candidate.verdict}\n")

    def add(self, step: "Step") -> None:
        """Take one frame into account."""
        self._latencies.append(step.timing.tracker_ms)
        self._from_capture.add(step.timing.latency_ms)
        self._lost += step.result.lost
        if self._is_terminal:
            x, y, w, h = step.result.box
            where = f"{x:.0f},{y:.0f},{w:.0f},{h:.0f}"
            self._say(f"\rframe {step.frame.index}  box {where}  score {step.result.score:.2f}  {step.state}\x1b[K")

    def finish(self, output: Path | None, frames: "FrameSource") -> None:
        """Say what ran, how fast, and where the video is."""
        choice, updates = self._choice, sorted(self._latencies[1:])
        end = "\n" if self._is_terminal else ""
        speed = f", {updates[len(updates) // 2]:.2f} ms a frame" if updates else ""
        lost = f", lost in {self._lost}" if self._lost else ""
        ran = f"{choice.backend} {choice.precision} on {choice.device}"
        self._say(f"{end}{len(self._latencies)} frames{lost}; {ran}{speed} (median in the tracker)\n")
        if counters := getattr(frames, "counters", None):
            p50, p95, p99 = self._from_capture.percentiles()
            self._say(
                f"capture to box: {p50:.1f} ms (p50), {p95:.1f} (p95), {p99:.1f} (p99); "
                f"{counters.dropped} frames dropped for newer ones, {counters.reconnects} reconnects\n"
            )
        if output:
            self._say(f"wrote {output}\n")

    @staticmethod
    def _say(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()
