"""Knowing when the target is gone: the state of a target, a search that widens, and finding it again."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np

from siamedge.runtime.evidence import UNFITTED, Evidence, PresenceFit, probability_of
from siamedge.runtime.geometry import Box, FloatArray, Image, intersection_over_union
from siamedge.runtime.search_places import ring_places, tile_places
from siamedge.runtime.trackers import Tracker, TrackResult

State = Literal["present", "uncertain", "lost", "reacquired"]

BREAK_FRAMES = 15
"""So long after a sudden change weak evidence means that the target went with it."""


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

    def blend(self, frame: Image, box: Box, share: float) -> None:
        """Search for the first template with so much of a newer look of the target, 0..1, mixed in."""


@dataclass(frozen=True, slots=True)
class PresenceParams:
    """When a target counts as gone, and how it is searched; evidence is as in PresenceFit.

    Attributes:
        frames: So many frames' evidence is averaged, >= 1.
        uncertain_below: Mean evidence under which the state is uncertain.
        lost_below: Mean evidence under which the target is lost, if what is in the box changed at once.
        patience: So many frames of such evidence are needed if it did not: a target that turns is weak for a while.
        sure_above: Evidence of a frame whose box is kept as the last certain place.
        found_above: Evidence that a place which looks like the first template must have to be the target again.
        same_found_above: The same for a place that looks as the target did just before it went.
        looks_a_frame: Search crops a frame while lost, >= 2: the budget.
        widen_every: Frames after which the search gets one ring wider.
        max_rings: Widest search; a ring is one step_share of the search crop's side.
        step_share: Distance between the places of the search, as a share of the search crop's side.
        is_whole_frame: One of the looks of a frame goes to the next tile of the whole frame.
        update_after: After so many certain frames in a row a new look is mixed into the template; None: never.
        update_share: Share of the new look; the first template keeps the rest.
        certain_above: Evidence of a certain frame.
    """

    frames: int = 5
    uncertain_below: float = 0.0
    lost_below: float = -2.5
    patience: int = 45
    sure_above: float = 1.0
    found_above: float = 0.5
    same_found_above: float = -1.0
    looks_a_frame: int = 3
    widen_every: int = 20
    max_rings: int = 3
    step_share: float = 0.45
    is_whole_frame: bool = False
    update_after: int | None = None
    update_share: float = 0.3
    certain_above: float = 2.0


class PresenceTracker:
    """A tracker that says present, uncertain, lost and reacquired, and searches while the target is lost.

    While it is lost, the box stays where the target was seen last with certainty. No occluder can become the target:
    what is found again must look like the first template, which is never replaced, or as the target did just before it
    went.

    Args:
        tracker: Follows and looks.
        fit: Of its search artifact.
        params: See there.

    Attributes:
        state: After the last frame.
        probability: That the target is in the box, 0..1, of the last frame.
    """

    def __init__(self, tracker: Searcher, fit: PresenceFit | None = None, params: PresenceParams | None = None) -> None:
        self._tracker, self._fit, self._params = tracker, fit or UNFITTED, params or PresenceParams()
        self.state: State = "present"
        self.probability = 1.0
        self._evidence = Evidence(self._fit, self._params.frames)
        self._look = Look(tracker, self._fit)
        self._safe_box = Box(0, 0, 1, 1)
        self._lost_for = self._certain_for = self._weak_for = 0
        self._candidate: Box | None = None
        self._near: Iterator[Box] = iter(())
        self._tiles: Iterator[Box] = iter(())

    def init(self, frame: Image, box: Box) -> None:
        """Take the target to follow from a frame.

        Raises:
            SourceError: The box is empty or has no part inside the frame.
        """
        self._tracker.init(frame, box)
        self._look.init(frame, box)
        self._evidence = Evidence(self._fit, self._params.frames)
        self.state, self.probability = "present", 1.0
        self._safe_box, self._certain_for, self._weak_for, self._candidate = box, 0, 0, None

    def update(self, frame: Image) -> TrackResult:
        """Find the target in the next frame, or search it while it is lost."""
        return self._search(frame) if self.state == "lost" else self._follow(frame)

    def _follow(self, frame: Image) -> TrackResult:
        params, result = self._params, self._tracker.update(frame)
        if self._evidence.is_new:
            self._look.start(frame, result.box)
        found = self._evidence.add(result.score)
        self.probability = probability_of(found)
        is_sure = found >= params.sure_above
        self._look.follow(frame, result.box, is_sure=is_sure)
        if is_sure:
            self._safe_box = result.box
        self._refresh(frame, result.box, found)
        mean = self._evidence.mean
        self._weak_for = self._weak_for + 1 if self._evidence.is_full and mean < params.lost_below else 0
        if self._weak_for >= (1 if self._look.is_broken else params.patience):
            return self._lose(result)
        self.state = "present" if mean >= params.uncertain_below else "uncertain"
        return result._replace(lost=False)

    def _refresh(self, frame: Image, box: Box, found: float) -> None:
        """After long certain presence, mix a look that is like the first template into what is searched for."""
        params = self._params
        self._certain_for = self._certain_for + 1 if found >= params.certain_above else 0
        if params.update_after is None or self._certain_for < params.update_after:
            return
        self._certain_for = 0
        if self._look.is_first(frame, box):
            self._tracker.blend(frame, box, params.update_share)

    def _lose(self, result: TrackResult) -> TrackResult:
        self.state, self._candidate = "lost", None
        self._lost_for = self._certain_for = self._weak_for = 0
        self._near, self._tiles = iter(()), iter(())
        return TrackResult(self._safe_box, result.score, lost=True)

    def _search(self, frame: Image) -> TrackResult:
        self._lost_for += 1
        best = max((self._tracker.look(frame, place) for place in self._places(frame)), key=lambda seen: seen.score)
        found = self._evidence.of(best.score)
        self.probability = probability_of(found)
        is_target = found >= self._params.same_found_above and found >= self._needed(frame, best.box)
        if is_target and self._candidate and intersection_over_union(best.box, self._candidate) > 0:
            return self._find(frame, best)
        self._candidate = best.box if is_target else None
        return TrackResult(self._safe_box, best.score, lost=True)

    def _needed(self, frame: Image, box: Box) -> float:
        """The evidence that a place needs: less where it looks as the target did just before it went."""
        kind = self._look.compare(frame, box)
        return {"same": self._params.same_found_above, "alike": self._params.found_above, "other": math.inf}[kind]

    def _find(self, frame: Image, seen: Sighting) -> TrackResult:
        self._tracker.place(seen.box)
        self._evidence.restart()
        self._look.follow(frame, seen.box, is_sure=True)
        self.state, self._safe_box, self._candidate = "reacquired", seen.box, None
        return TrackResult(seen.box, seen.score, lost=False)

    def _places(self, frame: Image) -> list[Box]:
        """Where to look in this frame: at a candidate alone, else where the target was seen last and further out."""
        if self._candidate is not None:
            return [self._candidate]
        tiles = [self._next_tile(frame)] if self._params.is_whole_frame else []
        near = self._params.looks_a_frame - 1 - len(tiles)
        return [self._safe_box, *tiles, *(self._next_near(frame) for _ in range(near))]

    def _next_near(self, frame: Image) -> Box:
        if (place := next(self._near, None)) is not None:
            return place
        params = self._params
        rings = min(params.max_rings, 1 + self._lost_for // params.widen_every)
        self._near = iter(ring_places(self._safe_box, rings, params.step_share, frame))
        return next(self._near, self._safe_box)

    def _next_tile(self, frame: Image) -> Box:
        if (place := next(self._tiles, None)) is not None:
            return place
        self._tiles = iter(tile_places(self._safe_box, self._params.step_share, frame))
        return next(self._tiles, self._safe_box)


class Look:
    """What is in the box, as the network sees it: like the first template, like a frame ago, or neither.

    Args:
        tracker: Gives signatures.
        fit: Says how alike looks of one target are.

    Attributes:
        is_broken: In the last BREAK_FRAMES what is in the box became another thing from one frame to the next, and no
            frame was sure since.
    """

    def __init__(self, tracker: Searcher, fit: PresenceFit) -> None:
        self._tracker, self._fit, self._broken_for = tracker, fit, 0
        self._first = self._last = self._gone = np.ones(1, np.float32)
        self._usual, self._previous = 0.1, (np.zeros((1, 1, 3), np.uint8), Box(0, 0, 1, 1))
        self._is_stale = False

    def init(self, frame: Image, box: Box) -> None:
        """Take the first template."""
        self._first = self._last = self._gone = self._tracker.signature(frame, box)
        self._usual, self._previous = 0.1, (frame, box)
        self._broken_for, self._is_stale = 0, False

    @property
    def is_broken(self) -> bool:
        """See there."""
        return self._broken_for > 0

    def start(self, frame: Image, box: Box) -> None:
        """Take one of the first frames, which say how alike the target's looks are to the first template."""
        self._usual = max(self._usual, float(self._tracker.signature(frame, box) @ self._first))

    def follow(self, frame: Image, box: Box, *, is_sure: bool) -> None:
        """Compare with one frame ago; sure frames cost nothing, they are looked at only when doubt follows them."""
        if is_sure:
            self._broken_for, self._is_stale = 0, True
        else:
            if self._is_stale:
                self._last = self._gone = self._tracker.signature(*self._previous)
            newest = self._tracker.signature(frame, box)
            is_break = float(newest @ self._last) < self._fit.same_above
            if is_break and not self.is_broken:
                self._gone = self._last
            self._broken_for = BREAK_FRAMES if is_break else max(0, self._broken_for - 1)
            self._last, self._is_stale = newest, False
        self._previous = frame, box

    def is_first(self, frame: Image, box: Box) -> bool:
        """Whether a box looks like the first template."""
        return float(self._tracker.signature(frame, box) @ self._first) >= self._fit.alike_above * self._usual

    def compare(self, frame: Image, box: Box) -> Literal["same", "alike", "other"]:
        """How a box looks: as the target did just before it went, at least like the first template, or otherwise."""
        seen = self._tracker.signature(frame, box)
        if float(seen @ self._gone) >= self._fit.same_above:
            return "same"
        return "alike" if float(seen @ self._first) >= self._fit.alike_above * self._usual else "other"
