"""`siamedge track`: follow a target through a video, a folder of images or a camera."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from siamedge.cli.choices import DEVICE, number, parse_box, parse_choice, refuse
from siamedge.cli.choosing import Wanted, choose
from siamedge.cli.following import Manner, Task, follow
from siamedge.cli.live import REACQUIRE, RECONNECT_S, ROTATIONS, refuse_idle, serve_page, source_options
from siamedge.cli.outputs import Receivers
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
    device: Annotated[str, typer.Option(help=DEVICE)] = "CPU",
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
        typer.Option(
            metavar="BACKBONE,HEAD",
            help="Two .onnx files: with --mode opencv, OpenCV itself computes these, bit for bit as before.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the video with the box drawn: NAME.mp4.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON a frame on standard output.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say why this backend was chosen.")] = False,
    web: Annotated[
        str | None, typer.Option(metavar="[HOST:PORT]", help="Serve a page to pick the target on; 127.0.0.1:8765.")
    ] = None,
    reacquire: Annotated[str, typer.Option(help="Notice loss and search the target: off, near or full-frame.")] = "off",
    update_template: Annotated[
        bool, typer.Option("--update-template", help="With --reacquire: learn slowly how the target looks.")
    ] = False,
    mqtt: Annotated[str | None, typer.Option(help="Send every box to a broker: mqtt://HOST/TOPIC.")] = None,
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
    wanted = Wanted(
        parse_choice(backend, list(BACKENDS), "--backend") if backend is not None else None,
        parse_choice(precision, ALL_PRECISIONS, "--precision") if precision is not None else None,
        device,
        threads,
        allow_fallback,
    )
    manner = Manner(
        parse_choice(mode, MODES, "--mode"),
        opencv_models,
        parse_choice(reacquire, REACQUIRE, "--reacquire"),
        update_template,
    )
    check_manner(manner)
    receivers = Receivers(mqtt, pan_tilt, restream, window)
    check_targets(boxes, web, manner, receivers, {"--output": output, "--json": as_json})
    options = source_options(
        size=size,
        fps=fps,
        rotate=parse_choice(rotate, ROTATIONS, "--rotate"),
        is_mirrored=mirror,
        is_paced=pace,
        reconnect_s=RECONNECT_S if reconnect is None else reconnect,
        is_json=as_json,
    )
    refuse_idle(source, {"--size": size, "--fps": fps, "--reconnect": reconnect is not None})
    if web is None and not boxes:
        check_knows_target(source)

    from siamedge.runtime.bundles.bundle import Bundle

    opened = Bundle.open(bundle, is_whole=False)
    picked = choose(opened, wanted, is_explained=explain)
    if web is not None:
        serve_page(
            opened, picked, source=source, options=options, address=web, reacquire=reacquire, is_updated=update_template
        )
        return
    task = Task(source, options, boxes, manner, output, as_json, receivers, is_live_asked=reconnect is not None)
    follow(opened, picked, task, is_explained=explain)


def check_manner(manner: Manner) -> None:
    """Refuse options of following that say nothing without another one.

    Raises:
        typer.BadParameter: There is one.
    """
    if manner.opencv_models is not None and manner.mode != "opencv":
        raise typer.BadParameter("only with --mode opencv", param_hint="'--opencv-models'")
    if manner.is_updated and manner.reacquire == "off":
        raise typer.BadParameter("only with --reacquire near or full-frame", param_hint="'--update-template'")


def check_targets(
    boxes: "Sequence[Box]", web: str | None, manner: Manner, receivers: Receivers, own: Mapping[str, object]
) -> None:
    """Refuse what several targets or a page would leave without effect.

    Args:
        boxes: The targets.
        web: Where a page is served.
        manner: How a target is followed.
        receivers: What each frame is sent to.
        own: Options of what the command writes itself.

    Raises:
        typer.BadParameter: One of them is asked for.
    """
    single = {
        "--mode": manner.mode != "reference",
        "--mqtt": receivers.mqtt,
        "--pan-tilt": receivers.pan_tilt,
        "--restream": receivers.restream,
        "--window": receivers.window,
    }
    if len(boxes) > 1:
        refuse({"--web": web, "--reacquire": manner.reacquire != "off", **single}, "is for one target", "--init")
    if web is not None:
        refuse({"--init": boxes, **own, **single}, "does nothing with a page", "--web")


def check_knows_target(source: str) -> None:
    """Refuse a source that does not know its own target.

    Raises:
        SourceError: There is no such source.
        typer.BadParameter: It does not.
    """
    from siamedge.runtime.sources.source import kind_of_source

    if kind_of_source(source) != "synthetic":
        raise typer.BadParameter("give the target in the first frame: --init x,y,w,h", param_hint="'--init'")
