"""Knowing when the target is gone: the state of a target, a search that widens, and finding it again."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np

from siamedge.runtime.geometry import Box, FloatArray, Image, Point, intersection_over_union
from siamedge.runtime.trackers import Tracker, TrackResult

State = Literal["present", "uncertain", "lost", "reacquired"]
FIRST_FRAMES = 3
"""So many frames after the start say what is usual."""
LEAST_USUAL = 2.0
"""Log-odds above the floor; a target that never scores higher is judged as if it did."""
FLOOR_PLACES = 6


class Sighting(NamedTuple):
    """The best place of one search crop.

    Attributes:
        box: In pixels of the frame.
        score: Raw score there, 0..1, before any window or penalty.
    """

    box: Box
    score: float


class Searcher(Tracker, Protocol):
    """A tracker that can also look elsewhere without moving."""

    def look(self, frame: Image, around: Box) -> Sighting:
        """Find the best match in the search crop around a box; the tracker's own place stays."""

    def signature(self, frame: Image, box: Box) -> FloatArray:
        """How the network sees a box: a vector of length 1; cosines compare them."""

    def place(self, box: Box) -> None:
        """Go on from this box."""


@dataclass(frozen=True, slots=True)
class PresenceParams:
    """When a target counts as gone, and how it is searched.

    All evidence is relative to the same target's level at its start: log-odds of the raw score divided by their usual
    value, and cosine to the first template divided by its usual value. So one set serves all networks and precisions.

    Attributes:
        offset: Of the logistic that turns relative log-odds into a probability; fitted on pairs of crops.
        slope: The same.
        uncertain_below: Probability under which the state is uncertain.
        lost_below: Probability under which, for lost_frames, the target is lost, if its likeness is low too.
        lost_frames: See there.
        unlike_below: Relative likeness under which a box is not the target.
        found_above: Relative log-odds that a place must have to be taken for the target again.
        sure_above: Relative log-odds of frames whose look is remembered beside the first template.
        look_every: Frames between two such looks, >= 1; each costs one run of the template graph.
        smoothing: Share of the newest frame in the probability.
        learning: Share of the newest confident frame in the usual level.
        looks_a_frame: Search crops a frame while lost, >= 1: the budget.
        widen_every: Frames after which the search gets one ring wider.
        max_rings: Widest search; a ring is one step_share of the search crop's side.
        step_share: Distance between the places of the search, as a share of the search crop's side.

    Source: offset and slope by logistic regression on 542 pairs of each kind (the same object later, another scene)
        from the training tracks; benchmarks/presence_fit.py.
    """

    offset: float = -4.55
    slope: float = 10.17
    uncertain_below: float = 0.6
    lost_below: float = 0.2
    lost_frames: int = 4
    unlike_below: float = 0.75
    found_above: float = 0.5
    sure_above: float = 0.7
    look_every: int = 4
    smoothing: float = 0.5
    learning: float = 0.05
    looks_a_frame: int = 2
    widen_every: int = 20
    max_rings: int = 3
    step_share: float = 0.45


