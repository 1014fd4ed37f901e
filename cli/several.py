"""`siamedge track` with several --init: targets that share one loaded network."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from siamedge.cli.progress import Status
    from siamedge.runtime.bundles.bundle import Bundle
    from siamedge.runtime.bundles.picking import Candidate
    from siamedge.runtime.geometry import Box
    from siamedge.runtime.sources.source import FrameSource


class Outputs(NamedTuple):
    """Where results go: a video with all boxes, and lines of JSON on standard output."""

    video: Path | None
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
    from siamedge.runtime.outputs.video import VideoWriter

    make = TrackerMaker(bundle, choice, default_cache())
    with ExitStack() as stack:
        writer = stack.enter_context(VideoWriter(outputs.video, frames.fps)) if outputs.video else None
        for steps in track_several(frames, [make() for _ in boxes], boxes):
            if outputs.is_json:
                sys.stdout.writelines(f"{as_json_line(step, number)}\n" for number, step in enumerate(steps, start=1))
                sys.stdout.flush()
            if writer is not None:
                writer.write(draw_targets(steps))
            status.add(steps[0]._replace(timing=steps[-1].timing))
