"""Training tracks from unlabelled video: a teacher follows what moves, and is believed where its way back agrees."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from siamedge.runtime.geometry import Box, Image, intersection_over_union
from siamedge.runtime.sources.source import open_source
from siamedge.runtime.tensors import Array
from siamedge.runtime.tracking.crops import context_side
from siamedge.runtime.tracking.trackers import Tracker
from siamedge.training.crops.harvested import CropWriter, Sighting
from siamedge.training.crops.motion import moving_boxes, split_shots

_PATCH_PX = 24
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HarvestParams:
    """What is looked for and what is believed.

    Attributes:
        longest_side_px: Frames are reduced to it.
        longest_clip: Frames that are read of a clip at most; of a longer one the rest is not seen.
        restart_every: Frames from one search for targets to the next.
        shortest, longest: Frames of a track.
        stretch: Frames after which the teacher's way is checked by going back.
        targets: Tracks from one clip at most.
        crops: Crops from one track at most, spread evenly over it.
        min_score: Lowest score on both ways.
        min_overlap: Intersection over union of the boxes of both ways.
        min_agreement: Share of a stretch in which both ways agree; below it the track ends before the stretch.
        min_return: Overlap of a stretch's first box with the box that the way back ends on.
        min_shift: A target that shifts by less (in sides of its context square) ...
        min_growth: ... and whose size and aspect change by less than this factor ...
        max_likeness: ... and whose look correlates more with its first look is still, and dropped.
        min_continuity: Correlation of the look in neighbouring frames; at a lower one the track is cut.
        min_side_px: Shorter side of a box.
    """

    longest_side_px: int = 640
    longest_clip: int = 260
    restart_every: int = 40
    shortest: int = 14
    longest: int = 121
    stretch: int = 40
    targets: int = 7
    crops: int = 24
    min_score: float = 0.5
    min_overlap: float = 0.6
    min_agreement: float = 0.7
    min_return: float = 0.5
    min_shift: float = 0.5
    min_growth: float = 1.3
    max_likeness: float = 0.6
    min_continuity: float = 0.2
    min_side_px: float = 10.0


DEFAULTS = HarvestParams()


@dataclass(frozen=True, slots=True)
class HarvestResult:
    """What was written: clips that gave anything, their tracks and crops."""

    clips: int
    tracks: int
    crops: int


TrackerFactory = Callable[[], Tracker]
Proposer = Callable[[Sequence[Image], int], list[Box]]
"""Likely targets in one frame of a shot, best first."""


def harvest(
    videos: Sequence[str],
    tracker_factory: TrackerFactory,
    out: Path,
    *,
    source: str = "harvest",
    params: HarvestParams = DEFAULTS,
    propose: Proposer | None = None,
) -> HarvestResult:
    """Collect tracks from videos as crops that `CropStore` reads.

    Args:
        videos: Addresses as `open_source` takes them; each names its tracks.
        tracker_factory: Makes the teacher.
        out: Folder; crops are added to those that it holds already, a row only after its picture.
        source: Value of the rows' `source`.
        params: What is believed.
        propose: Finds start boxes; None takes `moving_boxes`.

    Raises:
        SourceError: A video cannot be read.
    """
    writer = CropWriter(out, source)
    fruitful = tracks = crops = 0
    for video in videos:
        frames = read_clip(video, params)
        found = list(find_tracks(frames, tracker_factory, params, propose or moving_boxes))
        written = sum(writer.add(f"{video}#{k}", frames, track, params.crops) for k, track in enumerate(found))
        fruitful, tracks, crops = fruitful + bool(found), tracks + len(found), crops + written
        _log.info("%s: %d frames, %d tracks, %d crops", video, len(frames), len(found), written)
    return HarvestResult(fruitful, tracks, crops)


def read_clip(video: str, params: HarvestParams) -> list[Image]:
    """The first frames of a video, reduced to the size of the parameters."""
    frames: list[Image] = []
    with open_source(video) as opened:
        for frame in opened:
            frames.append(_reduced(frame.image, params.longest_side_px))
            if len(frames) >= params.longest_clip:
                break
    return frames


def _reduced(image: Image, longest_side_px: int) -> Image:
    scale = longest_side_px / max(image.shape[:2])
    if scale >= 1:
        return image.copy()
    return cast(Image, cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))


def find_tracks(
    frames: Sequence[Image], tracker_factory: TrackerFactory, params: HarvestParams, propose: Proposer
) -> Iterator[list[Sighting]]:
    """Follow what is proposed, in every shot anew, and give the tracks that hold."""
    found: list[list[Sighting]] = []
    for shot in split_shots(frames):
        for start in range(shot.start + 1, shot.stop - params.shortest, params.restart_every):
            local = frames[shot.start : shot.stop]
            for box in propose(local, start - shot.start):
                if len(found) >= params.targets:
                    return
                indices = range(start, min(shot.stop, start + params.longest))
                if _is_known(Sighting(start, box), found):
                    continue
                track = follow_both_ways(frames, indices, box, tracker_factory, params)
                if len(track) >= params.shortest and is_lively(frames, track, params):
                    found.append(track)
                    yield track


def _is_known(start: Sighting, tracks: Sequence[Sequence[Sighting]]) -> bool:
    return any(
        seen.frame == start.frame and intersection_over_union(seen.box, start.box) > 0.4
        for track in tracks
        for seen in track
    )


def follow_both_ways(
    frames: Sequence[Image], indices: range, box: Box, tracker_factory: TrackerFactory, params: HarvestParams
) -> list[Sighting]:
    """Track forward, stretch by stretch, for as long as the way back over each stretch confirms it.

    Returns:
        Sightings with the mean box of both ways, frames in which they disagree left out; none where the first stretch
        is not confirmed.
    """
    teacher = tracker_factory()
    teacher.init(frames[indices[0]], box)
    track, last = [Sighting(indices[0], box)], box
    for start in range(0, len(indices) - 1, params.stretch):
        there = advance(teacher, frames, indices[start + 1 : start + 1 + params.stretch], params.min_score)
        passed = indices[start : start + 1 + len(there)]
        confirmed = _confirmed(frames, passed, [last, *there], tracker_factory(), params)
        track += confirmed
        if not confirmed or len(there) < params.stretch:
            break
        last = there[-1]
    return without_jumps(frames, track, params) if len(track) > 1 else []


def advance(tracker: Tracker, frames: Sequence[Image], indices: range, min_score: float) -> list[Box]:
    """Boxes in the frames that come next, until the score falls."""
    boxes: list[Box] = []
    for index in indices:
        result = tracker.update(frames[index])
        if result.lost or result.score < min_score:
            break
        boxes.append(result.box)
    return boxes


def _confirmed(
    frames: Sequence[Image], indices: range, there: Sequence[Box], tracker: Tracker, params: HarvestParams
) -> list[Sighting]:
    """What the way back over a stretch confirms; the stretch's first box, which is known already, is not given."""
    if len(there) < 2:
        return []
    tracker.init(frames[indices[-1]], there[-1])
    back = [there[-1], *advance(tracker, frames, indices[:-1][::-1], params.min_score)][::-1]
    if len(back) < len(there) or intersection_over_union(back[0], there[0]) < params.min_return:
        return []
    agreed = [
        Sighting(index, Box(*((p + q) / 2 for p, q in zip(one, other, strict=True))))
        for index, one, other in zip(indices[1:], there[1:], back[1:], strict=True)
        if intersection_over_union(one, other) > params.min_overlap and min(one.w, one.h) >= params.min_side_px
    ]
    return agreed if len(agreed) >= params.min_agreement * (len(there) - 1) else []