class PresenceTracker:
    """A tracker that says present, uncertain, lost and reacquired, and searches while the target is lost.

    While it is lost, the box stays where the target was seen last with confidence. Nothing is ever learnt from later
    frames but the usual level of the score, so that no occluder can become the target.

    Attributes:
        state: After the last frame.
        probability: That the target is in the box, 0..1, of the last frame.
    """

    def __init__(self, tracker: Searcher, params: PresenceParams | None = None) -> None:
        self._tracker, self._params = tracker, params or PresenceParams()
        self.state: State = "present"
        self.probability = 1.0
        self._level = Level(self._params.learning, np.ones(1, np.float32))
        self._safe_box = Box(0, 0, 1, 1)
        self._doubtful_frames = self._lost_for = self._frames_since_look = 0
        self._candidate: Box | None = None
        self._places: Iterator[Box] = iter(())

    def init(self, frame: Image, box: Box) -> None:
        """Take the target to follow from a frame.

        Raises:
            SourceError: The box is empty or has no part inside the frame.
        """
        self._tracker.init(frame, box)
        floor = floor_around(self._tracker, frame, box, self._params.step_share)
        self._level = Level(self._params.learning, self._tracker.signature(frame, box), floor)
        self.state, self.probability = "present", 1.0
        self._safe_box, self._doubtful_frames, self._candidate = box, 0, None

    def update(self, frame: Image) -> TrackResult:
        """Find the target in the next frame, or search it while it is lost."""
        return self._search(frame) if self.state == "lost" else self._follow(frame)

    def _follow(self, frame: Image) -> TrackResult:
        params, result = self._params, self._tracker.update(frame)
        if self._level.is_new:
            self._level.start(result.score, self._tracker.signature(frame, result.box))
        relative = self._level.relative(result.score)
        self.probability += params.smoothing * (self._probability_of(relative) - self.probability)
        if self.probability >= params.uncertain_below:
            self.state, self._safe_box, self._doubtful_frames = "present", result.box, 0
            self._level.learn(result.score)
            self._refresh(frame, result)
            return result._replace(lost=False)
        self.state = "uncertain"
        is_gone = self.probability < params.lost_below and self._is_unlike(frame, result.box)
        self._doubtful_frames = self._doubtful_frames + 1 if is_gone else 0
        return self._lose(result) if self._doubtful_frames >= params.lost_frames else result._replace(lost=False)

    def _refresh(self, frame: Image, result: TrackResult) -> None:
        """Remember now and then how the target looks, in frames where there is no doubt at all."""
        self._frames_since_look += 1
        is_sure = self._level.relative(result.score) >= self._params.sure_above
        if is_sure and self._frames_since_look >= self._params.look_every:
            self._level.remember(self._tracker.signature(frame, result.box))
            self._frames_since_look = 0

    def _lose(self, result: TrackResult) -> TrackResult:
        self.state, self._lost_for, self._candidate = "lost", 0, None
        self._places = iter(())
        return TrackResult(self._safe_box, result.score, lost=True)

    def _search(self, frame: Image) -> TrackResult:
        self._lost_for += 1
        best = Sighting(self._safe_box, 0.0)
        for place in self._next_places(frame):
            seen = self._tracker.look(frame, place)
            best = max(best, seen, key=lambda sighting: sighting.score)
        self.probability = self._probability_of(self._level.relative(best.score))
        if self._level.relative(best.score) < self._params.found_above or self._is_unlike(frame, best.box):
            self._candidate = None
            return TrackResult(self._safe_box, best.score, lost=True)
        if self._candidate is None:
            self._candidate = best.box
            return TrackResult(self._safe_box, best.score, lost=True)
        return self._find(best)

    def _find(self, seen: Sighting) -> TrackResult:
        self._tracker.place(seen.box)
        self.state, self.probability, self._doubtful_frames = "reacquired", self._params.uncertain_below, 0
        self._safe_box, self._candidate = seen.box, None
        return TrackResult(seen.box, seen.score, lost=False)

    def _next_places(self, frame: Image) -> list[Box]:
        """Where to look in this frame: at a candidate alone, else where the target was seen last and further out."""
        if self._candidate is not None:
            return [self._candidate]
        found = [self._safe_box]
        rings = min(self._params.max_rings, 1 + self._lost_for // self._params.widen_every)
        while len(found) < self._params.looks_a_frame:
            place = next(self._places, None)
            if place is None:
                self._places = iter(ring_places(self._safe_box, rings, self._params.step_share, frame))
                place = next(self._places, self._safe_box)
            found.append(place)
        return found

    def _probability_of(self, relative: float) -> float:
        return 1 / (1 + math.exp(-(self._params.offset + self._params.slope * relative)))

    def _is_unlike(self, frame: Image, box: Box) -> bool:
        return self._level.likeness_of(self._tracker.signature(frame, box)) < self._params.unlike_below


class Level:
    """What is usual for this target and network: the best of its first frames, then followed slowly.

    Args:
        learning: Share of the newest value.
        first: Signature of the first template, which is never replaced.
        floor: Log-odds that this network gives to what is not the target, <= 0.
    """

    def __init__(self, learning: float, first: FloatArray, floor: float = 0.0) -> None:
        self._learning, self._frames, self._floor = learning, 0, floor
        self._usual, self._usual_likeness = floor + LEAST_USUAL, 0.0
        self._first = self._recent = first

    @property
    def is_new(self) -> bool:
        """The first frames are not complete."""
        return self._frames < FIRST_FRAMES

    def start(self, score: float, signature: FloatArray) -> None:
        """Take one of the first frames."""
        self._frames += 1
        self._usual = max(self._usual, log_odds(score))
        self._usual_likeness = max(self._usual_likeness, self._cosine(signature))

    def relative(self, score: float) -> float:
        """Log-odds of a score from the floor to their usual value: about 1 for the target, about 0 for the rest."""
        return min(2.0, max(-1.0, (log_odds(score) - self._floor) / (self._usual - self._floor)))

    def likeness_of(self, signature: FloatArray) -> float:
        """Cosine to the first template, or to the last sure look if that is nearer, divided by its usual value."""
        return self._cosine(signature) / max(self._usual_likeness, 0.1)

    def learn(self, score: float) -> None:
        """Follow slowly what score is usual."""
        moved = self._usual + self._learning * (log_odds(score) - self._usual)
        self._usual = max(self._floor + LEAST_USUAL, moved)

    def remember(self, signature: FloatArray) -> None:
        """Take a sure look as the recent one."""
        self._usual_likeness += 4 * self._learning * (self._cosine(signature) - self._usual_likeness)
        self._recent = signature

    def _cosine(self, signature: FloatArray) -> float:
        return max(float(signature @ self._first), float(signature @ self._recent))


def floor_around(tracker: Searcher, frame: Image, box: Box, step_share: float) -> float:
    """The log-odds that a network gives to the scene beside its target: the middle of a few places, at most 0."""
    places = ring_places(box, 2, step_share, frame)
    seen = [tracker.look(frame, place) for place in places[:: max(1, len(places) // FLOOR_PLACES)]]
    beside = [log_odds(s.score) for s in seen if intersection_over_union(s.box, box) < 0.1]
    return min(0.0, float(np.median(beside))) if beside else 0.0


def log_odds(score: float) -> float:
    """Log of score / (1 - score), bounded where float32 ends."""
    bounded = min(max(score, 1e-7), 1 - 1e-7)
    return math.log(bounded / (1 - bounded))


def ring_places(box: Box, rings: int, step_share: float, frame: Image) -> list[Box]:
    """Boxes of the same size around a box, ring by ring, their centres inside the frame.

    Args:
        box: In the middle.
        rings: Of 8, 16, 24 ... places.
        step_share: Distance of neighbours as a share of the search crop's side, which is about four boxes.
        frame: Its size bounds the places.
    """
    height, width = frame.shape[:2]
    step = step_share * 4 * math.sqrt(box.w * box.h)
    center = box.center
    cells = [(x, y) for x in range(-rings, rings + 1) for y in range(-rings, rings + 1) if (x, y) != (0, 0)]
    cells.sort(key=lambda cell: (max(map(abs, cell)), math.atan2(cell[1], cell[0])))
    points = [Point(center.x + x * step, center.y + y * step) for x, y in cells]
    inside = [p for p in points if 0 <= p.x <= width and 0 <= p.y <= height]
    return [Box.around(point, box.w, box.h) for point in inside]
