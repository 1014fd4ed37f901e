"""`siamedge track`: follow a target through a video, a folder of images or a camera."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from siamedge.cli.choices import number, parse_box, parse_choice, refuse
from siamedge.cli.choosing import Wanted, choose, make
from siamedge.cli.live import (
    REACQUIRE,
    RECONNECT_S,
    ROTATIONS,
    refuse_idle,
    serve_page,
    source_options,
    tell_event_as_json,
    watched,
)
from siamedge.cli.outputs import open_outputs, own_outputs, video_at
from siamedge.cli.progress import Status
from siamedge.cli.several import Outputs, follow_several
from siamedge.runtime.backends.backend import ALL_PRECISIONS, BACKENDS, MODES

if TYPE_CHECKING:
    from siamedge.runtime.geometry import Box

MOST_THREADS = 512
"""With ten times as many, LiteRT crashes and ONNX Runtime hangs."""


def track(
    bundle: Annotated[Path, typer.Argument(help="A bundle: NAME.siamedge or its zip file.")],
    source: Annotated[
        str, typer.Option(help="Video file, folder of images, camera number, URL, or synthetic: (a drawn scene).")
    ],
    init: Annotated[
        list[str] | None,
        typer.Option(
            help="The target in the first frame: x,y,w,h in pixels; again for each further target; synthetic: "
            "knows its own."
        ),
    ] = None,
    backend: Annotated[str | None, typer.Option(help="onnxruntime, tflite or openvino; default: chosen.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp32, fp16, int8 or bf16; default: what the bundle says.")
    ] = None,
    device: Annotated[str, typer.Option(help="The backend's name of a device, such as CPU, GPU or NPU.")] = "CPU",
    allow_fallback: Annotated[
        bool, typer.Option("--allow-fallback", help="Take the CPU, and say so, where the device cannot run the bundle.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, max=MOST_THREADS, help="Threads of the backend; default: 1, or as tuned.")
    ] = None,
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
    update_template: Annotated[
        bool, typer.Option("--update-template", help="With --reacquire: learn slowly how the target looks.")
    ] = False,
    mqtt: Annotated[str | None, typer.Option(help="Send every box to a broker: mqtt://HOST:PORT/TOPIC.")] = None,
    pan_tilt: Annotated[
        str | None, typer.Option(help="Send the target's offset: udp://HOST:PORT or serial:/dev/ttyUSB0.")
    ] = None,
    restream: Annotated[
        str | None, typer.Option(help="Serve the picture with its box: rtsp://HOST:PORT/PATH (GStreamer).")
    ] = None,
    window: Annotated[bool, typer.Option("--window", help="Show the picture, where OpenCV has windows.")] = False,
    size: Annotated[str | None, typer.Option(help="Ask the camera for WIDTHxHEIGHT.")] = None,
    fps: Annotated[
        float | None, typer.Option(callback=number, min=0.1, max=1000, help="Ask the camera for this rate.")
    ] = None,
    rotate: Annotated[str, typer.Option(help="Turn frames clockwise: 0, 90, 180 or 270.")] = "0",
    mirror: Annotated[bool, typer.Option("--mirror", help="Swap left and right.")] = False,
    pace: Annotated[bool, typer.Option("--pace", help="Play a recording at its own rate.")] = False,
    reconnect: Annotated[
        float | None, typer.Option(callback=number, min=0, help="Seconds to try when a live source breaks; 60.")
    ] = None,
) -> None:
    """Follow a target and say where it is in every frame."""
    boxes = [parse_box(text) for text in init or ()]
    wanted = parse_choice(precision, ALL_PRECISIONS, "--precision") if precision is not None else None
    if backend is not None:
        parse_choice(backend, list(BACKENDS), "--backend")
    in_mode = parse_choice(mode, MODES, "--mode")
    if opencv_models is not None and in_mode != "opencv":
        raise typer.BadParameter("only with --mode opencv", param_hint="'--opencv-models'")
    parse_choice(reacquire, REACQUIRE, "--reacquire")
    if update_template and reacquire == "off":
        raise typer.BadParameter("only with --reacquire near or full-frame", param_hint="'--update-template'")
    parse_choice(rotate, ROTATIONS, "--rotate")
    single = {"--mode": in_mode != "reference", "--mqtt": mqtt, "--pan-tilt": pan_tilt, "--restream": restream,
              "--window": window}  # fmt: skip
    if len(boxes) > 1:
        refuse({"--web": web, "--reacquire": reacquire != "off", **single}, "is for one target", "--init")
    if web is not None:
        refuse({"--init": boxes, "--output": output, "--json": as_json, **single}, "does nothing with a page", "--web")
    reconnect_s = RECONNECT_S if reconnect is None else reconnect
    options = source_options(
        size=size, fps=fps, rotate=rotate, is_mirrored=mirror, is_paced=pace, reconnect_s=reconnect_s
    )
    if as_json:
        options = options._replace(on_event=tell_event_as_json)

    from siamedge.runtime.bundles.bundle import Bundle
    from siamedge.runtime.loop import track as follow
    from siamedge.runtime.sources.recordings import VideoFile
    from siamedge.runtime.sources.source import open_source

    opened = Bundle.open(bundle, is_whole=False)
    picked = choose(opened, Wanted(backend, wanted, device, threads, allow_fallback), is_explained=explain)
    refuse_idle(source, {"--size": size, "--fps": fps, "--reconnect": reconnect is not None})
    if web is not None:
        serve_page(
            opened, picked, source=source, options=options, address=web, reacquire=reacquire, is_updated=update_template
        )
        return
    with ExitStack() as stack:
        frames = stack.enter_context(open_source(source, options))
        is_recording = isinstance(frames, VideoFile)
        refuse({"--reconnect": reconnect is not None and is_recording}, "does nothing with a recording", "--source")
        video = video_at(output, source, frames.fps) if output else None
        status = stack.enter_context(Status(picked, frames, video, is_explained=explain))
        if video:
            stack.enter_context(video)
        if len(boxes) > 1:
            follow_several(opened, picked.choice, frames, boxes, status, Outputs(video, as_json))
            return
        start = boxes[0] if boxes else start_of(frames)
        tracker = make(opened, picked.choice, in_mode, opencv_models)
        tracker = watched(tracker, opened, picked.choice, reacquire, is_updated=update_template)
        outputs = [*own_outputs(video, as_json), *open_outputs(stack, mqtt, pan_tilt, restream, window)]
        for step in follow(frames, tracker, start):
            for send in outputs:
                send(step)
            status.add(step)


def start_of(frames: object) -> "Box":
    """Give the box of a source that knows its own target.

    Raises:
        typer.BadParameter: It does not.
    """
    from siamedge.runtime.sources.synthetic import SyntheticSource

    if not isinstance(frames, SyntheticSource):
        raise typer.BadParameter("give the target in the first frame: --init x,y,w,h", param_hint="'--init'")
    return frames.box_at(0)