def without_jumps(frames: Sequence[Image], track: Sequence[Sighting], params: HarvestParams) -> list[Sighting]:
    """The track up to where the target's look changes from one frame to the next: there it is another target."""
    kept: list[Sighting] = []
    last = None
    for seen in track:
        patch = _patch(frames[seen.frame], seen.box)
        is_next = bool(kept) and seen.frame - kept[-1].frame <= 2
        if last is not None and is_next and float((patch * last).mean()) < params.min_continuity:
            break
        kept.append(seen)
        last = patch
    return kept


def is_lively(frames: Sequence[Image], track: Sequence[Sighting], params: HarvestParams) -> bool:
    """Whether there is anything to learn: the target shifts, grows, turns or changes its look."""
    boxes = np.array([seen.box for seen in track])
    centers, sizes = boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]
    sides = [context_side(w, h, 0.5) for w, h in sizes.tolist()]
    area, aspect = np.sqrt(sizes.prod(axis=1)), sizes[:, 0] / sizes[:, 1]
    looks = [_patch(frames[seen.frame], seen.box) for seen in track[:: max(1, len(track) // 8)]]
    likeness = float(np.mean([(looks[0] * look).mean() for look in looks[1:]]))
    return bool(
        np.ptp(centers, axis=0).max() >= params.min_shift * np.median(sides)
        or area.max() >= params.min_growth * area.min()
        or aspect.max() >= params.min_growth * aspect.min()
        or likeness <= params.max_likeness
    )


def _patch(frame: Image, box: Box) -> Array:
    """The box's content, grey, tiny, with mean 0 and deviation 1: the mean product of two is their correlation."""
    height, width = frame.shape[:2]
    x, y = min(max(0, round(box.x)), width - 2), min(max(0, round(box.y)), height - 2)
    inside = frame[y : max(y + 2, round(box.y + box.h)), x : max(x + 2, round(box.x + box.w))]
    small = cv2.resize(inside, (_PATCH_PX, _PATCH_PX), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32)
    return np.asarray((grey - grey.mean()) / (grey.std() + 4))
