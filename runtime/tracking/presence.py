"""Knowing when the target is gone: the state of a target, a search that widens, and finding it again."""

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

from siamedge.runtime.geometry import Box, Image, intersection_over_union
from siamedge.runtime.tracking.evidence import UNFITTED, Evidence, PresenceFit, probability_of
from siamedge.runtime.tracking.looks import Break, Look, Searcher, Sighting
from siamedge.runtime.tracking.search_places import ring_places, tile_places
from siamedge.runtime.tracking.trackers import TrackResult

State = Literal["present", "uncertain", "lost", "reacquired"]


class PresenceParams(NamedTuple):
    """When a target counts as gone, and how it is searched; evidence is as in PresenceFit.

    Attributes:
        frames: So many frames' evidence is averaged, >= 1.
        uncertain_below: Mean evidence under which the state is uncertain.
        gone_after: So many frames after a break of the looks it is decided whether the target went with it, >= 1.
        gone_below: Mean evidence since the break that is needed for that, and
        fall: by so much it must be lower than just before the break: what turns is weak before its looks break.
        fall_at_cut: The same where the whole picture changed at the break.
        lost_below: Mean evidence that without a break makes the target lost after
        patience: so many frames.
        sure_above: Evidence of a frame whose box is kept as the last certain place.
        found_above: Evidence that a place which looks like the first template must have to be the target again.
        same_found_above: The same for a place that looks as the target did just before it went, or
        less_found: so much less than the target had then.
        steady_odds: Log-odds of presence that an unbroken track adds to a frame's evidence, and a loss takes from it.
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
    gone_after: int = 4
    gone_below: float = -1.0
    fall: float = 3.0
    fall_at_cut: float = 0.5
    lost_below: float = -2.5
    patience: int = 90
    sure_above: float = 1.0
    found_above: float = 0.5
    same_found_above: float = -1.0
    less_found: float = 1.0
    steady_odds: float = 2.0
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

    A target is lost in one of two ways. It goes at once: what is in its box becomes another thing, and the evidence
    falls. Then the box is held where it was just before, and the search goes on around it. Or it fades: the evidence
    stays low for long, and nothing says where it went. Then the box is held too, but the tracker goes on unseen, as it
    may still be on it, and the search looks around the last certain place as well.

    No occluder can become the target: what is found elsewhere must look like the first template, which is never
    replaced, or as the target did just before it went.

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
        self._held: Box | None = None
        self._faded = self._safe_box
        self._needed = 0.0
        self._lost_for = self._certain_for = self._weak_for = 0
        self._candidate: Box | None = None
        self._near: Iterator[Box] = iter(())
        self._tiles: Iterator[Box] = iter(())

    def init(self, frame: Image, box: Box) -> None:
        """Take the target to follow from a frame.

        Raises:
            SourceError: check_init refuses the box.
        """
        self._tracker.init(frame, box)
        self._look.init(frame, box)
        self._evidence = Evidence(self._fit, self._params.frames)
        self.state, self.probability = "present", 1.0
        self._safe_box, self._held, self._candidate = box, None, None
        self._certain_for = self._weak_for = 0

    def update(self, frame: Image) -> TrackResult:
        """Find the target in the next frame, or search it while it is lost."""
        return self._follow(frame) if self._held is None else self._search(frame, self._held)

    def _follow(self, frame: Image) -> TrackResult:
        params, result = self._params, self._tracker.update(frame)
        if self._evidence.is_new:
            self._look.start(frame, result.box)
        before = self._evidence.lowest
        found = self._evidence.add(result.score)
        is_sure = found >= params.sure_above
        self._look.follow(frame, result.box, found, before, is_sure=is_sure)
        if is_sure:
            self._safe_box = result.box
        self._refresh(frame, result.box, found)
        is_steady = self._look.broken is None and self.state != "lost"
        self.probability = probability_of(found + is_steady * params.steady_odds)
        if (broken := self._gone_with()) is not None:
            return self._hold(broken, result)
        return self._fade(frame, result)

    def _refresh(self, frame: Image, box: Box, found: float) -> None:
        """After long certain presence, mix a look that is like the first template into what is searched for."""
        params = self._params
        self._certain_for = self._certain_for + 1 if found >= params.certain_above else 0
        if params.update_after is None or self._certain_for < params.update_after:
            return
        self._certain_for = 0
        if self._look.is_first(frame, box):
            self._tracker.blend(frame, box, params.update_share)

    def _gone_with(self) -> Break | None:
        """The break with which the target went at once; None if it did not."""
        params, broken = self._params, self._look.broken
        if broken is None or len(broken.since) < params.gone_after:
            return None
        fall = params.fall_at_cut if broken.is_cut else params.fall
        mean = sum(broken.since) / len(broken.since)
        return broken if mean <= min(params.gone_below, broken.before - fall) else None

    def _hold(self, broken: Break, result: TrackResult) -> TrackResult:
        self._needed = min(self._params.same_found_above, broken.before - self._params.less_found)
        self._held = broken.box
        self._start_search()
        return TrackResult(broken.box, result.score, lost=True)

    def _start_search(self) -> None:
        self.state, self._candidate = "lost", None
        self._lost_for = self._certain_for = self._weak_for = 0
        self._near, self._tiles = iter(()), iter(())

    def _fade(self, frame: Image, result: TrackResult) -> TrackResult:
        """What a followed box is: present, uncertain, or lost after long weakness until it is strong again."""
        params, mean = self._params, self._evidence.mean
        self._weak_for = self._weak_for + 1 if self._evidence.is_full and mean < params.lost_below else 0
        if self.state == "lost" and mean < params.uncertain_below:
            return self._look_around(frame, result)
        if self._weak_for >= params.patience:
            self._start_search()
            self._faded = result.box
            return result._replace(lost=True)
        if self.state == "lost":
            self.state = "reacquired"
        else:
            self.state = "present" if mean >= params.uncertain_below else "uncertain"
        return result._replace(lost=False)

    def _look_around(self, frame: Image, result: TrackResult) -> TrackResult:
        """Look for a faded target around its last certain place, while the tracker goes on."""
        self._lost_for += 1
        best = self._best(frame, self._places(frame, self._safe_box))
        needed = max(self._params.found_above, self._evidence.mean + self._params.fall)
        is_clear = self._evidence.of(best.score) >= needed
        if self._is_found(best, is_clear and self._look.compare(frame, best.box) != "other"):
            return self._find(frame, best)
        return result._replace(box=self._faded, lost=True)

    def _search(self, frame: Image, held: Box) -> TrackResult:
        self._lost_for += 1
        best = self._best(frame, [held, *self._places(frame, held)])
        found = self._evidence.of(best.score)
        self.probability = probability_of(found - self._params.steady_odds)
        if self._is_found(best, found >= self._needed and found >= self._needed_at(frame, best.box)):
            self.probability = probability_of(found)
            return self._find(frame, best)
        return TrackResult(held, best.score, lost=True)

    def _best(self, frame: Image, places: list[Box]) -> Sighting:
        """The best sighting at a candidate, if there is one, else at these places."""
        looked_at = [self._candidate] if self._candidate is not None else places
        return max((self._tracker.look(frame, place) for place in looked_at), key=lambda seen: seen.score)

    def _is_found(self, best: Sighting, is_target: bool) -> bool:
        """The second sighting in a row at one place; the first one becomes the candidate."""
        last, self._candidate = self._candidate, best.box if is_target else None
        return is_target and last is not None and intersection_over_union(best.box, last) > 0

    def _needed_at(self, frame: Image, box: Box) -> float:
        """The evidence that a place needs: less where it looks as the target did just before it went."""
        kind = self._look.compare(frame, box)
        return {"same": self._needed, "alike": self._params.found_above, "other": math.inf}[kind]

    def _find(self, frame: Image, seen: Sighting) -> TrackResult:
        self._tracker.place(seen.box)
        self._evidence.restart()
        self._look.resume(frame, seen.box)
        self.state, self._safe_box, self._held, self._candidate = "reacquired", seen.box, None, None
        return TrackResult(seen.box, seen.score, lost=False)

    def _places(self, frame: Image, center: Box) -> list[Box]:
        """Where else to look in this frame: around a place and further out, and at a tile of the frame."""
        if self._candidate is not None:
            return []
        tiles = [self._next_tile(frame, center)] if self._params.is_whole_frame else []
        near = self._params.looks_a_frame - 1 - len(tiles)
        return [*tiles, *(self._next_near(frame, center) for _ in range(near))]

    def _next_near(self, frame: Image, center: Box) -> Box:
        if (place := next(self._near, None)) is not None:
            return place
        params = self._params
        rings = min(params.max_rings, 1 + self._lost_for // params.widen_every)
        self._near = iter(ring_places(center, rings, params.step_share, frame))
        return next(self._near, center)

    def _next_tile(self, frame: Image, center: Box) -> Box:
        if (place := next(self._tiles, None)) is not None:
            return place
        self._tiles = iter(tile_places(center, self._params.step_share, frame))
        return next(self._tiles, center)
