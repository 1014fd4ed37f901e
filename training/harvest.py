"""Training tracks from unlabelled video: a teacher follows what moves, and is believed where its way back agrees."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, cast

import cv2
import numpy as np

from siamedge.runtime.crops import context_side, mean_color
from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Box, Image, intersection_over_union
from siamedge.runtime.sources import open_source
from siamedge.runtime.tensors import Array
from siamedge.runtime.trackers import Tracker
from siamedge.training.crops import CONTEXT_PX, CROP_PX

_THUMB = (64, 48)
_FLOW_WIDTH_PX = 320
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


class Sighting(NamedTuple):
    """The target in one frame of a clip; `frame` is its number in the clip."""

    frame: int
    box: Box


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


def split_shots(frames: Sequence[Image]) -> list[range]:
    """Cut a clip where colours and pixels change at once."""
    thumbs = [np.asarray(cv2.resize(frame, _THUMB, interpolation=cv2.INTER_AREA)) for frame in frames]
    colors = [_color_histogram(thumb) for thumb in thumbs]
    cuts = [0]
    for k in range(1, len(frames)):
        moved = float(np.abs(thumbs[k].astype(np.float32) - thumbs[k - 1]).mean())
        recolored = 0.5 * float(np.abs(colors[k] - colors[k - 1]).sum())
        if (recolored > 0.35 and moved > 18) or moved > 55:
            cuts.append(k)
    return [range(a, b) for a, b in pairwise([*cuts, len(frames)])]


def _color_histogram(image: Array) -> Array:
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    counts = cv2.calcHist([hsv], [0, 1, 2], None, [8, 4, 4], [0, 180, 0, 256, 0, 256]).ravel()
    return np.asarray(counts / counts.sum())


def moving_boxes(frames: Sequence[Image], index: int, *, reach: int = 3, most: int = 3) -> list[Box]:
    """What moves against the background, whose own motion is taken out by a homography; largest first.

    Args:
        frames: One shot.
        index: The frame in question.
        reach: It is compared with the frames this far before and after it.
        most: Boxes at most.
    """
    neighbours = (max(0, index - reach), min(len(frames) - 1, index + reach))
    if index - neighbours[0] < 2 or neighbours[1] - index < 2:
        return []
    scale = _FLOW_WIDTH_PX / max(frames[index].shape[:2])
    middle = _grey(frames[index], scale)
    differences = [_unexplained(middle, _grey(frames[k], scale)) for k in neighbours]
    if any(difference is None for difference in differences):
        return []
    change = np.minimum.reduce([d for d in differences if d is not None])
    mask = (change > max(14.0, 3 * float(np.median(change)) + 8)).astype(np.uint8)
    closed = cv2.erode(cv2.dilate(mask, np.ones((9, 9), np.uint8)), np.ones((7, 7), np.uint8))
    if closed.mean() > 0.35:
        return []
    return [Box(*(side / scale for side in box)) for box in _blobs(np.asarray(closed))][:most]


def _grey(frame: Image, scale: float) -> Array:
    small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), (5, 5), 0))


def _unexplained(image: Array, other: Array) -> Array | None:
    """What differs after the other picture is laid over this one; None where they do not fit together."""
    here = cv2.goodFeaturesToTrack(image, 200, 0.01, 8)
    if here is None or len(here) < 12:
        return None
    there, status, _ = cv2.calcOpticalFlowPyrLK(image, other, here, np.empty_like(here))
    kept = status.ravel() > 0
    if kept.sum() < 12:
        return None
    warp, inliers = cv2.findHomography(there[kept], here[kept], cv2.RANSAC, 2.0)
    if warp is None or inliers.mean() < 0.35:
        return None
    size = (image.shape[1], image.shape[0])
    difference = cv2.absdiff(image, cv2.warpPerspective(other, warp, size))
    difference[cv2.warpPerspective(np.full_like(other, 255), warp, size) < 255] = 0
    return np.asarray(difference)


def _blobs(mask: Array) -> list[tuple[int, int, int, int]]:
    height, width = mask.shape
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
    kept = [
        (area, (x, y, w, h))
        for x, y, w, h, area in stats[1:].tolist()
        if min(w, h) >= 9 and 0.0015 < w * h / mask.size < 0.35 and area > 0.35 * w * h and max(w / h, h / w) < 4
        and x >= 2 and y >= 2 and x + w <= width - 2 and y + h <= height - 2
    ]  # fmt: skip
    return [box for _, box in sorted(kept, reverse=True)]


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


class CroppedTarget(NamedTuple):
    """A crop as `CropStore` reads it: the picture, the box and the part that is picture, both in crop pixels."""

    image: Image
    box: Box
    valid: tuple[float, float, float, float]


def crop_target(frame: Image, box: Box) -> CroppedTarget:
    """Cut the target out so that it is in the middle and its context square has the stores' size."""
    scale = CONTEXT_PX / context_side(box.w, box.h, 0.5)
    center, middle = box.center, CROP_PX / 2
    # OpenCV puts pixel centres at whole numbers; boxes here put them at halves.
    shift = [middle - scale * c + 0.5 * (scale - 1) for c in center]
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    source = cv2.GaussianBlur(frame, (0, 0), 0.4 / scale) if scale < 0.6 else frame
    image = cv2.warpAffine(source, matrix, (CROP_PX, CROP_PX), borderValue=mean_color(frame))
    height, width = frame.shape[:2]
    left, top = max(0.0, middle - scale * center.x), max(0.0, middle - scale * center.y)
    right = min(float(CROP_PX), middle + scale * (width - center.x))
    bottom = min(float(CROP_PX), middle + scale * (height - center.y))
    inner = Box(middle - scale * box.w / 2, middle - scale * box.h / 2, scale * box.w, scale * box.h)
    return CroppedTarget(np.asarray(image, np.uint8), inner, (left, top, right, bottom))


class CropWriter:
    """Adds crops to a folder; whoever reads it meanwhile sees only whole rows whose pictures are there.

    Args:
        out: Folder with annotations.jsonl and crops/; made if it is not there.
        source: Value of the rows' `source`.
    """

    def __init__(self, out: Path, source: str) -> None:
        self._out, self._source = out, source
        (out / "crops").mkdir(parents=True, exist_ok=True)
        numbers = [int(path.stem) for path in (out / "crops").glob("*.webp") if path.stem.isdecimal()]
        self._next = max(numbers, default=-1) + 1

    def add(self, track: str, frames: Sequence[Image], sightings: Sequence[Sighting], most: int) -> int:
        """Write crops of a track, spread evenly over it; returns how many."""
        chosen = sorted(set(np.linspace(0, len(sightings) - 1, most).round().astype(int).tolist()))
        for k in chosen:
            self._append(track, sightings[k].frame, crop_target(frames[sightings[k].frame], sightings[k].box))
        return len(chosen)

    def _append(self, track: str, frame: int, crop: CroppedTarget) -> None:
        name = f"crops/{self._next:06d}.webp"
        if not cv2.imwrite(str(self._out / name), crop.image, [cv2.IMWRITE_WEBP_QUALITY, 88]):
            raise SourceError(f"cannot write {self._out / name}", hint="check the disk's space and rights")
        row = {"image": name, "source": self._source, "cls": "moving", "track": track, "frame": frame}
        row |= {"box": [round(side, 2) for side in crop.box], "valid": [round(side, 1) for side in crop.valid]}
        with (self._out / "annotations.jsonl").open("a", encoding="utf-8") as rows:
            rows.write(json.dumps(row) + "\n")
        self._next += 1
