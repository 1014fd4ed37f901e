"""The loop: frames in, one box a frame out, with its state and latency."""

import json
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.sources.source import Frame, FrameSource, SourceEvent
from siamedge.runtime.tracking.presence import PresenceTracker, State
from siamedge.runtime.tracking.trackers import Tracker, TrackResult, check_init


class Timing(NamedTuple):
    """How long one frame took.

    Attributes:
        latency_ms: From capture to box for a live source; for a recording from the frame being read to its box.
        tracker_ms: Inside the tracker.
    """

    latency_ms: float
    tracker_ms: float


class Step(NamedTuple):
    """One tracked frame.

    Attributes:
        frame: The picture.
        result: Where the target is.
        state: present; uncertain: the score is low; lost: the box is the last one known; reacquired: present in the
            first frame after lost.
        timing: What it cost.
    """

    frame: Frame
    result: TrackResult
    state: State
    timing: Timing


def track(source: FrameSource, tracker: Tracker, init: Box) -> Iterator[Step]:
    """Follow a target from the first frame of a source to its end.

    A frame of another size than the first is followed in the first one's pixels; its box is in its own pixels.

    Args:
        source: An open source.
        tracker: Any tracker; it is initialised here.
        init: The target in the first frame, pixels, 0-based.

    Returns:
        One step a frame; the first frame's box is init and its score 1.

    Raises:
        SourceError: The source has no frames, or init is not inside its first one.
    """
    frames = iter(source)
    first = next(frames, None)
    if first is None:
        raise SourceError("the source has no frames")
    check_init(first.image, init)
    height, width = first.image.shape[:2]
    read_s = time.monotonic()
    tracker.init(first.image, init)
    yield Step(first, TrackResult(init, 1.0, lost=False), "present", timing_of(first, read_s))
    previous: State = "present"
    for frame in frames:
        read_s = time.monotonic()
        result = update_at_size(tracker, frame.image, (width, height))
        previous = tracker.state if isinstance(tracker, PresenceTracker) else state_of(result, previous)
        yield Step(frame, result, previous, timing_of(frame, read_s))


def track_several(source: FrameSource, trackers: Sequence[Tracker], inits: Sequence[Box]) -> Iterator[tuple[Step, ...]]:
    """Follow several targets from the first frame of a source to its end, one after the other in each frame.

    Args:
        source: An open source.
        trackers: One a target; they may share their sessions.
        inits: The targets in the first frame, pixels, 0-based, as many as trackers.

    Returns:
        For each frame one step a target, in their order; the time of a step is from the frame to that target's box.

    Raises:
        SourceError: The source has no frames, or an init is not inside its first one.
    """
    frames = iter(source)
    first = next(frames, None)
    if first is None:
        raise SourceError("the source has no frames")
    for init in inits:
        check_init(first.image, init)
    height, width = first.image.shape[:2]
    read_s = time.monotonic()
    for tracker, init in zip(trackers, inits, strict=True):
        tracker.init(first.image, init)
    timing = timing_of(first, read_s)
    yield tuple(Step(first, TrackResult(init, 1.0, lost=False), "present", timing) for init in inits)
    states: list[State] = ["present"] * len(inits)
    for frame in frames:
        read_s = time.monotonic()
        steps = []
        for index, tracker in enumerate(trackers):
            result = update_at_size(tracker, frame.image, (width, height))
            states[index] = state_of(result, states[index])
            steps.append(Step(frame, result, states[index], timing_of(frame, read_s)))
        yield tuple(steps)


def update_at_size(tracker: Tracker, image: Image, size: tuple[int, int]) -> TrackResult:
    """Update a tracker whose first frame had a size with one that may have another.

    A camera that changes its resolution shows the same view with other pixels: the frame is brought to the first
    one's size, where the tracker's position holds, and the box is scaled back to the frame as it came.

    Args:
        tracker: An initialised tracker.
        image: The new frame.
        size: (width, height) of the frame with which it was initialised.
    """
    height, width = image.shape[:2]
    if (width, height) == size:
        return tracker.update(image)
    result = tracker.update(np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8))
    across, down = width / size[0], height / size[1]
    box = Box(result.box.x * across, result.box.y * down, result.box.w * across, result.box.h * down)
    return result._replace(box=box)


def state_of(result: TrackResult, previous: State) -> State:
    """The state of a target from the tracker's verdict and the state one frame ago."""
    if result.lost:
        return "lost"
    return "reacquired" if previous == "lost" else "present"


def timing_of(frame: Frame, read_s: float) -> Timing:
    """Times of a frame whose tracking began at read_s and ends now."""
    now_s = time.monotonic()
    start_s = read_s if frame.captured_s is None else frame.captured_s
    return Timing(1000 * (now_s - start_s), 1000 * (now_s - read_s))


def as_json_line(step: Step, target: int | None = None) -> str:
    """One line of JSON, without the line end; numbers in full precision, so that reading it gives equal floats.

    Args:
        step: The tracked frame.
        target: The target's number, where there are several.
    """
    return json.dumps(
        {
            **({} if target is None else {"target": target}),
            "frame": step.frame.index,
            "time_s": step.frame.time_s,
            "box": [float(side) for side in step.result.box],
            "score": float(step.result.score),
            "state": step.state,
            "latency_ms": step.timing.latency_ms,
        },
        allow_nan=False,
    )


def as_event_line(event: SourceEvent) -> str:
    """One line of JSON for what happened to the source; it has the key "event", which frames have not."""
    return json.dumps({"event": event.kind, "time_s": event.time_s, "detail": event.detail}, allow_nan=False)
