"""Where `siamedge track` sends each frame with its box: lines, a video, messages, a stream, a window."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from siamedge.cli.progress import say
from siamedge.runtime.errors import BackendError, SourceError

if TYPE_CHECKING:
    from siamedge.runtime.loop import Step
    from siamedge.runtime.outputs.mqtt import MqttOutput
    from siamedge.runtime.outputs.video import VideoWriter


class Receivers(NamedTuple):
    """What each frame is sent to, as the options of the same names say."""

    mqtt: str | None
    pan_tilt: str | None
    restream: str | None
    window: bool


def video_at(output: Path, source: str, fps: float) -> "VideoWriter":
    """Make what writes the video.

    Raises:
        PlaceError: No file can be written there, or it is the source.
        SourceError: No video has such a name.
    """
    from siamedge.runtime.outputs.video import VideoWriter, part_of
    from siamedge.runtime.places import check_apart
    from siamedge.runtime.sources.source import kind_of_source, path_of

    if kind_of_source(source) == "file":
        for path in (output, part_of(output)):
            check_apart(path, path_of(source), "--output")
    return VideoWriter(output, fps)


def own_outputs(video: "VideoWriter | None", is_json: bool) -> "Iterator[Callable[[Step], None]]":
    """Give what prints the line of a frame, and what writes the frame with its box into the video."""
    from siamedge.runtime.loop import as_json_line

    def print_line(step: "Step") -> None:
        sys.stdout.write(as_json_line(step) + "\n")
        sys.stdout.flush()

    if is_json:
        yield print_line
    if video:
        from siamedge.runtime.outputs.overlay import draw_step
        from siamedge.runtime.outputs.video import time_in_video

        yield lambda step: video.write(draw_step(step), time_in_video(step.frame))


def open_mqtt(stack: ExitStack, address: str) -> "MqttOutput":
    """Connect to a broker; the stack leaves it.

    Raises:
        SourceError: The address is none, or no broker answers there or lets us in.
        BackendError: The MQTT library is not installed.
    """
    try:
        from siamedge.runtime.outputs.mqtt import MqttOutput, parse_broker
    except ImportError as error:
        raise BackendError(f"--mqtt needs {error.name}", hint="pip install 'siamedge[mqtt]'") from error
    output = MqttOutput(parse_broker(address))
    stack.push(partial(tell_undelivered, output))
    return stack.enter_context(output)


def tell_undelivered(output: "MqttOutput", kind: type[BaseException] | None, *_: object) -> None:
    """Say how many boxes the broker has not confirmed, once it was left.

    Raises:
        SourceError: There are some, and nothing else ends the run.
    """
    missing = output.offered - output.delivered
    if not missing:
        return
    line = f"{output.where}: {missing} of {output.offered} boxes were not delivered"
    if kind is None:
        raise SourceError(line, hint="was it away? it may still have some that it did not confirm")
    say(f"{line}\n")


def open_outputs(stack: ExitStack, receivers: Receivers) -> "list[Callable[[Step], None]]":
    """Open what each frame is sent to; the stack closes them.

    Raises:
        SourceError: An address is none, nobody answers there, or there is no screen.
        BackendError: The MQTT library is not installed.
    """
    mqtt, pan_tilt, restream, is_shown = receivers
    opened: list[Callable[[Step], None]] = []
    if mqtt:
        opened.append(open_mqtt(stack, mqtt).send)
    if pan_tilt:
        from siamedge.runtime.outputs.pan_tilt import PanTiltOutput

        opened.append(stack.enter_context(PanTiltOutput(pan_tilt)).send)
    if restream:
        from siamedge.runtime.outputs.restream import RestreamOutput

        served = stack.enter_context(RestreamOutput(restream))
        sys.stderr.write(f"re-stream: {served.address}\n")
        opened.append(served.send)
    if is_shown:
        from siamedge.runtime.outputs.window import WindowOutput

        opened.append(stack.enter_context(WindowOutput()).send)
    return opened
