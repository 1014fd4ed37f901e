"""Knowing when the target is gone: the state of a target, a search that widens, and finding it again."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from siamedge.runtime.evidence import UNFITTED, Evidence, PresenceFit, probability_of
from siamedge.runtime.geometry import Box, FloatArray, Image, intersection_over_union
from siamedge.runtime.search_places import ring_places, tile_places
from siamedge.runtime.trackers import Tracker, TrackResult

State = Literal["present", "uncertain", "lost", "reacquired"]


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
        lost_below: Mean evidence under which the target is lost.
        sure_above: Evidence of a frame whose box is kept as the last certain place.
        found_above: Evidence that a place must have to be taken for the target again.
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
    lost_below: float = -3.0
    sure_above: float = 1.0
    found_above: float = 0.5
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
    what is found again must look like the first template, which is never replaced.

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
        self._look: Likeness | None = None
        self._safe_box = Box(0, 0, 1, 1)
        self._lost_for = self._certain_for = 0
        self._candidate: Box | None = None
        self._near: Iterator[Box] = iter(())
        self._tiles: Iterator[Box] = iter(())

    def init(self, frame: Image, box: Box) -> None:
        """Take the target to follow from a frame.

        Raises:
            SourceError: The box is empty or has no part inside the frame.
        """
        self._tracker.init(frame, box)
        self._look = Likeness(self._tracker.signature(frame, box))
        self._evidence = Evidence(self._fit, self._params.frames)
        self.state, self.probability = "present", 1.0
        self._safe_box, self._certain_for, self._candidate = box, 0, None

    def update(self, frame: Image) -> TrackResult:
        """Find the target in the next frame, or search it while it is lost."""
        return self._search(frame) if self.state == "lost" else self._follow(frame)

    def _follow(self, frame: Image) -> TrackResult:
        params, result = self._params, self._tracker.update(frame)
        if self._evidence.is_new and self._look is not None:
            self._look.start(self._tracker.signature(frame, result.box))
        found = self._evidence.add(result.score)
        self.probability = probability_of(found)
        if found >= params.sure_above:
            self._safe_box = result.box
        self._refresh(frame, result.box, found)
        mean = self._evidence.mean
        if self._evidence.is_full and mean < params.lost_below:
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
        if self._is_alike(frame, box):
            self._tracker.blend(frame, box, params.update_share)

    def _lose(self, result: TrackResult) -> TrackResult:
        self.state, self._lost_for, self._certain_for, self._candidate = "lost", 0, 0, None
        self._near, self._tiles = iter(()), iter(())
        return TrackResult(self._safe_box, result.score, lost=True)

    def _search(self, frame: Image) -> TrackResult:
        self._lost_for += 1
        best = max((self._tracker.look(frame, place) for place in self._places(frame)), key=lambda seen: seen.score)
        found = self._evidence.of(best.score)
        self.probability = probability_of(found)
        is_target = found >= self._params.found_above and self._is_alike(frame, best.box)
        if is_target and self._candidate and intersection_over_union(best.box, self._candidate) > 0:
            return self._find(best)
        self._candidate = best.box if is_target else None
        return TrackResult(self._safe_box, best.score, lost=True)

    def _find(self, seen: Sighting) -> TrackResult:
        self._tracker.place(seen.box)
        self._evidence.restart()
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

    def _is_alike(self, frame: Image, box: Box) -> bool:
        likeness = self._look.of(self._tracker.signature(frame, box)) if self._look else 0.0
        return likeness >= self._fit.alike_above


class Likeness:
    """Cosine of signatures to that of the first template, relative to what is usual in the first frames.

    Args:
        first: Signature of the first template.
    """

    def __init__(self, first: FloatArray) -> None:
        self._first, self._usual = first, 0.1

    def start(self, signature: FloatArray) -> None:
        """Take one of the first frames."""
        self._usual = max(self._usual, float(signature @ self._first))

    def of(self, signature: FloatArray) -> float:
        """About 1 for the target as it was at the start."""
        return float(signature @ self._first) / self._usual
