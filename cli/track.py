"""`siamedge track`: follow a target through a video, a folder of images or a camera."""

import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from siamedge.cli.choices import parse_box, parse_choice
from siamedge.cli.live import REACQUIRE, ROTATIONS, open_mqtt, serve_page, source_options, tell_event_as_json, watched
from siamedge.runtime.backends import BACKENDS, MODES, PRECISIONS, Mode, Precision
from siamedge.runtime.latency import LatencyMeter

if TYPE_CHECKING:
    from siamedge.runtime.bundle import Bundle
    from siamedge.runtime.geometry import Box
    from siamedge.runtime.loop import Step
    from siamedge.runtime.picking import Candidate, Pick
    from siamedge.runtime.sources import FrameSource
    from siamedge.runtime.trackers import Tracker


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
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the backend; default: 1, or as tuned.")] = None,
    mode: Annotated[
        str, typer.Option(help="reference: as published; opencv: what cv2.TrackerNano computes (NanoTrack v1, v2).")
    ] = "reference",
    opencv_models: Annotated[
        str | None,
        typer.Option(help="BACKBONE.onnx,HEAD.onnx: with --mode opencv, OpenCV computes these, bit for bit as before."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write the video with the box drawn: NAME.mp4.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON a frame on standard output.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say why this backend was chosen.")] = False,
    web: Annotated[
        str | None, typer.Option(metavar="[HOST:PORT]", help="Serve a page to pick the target on; 127.0.0.1:8765.")
    ] = None,
    reacquire: Annotated[str, typer.Option(help="Notice loss and search the target: off, near or full-frame.")] = "off",
    mqtt: Annotated[str | None, typer.Option(help="Send every box to a broker: mqtt://HOST[:PORT][/TOPIC].")] = None,
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
    in_mode = parse_choice(mode, MODES, "--mode")
    if opencv_models is not None and in_mode != "opencv":
        raise typer.BadParameter("only with --mode opencv", param_hint="'--opencv-models'")

    from siamedge.runtime.bundle import Bundle
    from siamedge.runtime.loop import as_json_line
    from siamedge.runtime.loop import track as follow
    from siamedge.runtime.overlay import draw_step
    from siamedge.runtime.sources import open_source
    from siamedge.runtime.video import VideoWriter

    opened = Bundle.open(bundle)
    picked = choose(opened, Wanted(backend, wanted, device, threads), is_explained=explain)
    if web is not None:
        serve_page(opened, picked, source=source, options=options, address=web, reacquire=reacquire)
        return
    with ExitStack() as stack:
        frames = stack.enter_context(open_source(source, options))
        start = box or start_of(frames)
        tracker = watched(make(opened, picked.choice, in_mode, opencv_models), reacquire)
        writer = stack.enter_context(VideoWriter(output, frames.fps)) if output else None
        broker = stack.enter_context(open_mqtt(mqtt)) if mqtt else None
        summary = Summary(picked, explain)
        for step in follow(frames, tracker, start):
            if as_json:
                sys.stdout.write(as_json_line(step) + "\n")
                sys.stdout.flush()
            if broker:
                broker.send(step)
            if writer:
                writer.write(draw_step(step))
            summary.add(step)
    summary.finish(output, frames)


class Wanted(NamedTuple):
    """What the user asked for; None: not asked."""

    backend: str | None
    precision: Precision | None
    device: str
    threads: int | None

    @property
    def is_open(self) -> bool:
        """The user left the choice to us."""
        return self.backend is None and self.precision is None and self.threads is None


def choose(bundle: "Bundle", wanted: Wanted, *, is_explained: bool) -> "Pick":
    """Give what the user asked for, else what `siamedge tune` chose for this device, else the default.

    Args:
        bundle: Opened.
        wanted: By the user.
        is_explained: Try every candidate, not only those up to the first usable one.
    """
    from siamedge.runtime.picking import Pick, pick

    if wanted.is_open and (tuned := tuned_choice(bundle, wanted.device)) is not None:
        return Pick(tuned, (tuned,))
    backend, precision, device, _ = wanted
    picked = pick(bundle, backend=backend, precision=precision, device=device, is_thorough=is_explained)
    return Pick(replace(picked.choice, threads=wanted.threads or 1), picked.candidates)


def tuned_choice(bundle: "Bundle", device: str) -> "Candidate | None":
    """Give what was chosen by measuring here, tuning again if this device or its libraries changed since; else None."""
    from siamedge.runtime.cache import cache_home

    if not (cache_home() / "tuning").is_dir():
        return None
    from siamedge.cli.tune import tune_and_save
    from siamedge.runtime.tuning_record import bundle_sha256, differences, fingerprint, load_record, record_path

    tuning = load_record(record_path(bundle, device), bundle_sha256(bundle))
    if tuning is None:
        return None
    if changed := differences(tuning, fingerprint()):
        Summary.say(f"tuning again: {', '.join(changed)}\n")
        tuning = tune_and_save(bundle, device)
    Summary.say(f"tuned: {tuning.reason}\n")
    return tuning.choice


def make(bundle: "Bundle", choice: "Candidate", mode: Mode, opencv_models: str | None) -> "Tracker":
    """Load what was chosen."""
    from siamedge.runtime.cache import default_cache
    from siamedge.runtime.picking import open_tracker

    if opencv_models is None:
        return open_tracker(bundle, choice, mode=mode, cache=default_cache())
    from siamedge.runtime.opencv_dnn import load_pair
    from siamedge.runtime.opencv_mode import OpenCVNanoTracker

    backbone, separator, head = opencv_models.partition(",")
    if not separator:
        raise typer.BadParameter("give two files: BACKBONE.onnx,HEAD.onnx", param_hint="'--opencv-models'")
    return OpenCVNanoTracker(*load_pair(Path(backbone), Path(head)), bundle.manifest.tracker.params)


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
        self._updates, self._from_capture = LatencyMeter(), LatencyMeter()
        self._is_terminal = sys.stderr.isatty()
        if explain:
            for candidate in picked.candidates:
                self.say(f"{candidate.backend} {candidate.precision} on {candidate.device}: {candidate.verdict}\n")

    def add(self, step: "Step") -> None:
        """Take one frame into account."""
        if self._from_capture.total:
            self._updates.add(step.timing.tracker_ms)
        self._from_capture.add(step.timing.latency_ms)
        self._lost += step.result.lost
        if self._is_terminal:
            x, y, w, h = step.result.box
            where = f"{x:.0f},{y:.0f},{w:.0f},{h:.0f}"
            self.say(f"\rframe {step.frame.index}  box {where}  score {step.result.score:.2f}  {step.state}\x1b[K")

    def finish(self, output: Path | None, frames: "FrameSource") -> None:
        """Say what ran, how fast, and where the video is."""
        choice = self._choice
        end = "\n" if self._is_terminal else ""
        speed = f", {self._updates.percentile(0.5):.2f} ms a frame" if self._updates.total else ""
        lost = f", lost in {self._lost}" if self._lost else ""
        ran = f"{choice.backend} {choice.precision} on {choice.device}"
        self.say(f"{end}{self._from_capture.total} frames{lost}; {ran}{speed} (median in the tracker)\n")
        if counters := getattr(frames, "counters", None):
            p50, p95, p99 = self._from_capture.percentiles()
            self.say(
                f"capture to box: {p50:.1f} ms (p50), {p95:.1f} (p95), {p99:.1f} (p99); "
                f"{counters.dropped} frames dropped for newer ones, {counters.reconnects} reconnects\n"
            )
        if output:
            self.say(f"wrote {output}\n")

    @staticmethod
    def say(text: str) -> None:
        """Write to standard error, at once."""
        sys.stderr.write(text)
        sys.stderr.flush()
