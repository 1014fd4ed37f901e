"""`siamedge track` with several --init: targets that share one loaded network."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from siamedge.cli.progress import Status
    from siamedge.runtime.bundles.bundle import Bundle
    from siamedge.runtime.bundles.picking import Candidate
    from siamedge.runtime.geometry import Box
    from siamedge.runtime.outputs.video import VideoWriter
    from siamedge.runtime.sources.source import FrameSource


class Outputs(NamedTuple):
    """Where results go: an open video with all boxes, and lines of JSON on standard output."""

    video: "VideoWriter | None"
    is_json: bool


def follow_several(
    bundle: "Bundle",
    choice: "Candidate",
    frames: "FrameSource",
    boxes: "Sequence[Box]",
    status: "Status",
    outputs: Outputs,
) -> None:
    """Follow every target through a source; JSON has a line a target, numbered from 1, the video all boxes."""
    from siamedge.runtime.backends.cache import default_cache
    from siamedge.runtime.bundles.picking import TrackerMaker
    from siamedge.runtime.loop import as_json_line, track_several
    from siamedge.runtime.outputs.overlay import draw_targets
    from siamedge.runtime.outputs.video import time_in_video

    make = TrackerMaker(bundle, choice, default_cache())
    for steps in track_several(frames, [make() for _ in boxes], boxes):
        if outputs.is_json:
            sys.stdout.writelines(f"{as_json_line(step, number)}\n" for number, step in enumerate(steps, start=1))
            sys.stdout.flush()
        if outputs.video is not None:
            outputs.video.write(draw_targets(steps), time_in_video(steps[0].frame))
        status.add(*steps)
