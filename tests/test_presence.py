"""Loss and return, on a world whose truth is known: a target that hides, jumps and has a double."""

import numpy as np
import pytest

from siamedge.runtime.geometry import Box, FloatArray, Image, Point, intersection_over_union
from siamedge.runtime.presence import PresenceParams, PresenceTracker, Sighting, log_odds, ring_places
from siamedge.runtime.trackers import TrackResult

FRAME = np.zeros((480, 640, 3), np.uint8)
TARGET, OTHER = np.array([1, 0, 0], np.float32), np.array([0.2, 0.98, 0], np.float32)


class World:
    """Where the target is, or None; and a searcher that sees it inside a search crop, with a network's scores."""

    def __init__(self) -> None:
        self.truth: Box | None = Box(300, 200, 40, 40)
        self.double: Box | None = None
        self.looks = 0
        self._place = Box(0, 0, 1, 1)

    def init(self, frame: Image, box: Box) -> None:
        self._place = box

    def place(self, box: Box) -> None:
        self._place = box

    def look(self, frame: Image, around: Box) -> Sighting:
        self.looks += 1
        reach = 2 * (around.w * around.h) ** 0.5
        for found, score in ((self.truth, 0.9999), (self.double, 0.99)):
            if found and max(abs(a - b) for a, b in zip(found.center, around.center, strict=True)) < reach:
                return Sighting(found, score)
        return Sighting(around, 0.3)

    def signature(self, frame: Image, box: Box) -> FloatArray:
        is_target = self.truth is not None and intersection_over_union(box, self.truth) > 0.3
        return TARGET if is_target else OTHER

    def update(self, frame: Image) -> TrackResult:
        self._place, score = self.look(frame, self._place)
        return TrackResult(self._place, score, lost=False)


def started(params: PresenceParams | None = None) -> tuple[World, PresenceTracker]:
    world = World()
    tracker = PresenceTracker(world, params)
    tracker.init(FRAME, Box(300, 200, 40, 40))
    for _ in range(5):
        tracker.update(FRAME)
    return world, tracker


def states(tracker: PresenceTracker, frames: int) -> list[str]:
    return [(tracker.update(FRAME), tracker.state)[1] for _ in range(frames)]


def test_a_target_in_sight_is_present_and_costs_one_look_a_frame() -> None:
    world, tracker = started()
    before = world.looks
    assert states(tracker, 50) == ["present"] * 50
    assert world.looks - before == 50
    assert tracker.probability > 0.9


def test_a_target_that_goes_is_uncertain_then_lost_and_its_box_stays() -> None:
    world, tracker = started()
    world.truth = None
    seen = states(tracker, 12)
    assert seen[0] in ("present", "uncertain")
    assert seen[-1] == "lost"
    assert seen == sorted(seen, key=["present", "uncertain", "lost"].index)
    result = tracker.update(FRAME)
    assert result.lost
    assert result.box == Box(300, 200, 40, 40)
    assert tracker.probability < 0.1


@pytest.mark.parametrize("shift", [0, 60, 110, -140])
def test_it_is_found_again_within_15_frames_inside_the_window(shift: float) -> None:
    world, tracker = started()
    world.truth = None
    states(tracker, 15)
    world.truth = Box(300 + shift, 200, 40, 40)
    seen = states(tracker, 15)
    assert "reacquired" in seen
    assert seen[seen.index("reacquired") + 1 :] == ["present"] * (14 - seen.index("reacquired"))
    assert tracker.update(FRAME).box == world.truth


def test_the_search_widens_to_the_whole_frame_and_keeps_its_budget() -> None:
    world, tracker = started(PresenceParams(max_rings=8, looks_a_frame=2))
    world.truth = None
    states(tracker, 60)
    before = world.looks
    states(tracker, 100)
    assert world.looks - before == 200
    world.truth = Box(20, 420, 40, 40)
    assert "reacquired" in states(tracker, 200)


def test_a_double_that_does_not_look_like_the_first_template_is_not_taken() -> None:
    world, tracker = started()
    world.truth, world.double = None, Box(320, 220, 40, 40)
    assert states(tracker, 15)[-1] != "reacquired"
    world, tracker = started()
    world.truth = None
    states(tracker, 10)
    world.double = Box(320, 220, 40, 40)
    assert set(states(tracker, 40)) == {"lost"}


def test_a_single_lucky_frame_is_not_enough() -> None:
    world, tracker = started()
    world.truth = None
    states(tracker, 12)
    world.truth = Box(300, 200, 40, 40)
    tracker.update(FRAME)
    world.truth = None
    assert set(states(tracker, 5)) == {"lost"}


def test_a_new_start_forgets_the_loss() -> None:
    world, tracker = started()
    world.truth = None
    states(tracker, 12)
    world.truth = Box(50, 60, 30, 30)
    tracker.init(FRAME, world.truth)
    assert tracker.state == "present"
    assert states(tracker, 5) == ["present"] * 5


def test_search_places_are_ordered_outwards_and_stay_inside() -> None:
    places = ring_places(Box(300, 200, 40, 40), 2, 0.45, FRAME)
    center = Box(300, 200, 40, 40).center
    distances = [max(abs(p.center.x - center.x), abs(p.center.y - center.y)) for p in places]
    assert len(places) == 24
    assert distances == sorted(distances)
    corner = ring_places(Box(0, 0, 40, 40), 1, 0.45, FRAME)
    assert all(0 <= p.center.x <= 640 and 0 <= p.center.y <= 480 for p in corner)
    assert Point(20, 92) in [p.center for p in corner]


def test_log_odds_are_bounded() -> None:
    assert log_odds(0.5) == 0
    assert log_odds(1.0) == pytest.approx(-log_odds(0.0)) == pytest.approx(16.118, abs=1e-3)
