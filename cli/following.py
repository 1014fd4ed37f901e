"""The work of `siamedge track`, once its options are read: a source is opened, and its targets are followed."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from siamedge.cli.choices import refuse
from siamedge.cli.choosing import make
from siamedge.cli.live import watched
from siamedge.cli.outputs import Receivers, open_outputs, own_outputs, video_at
from siamedge.cli.progress import Status
from siamedge.cli.several import Outputs, follow_several
from siamedge.runtime.backends.backend import Mode

if TYPE_CHECKING:
    from siamedge.runtime.bundles.bundle import Bundle
    from siamedge.runtime.bundles.picking import Candidate, Pick
    from siamedge.runtime.geometry import Box
    from siamedge.runtime.sources.source import SourceOptions
    from siamedge.runtime.sources.synthetic import SyntheticSource
    from siamedge.runtime.tracking.trackers import Tracker


class Manner(NamedTuple):
    """How a target is followed, as the options of the same names say."""

    mode: Mode
    opencv_models: str | None
    reacquire: str
    is_updated: bool


class Task(NamedTuple):
    """What to follow, and where to say it.

    Attributes:
        source: Its address.
        options: How it is read.
        boxes: The targets in the first frame; none where the source knows its own.
        manner: How they are followed.
        output: The video to write.
        is_json: Print lines of JSON.
        receivers: What else is told of each frame.
        is_live_asked: An option was given that only a live source heeds.
    """

    source: str
    options: "SourceOptions"
    boxes: "list[Box]"
    manner: Manner
    output: Path | None
    is_json: bool
    receivers: Receivers
    is_live_asked: bool


def follow(bundle: "Bundle", picked: "Pick", task: Task, *, is_explained: bool) -> None:
    """Follow the targets of a source to its end.

    Raises:
        typer.BadParameter: The source turns out to be a recording, and an option is for a live one.
        SiamedgeError: The source, the models or an output fail.
    """
    from siamedge.runtime.loop import track
    from siamedge.runtime.sources.recordings import VideoFile
    from siamedge.runtime.sources.source import open_source

    with ExitStack() as stack:
        frames = stack.enter_context(open_source(task.source, task.options))
        is_recording = isinstance(frames, VideoFile)
        refuse({"--reconnect": task.is_live_asked and is_recording}, "does nothing with a recording", "--source")
        video = video_at(task.output, task.source, frames.fps) if task.output else None
        status = stack.enter_context(Status(picked, frames, video, is_explained=is_explained))
        if video:
            stack.enter_context(video)
        if len(task.boxes) > 1:
            follow_several(bundle, picked.choice, frames, task.boxes, status, Outputs(video, task.is_json))
            return
        start = task.boxes[0] if task.boxes else cast("SyntheticSource", frames).box_at(0)
        tracker = make_tracker(bundle, picked.choice, task.manner)
        outputs = [*own_outputs(video, task.is_json), *open_outputs(stack, task.receivers)]
        for step in track(frames, tracker, start):
            for send in outputs:
                send(step)
            status.add(step)


def make_tracker(bundle: "Bundle", choice: "Candidate", manner: Manner) -> "Tracker":
    """Load what was chosen, with a watch over the target where that is asked for."""
    tracker = make(bundle, choice, manner.mode, manner.opencv_models)
    return watched(tracker, bundle, choice, manner.reacquire, is_updated=manner.is_updated)
