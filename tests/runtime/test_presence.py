"""Loss and return, on a world whose truth is known: a target that hides, jumps and has a double."""

import math

import cv2
import numpy as np
import pytest

from siamedge.runtime.geometry import Box, FloatArray, Image, Point, intersection_over_union
from siamedge.runtime.tracking.evidence import MOST_EVIDENCE, Evidence, PresenceFit, log_odds, probability_of
from siamedge.runtime.tracking.looks import CUT_BELOW, Look, Sighting, likeness, sampled, screen
from siamedge.runtime.tracking.presence import PresenceParams, PresenceTracker
from siamedge.runtime.tracking.search_places import ring_places, tile_places
from siamedge.runtime.tracking.trackers import TrackResult

FRAME = np.zeros((480, 640, 3), np.uint8)
TARGET, OTHER = np.array([1, 0, 0], np.float32), np.array([0.2, 0.98, 0], np.float32)

FIT = PresenceFit(offset=3.0, level=0.2, change=1.0, alike_above=0.6, same_above=0.7)


class World:
    """Where the target is, or None; and a searcher that sees it inside a search crop, with a network's scores."""

    def __init__(self) -> None:
        self.truth: Box | None = Box(300, 200, 40, 40)
        self.double: Box | None = None
        self.looks = self.signatures = 0
        self.score, self.double_score = 0.9999, 0.99
        self.appearance, self.picture = TARGET, np.zeros((1, 1, 1), np.uint8)
        self._shown: list[tuple[Image, Box | None, FloatArray]] = []
        self.blends: list[tuple[Box, float]] = []
        self._place = Box(0, 0, 1, 1)

    def init(self, frame: Image, box: Box) -> None:
        self._place = box

    def place(self, box: Box) -> None:
        self._place = box

    def look(self, frame: Image, around: Box) -> Sighting:
        self.looks += 1
        reach = 2 * (around.w * around.h) ** 0.5
        for found, score in ((self.truth, self.score), (self.double, self.double_score)):
            if found and max(abs(a - b) for a, b in zip(found.center, around.center, strict=True)) < reach:
                return Sighting(found, score)
        return Sighting(around, 0.3)

    def blend(self, frame: Image, box: Box, share: float) -> None:
        self.blends.append((box, share))

    def frame(self) -> Image:
        """A frame of its own, that shows the target where it is now."""
        self._shown.append((np.broadcast_to(self.picture, FRAME.shape), self.truth, self.appearance))
        return self._shown[-1][0]

    def crop(self, frame: Image, box: Box) -> Image:
        """One pixel that holds what the box looks like."""
        known = ((truth, seen) for shown, truth, seen in self._shown if shown is frame)
        truth, seen = next(known, (self.truth, self.appearance))
        is_target = truth is not None and intersection_over_union(box, truth) > 0.3
        return np.rint(255 * (seen if is_target else OTHER)).astype(np.uint8).reshape(1, 1, 3)

    def signature(self, crop: Image) -> FloatArray:
        self.signatures += 1
        look: FloatArray = crop.reshape(3).astype(np.float32)
        return look / np.linalg.norm(look)

    def update(self, frame: Image) -> TrackResult:
        self._place, score = self.look(frame, self._place)
        return TrackResult(self._place, score, lost=False)


def started(params: PresenceParams | None = None) -> tuple[World, PresenceTracker]:
    world = World()
    tracker = PresenceTracker(world, FIT, params)
    tracker.init(FRAME, Box(300, 200, 40, 40))
    states(tracker, 5)
    return world, tracker


def blobs(seed: int) -> Image:
    """A picture of large soft shapes."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (640, 480), interpolation=cv2.INTER_CUBIC), np.uint8)


def shown(frame: Image) -> FloatArray:
    """The screen of a frame."""
    return screen(sampled(frame))


def weakened(score: float) -> tuple[World, PresenceTracker]:
    """A target whose score came down to this one slowly, its looks unbroken."""
    world, tracker = started()
    for step in np.linspace(0.9999, score, 20):
        world.score = float(step)
        states(tracker, 1)
    states(tracker, 5)
    return world, tracker


def states(tracker: PresenceTracker, frames: int) -> list[str]:
    world = tracker._tracker
    assert isinstance(world, World)
    seen = []
    for _ in range(frames):
        assert tracker.update(world.frame()).lost is (tracker.state == "lost")
        seen.append(str(tracker.state))
    return seen


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
    world, tracker = started(PresenceParams(is_whole_frame=True, max_rings=2, looks_a_frame=3))
    world.truth = None
    states(tracker, 60)
    before = world.looks
    states(tracker, 100)
    assert world.looks - before == 300
    world.truth = Box(20, 420, 40, 40)
    # Nine by seven tiles.
    assert "reacquired" in states(tracker, 66)


def test_near_does_not_find_what_is_beyond_its_rings_and_full_frame_does() -> None:
    for is_whole in (False, True):
        world, tracker = started(PresenceParams(is_whole_frame=is_whole, max_rings=1))
        world.truth = None
        states(tracker, 15)
        world.truth = Box(600, 10, 30, 30)
        assert ("reacquired" in states(tracker, 150)) is is_whole


def test_tiles_cover_the_frame() -> None:
    for box in (Box(300, 200, 40, 40), Box(0, 0, 9, 30), Box(5, 5, 500, 400)):
        tiles, half = tile_places(box, 0.45, FRAME), 2 * (box.w * box.h) ** 0.5
        columns = np.array(sorted({tile.center.x for tile in tiles}))
        rows = np.array(sorted({tile.center.y for tile in tiles}))
        assert len(tiles) == len(columns) * len(rows)
        for middles, side in ((columns, 640), (rows, 480)):
            assert np.abs(middles[:, None] - np.arange(side)).min(0).max() <= 0.45 * half + 1e-6


def test_a_frame_that_one_search_crop_covers_is_one_tile() -> None:
    assert tile_places(Box(5, 5, 500, 400), 0.45, FRAME) == [Box(320 - 250, 240 - 200, 500, 400)]


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
    ring = ring_places(Box(300, 200, 40, 40), 1, 0.45, FRAME)
    around = {(x, y) for x in (248, 320, 392) for y in (148, 220, 292)} - {(320, 220)}
    assert {tuple(place.center) for place in ring} == around, "0.45 of 4 * 40 px apart, and not in the middle"
    corner = ring_places(Box(0, 0, 40, 40), 1, 0.45, FRAME)
    assert all(0 <= p.center.x <= 640 and 0 <= p.center.y <= 480 for p in corner)
    assert Point(20, 92) in [p.center for p in corner]


def test_log_odds_are_bounded() -> None:
    assert log_odds(0.5) == 0
    assert log_odds(1.0) == pytest.approx(-log_odds(0.0)) == pytest.approx(16.118, abs=1e-3)


def test_the_target_that_slowly_gets_weaker_is_uncertain_before_it_is_lost() -> None:
    world, tracker = started()
    seen = []
    for score in np.concatenate([np.linspace(0.9999, 0.9, 10), np.linspace(0.9, 0.1, 20), np.full(110, 0.1)]):
        world.score = float(score)
        seen += states(tracker, 1)
    assert seen == sorted(seen, key=["present", "uncertain", "lost"].index)
    assert set(seen) == {"present", "uncertain", "lost"}
    assert seen.count("uncertain") > PresenceParams().patience, "nothing changed at once, so there is patience"


def test_the_box_of_a_target_that_faded_stays_and_is_reacquired_where_the_target_is() -> None:
    world, tracker = weakened(0.1)
    states(tracker, PresenceParams().patience)
    place = world.truth
    for x in range(300, 360, 4):
        world.truth = Box(x, 200, 40, 40)
        result = tracker.update(world.frame())
        assert (result.lost, result.box) == (True, place)
    world.score = 0.9999
    assert states(tracker, 5)[-1] in ("reacquired", "present")
    assert tracker.update(world.frame()).box == world.truth


def test_a_target_that_faded_is_found_beside_its_last_certain_place() -> None:
    world, tracker = weakened(0.1)
    states(tracker, PresenceParams().patience)
    world.truth, world.score = Box(410, 200, 40, 40), 0.9999
    assert "reacquired" in states(tracker, 15)
    assert tracker.update(world.frame()).box == world.truth


def test_a_target_that_turns_is_weak_before_its_looks_break_and_is_not_lost() -> None:
    world, tracker = weakened(0.3)
    world.appearance = np.array([0.6, 0, 0.8], np.float32)
    assert "lost" not in states(tracker, 30)
    world.score = 0.9999
    assert states(tracker, 10)[-1] == "present"


def test_a_weak_target_is_lost_when_the_whole_picture_changes_and_held_until_it_is_back() -> None:
    fall = {}
    for after in (1, 2):
        world, tracker = weakened(0.9)
        world.picture = blobs(1)
        assert states(tracker, 3) == ["uncertain"] * 3, "evidence as in the frames before"
        place, world.truth, world.picture = world.truth, None, blobs(after)
        fall[after] = states(tracker, 12)[-1]
        world.truth, world.picture = place, blobs(1)
        if fall[after] == "lost":
            assert "reacquired" in states(tracker, 3), "as weak as it was before, and it looks the same"
    assert fall == {1: "uncertain", 2: "lost"}


def test_likeness_of_pictures() -> None:
    still, black = shown(blobs(1)), shown(FRAME)
    assert likeness(still, shown(np.roll(blobs(1), 12, axis=1))) > 0.9
    assert likeness(still, shown(np.asarray(cv2.convertScaleAbs(blobs(1), alpha=0.4), np.uint8))) > 0.9
    assert abs(likeness(still, shown(blobs(2)))) < CUT_BELOW
    assert (likeness(still, black), likeness(black, black)) == (0.0, 1.0)
    larger = np.asarray(cv2.resize(blobs(1), (3840, 2160)), np.uint8)
    assert likeness(still, shown(larger)) > 0.95, "whatever the size of the frame"


class Eye(World):
    """Sees the mean colour of a box."""

    def crop(self, frame: Image, box: Box) -> Image:
        x, y, w, h = (int(side) for side in box)
        return frame[y : y + h, x : x + w].copy()

    def signature(self, crop: Image) -> FloatArray:
        mean: FloatArray = crop.reshape(-1, 3).mean(0).astype(np.float32) + 1
        return mean / np.linalg.norm(mean)


def test_a_frame_may_be_drawn_on_and_used_again_once_it_is_followed() -> None:
    box, frame = Box(100, 100, 60, 60), blobs(1)
    frame[100:160, 100:160] = (255, 0, 0)
    look = Look(Eye(), FIT)
    look.init(frame, box)
    look.resume(frame, box)
    frame[:] = blobs(2)  # a camera fills the memory that it was given
    frame[100:160, 100:160] = (0, 0, 255)
    look.follow(frame, box, 1.0, 5.0, is_sure=False)
    assert look.broken is not None
    assert look.broken.is_cut


class Dial(World):
    """Sees in a box of width w a look whose cosine to that of a box of width 100 is w / 100."""

    def crop(self, frame: Image, box: Box) -> Image:
        return np.full((1, 1, 3), int(box.w), np.uint8)

    def signature(self, crop: Image) -> FloatArray:
        cosine = float(crop[0, 0, 0]) / 100
        return np.array([cosine, math.sqrt(1 - cosine**2), 0], np.float32)


@pytest.mark.parametrize(("usual", "least"), [((100,), 60), ((45, 50, 30), 30)])
def test_how_alike_a_look_has_to_be_depends_on_how_alike_the_first_frames_are(
    usual: tuple[int, ...], least: int
) -> None:
    """FIT.alike_above of the highest likeness of the first frames: .6 of 1, or of .5."""
    look = Look(Dial(), FIT)
    look.init(FRAME, Box(0, 0, 100, 1))
    for width in usual:
        look.start(FRAME, Box(0, 0, width, 1))
    is_alike = {width: look.is_first(FRAME, Box(0, 0, width, 1)) for width in (least - 1, least + 1)}
    assert is_alike == {least - 1: False, least + 1: True}
    kinds = [look.compare(FRAME, Box(0, 0, width, 1)) for width in (least - 1, least + 1, 71)]
    assert kinds == ["other", "alike", "same"]


def test_an_unbroken_track_is_more_probable_than_a_place_found_while_lost() -> None:
    world, tracker = weakened(0.3)
    followed = tracker.probability
    world, tracker = started()
    world.truth = None
    assert states(tracker, 15)[-1] == "lost"
    assert tracker.probability < followed, "the same score of .3"


def test_probabilities_are_those_of_the_evidence_and_of_an_unbroken_track_or_a_loss() -> None:
    """A log-odds of 4.595 after a usual one of 9.210 is evidence of 3 + .2 * 4.595 - 4.615; far less counts as -6."""
    world, tracker = started()
    world.score = 0.99
    found = 3 + 0.2 * math.log(99) + math.log(99) - math.log(9999)
    states(tracker, 1)
    assert tracker.probability == pytest.approx(1 / (1 + math.exp(-found - 2))), "unbroken"
    place, world.truth = world.truth, None
    states(tracker, 1)
    assert tracker.probability == pytest.approx(1 / (1 + math.exp(6))), "its looks broke"
    assert states(tracker, 14)[-1] == "lost"
    assert tracker.probability == pytest.approx(1 / (1 + math.exp(6 + 2)))
    world.truth = place
    assert states(tracker, 2) == ["lost", "reacquired"]
    assert tracker.probability == pytest.approx(1 / (1 + math.exp(-found)))


def test_a_target_that_is_weak_for_a_while_and_looks_the_same_is_not_lost() -> None:
    world, tracker = started()
    world.score = 0.3
    assert set(states(tracker, 40)) <= {"present", "uncertain"}
    world.score = 0.9999
    assert states(tracker, 10)[-1] == "present"


def test_looks_cost_nothing_while_the_target_is_certain() -> None:
    world, tracker = started()
    before = world.signatures
    states(tracker, 50)
    assert world.signatures == before
    world.score = 0.3
    states(tracker, 10)
    assert world.signatures - before == 11, "one a frame in doubt, and one for the frame before"


def test_one_bad_frame_changes_no_state() -> None:
    world, tracker = started()
    world.score = 0.2
    assert states(tracker, 1) == ["present"]
    world.score = 0.9999
    assert states(tracker, 10) == ["present"] * 10


def test_evidence_is_the_fitted_sum_and_bounded() -> None:
    evidence = Evidence(PresenceFit(offset=1.0, level=0.5, change=2.0, alike_above=0.5, same_above=0.5), frames=3)
    assert (evidence.mean, evidence.lowest) == (0, 0)
    scores = [probability_of(x) for x in (1.0, 2.0, 0.0, 1.5)]
    assert [evidence.add(score) for score in scores] == pytest.approx([1.5, 2.0, -3.0, 0.75])
    assert not evidence.is_new
    assert evidence.mean == pytest.approx((2.0 - 3.0 + 0.75) / 3)
    assert evidence.lowest == pytest.approx((-3.0 + 0.75) / 2), "of the last two, which are lower than all three"
    assert evidence.of(probability_of(3.0)) == pytest.approx(4.5)
    assert (evidence.of(0.0), evidence.of(1.0)) == (-MOST_EVIDENCE, MOST_EVIDENCE)
    evidence.add(probability_of(3.0))
    assert (evidence.mean, evidence.lowest) == pytest.approx(((0.75 + 4.5 - 3.0) / 3,) * 2)
    evidence.restart()
    assert (evidence.mean, evidence.is_full, evidence.is_new) == (0.0, False, False)


def test_the_template_learns_only_from_long_certain_frames_that_look_like_the_first() -> None:
    params = PresenceParams(update_after=10, update_share=0.3)
    world, tracker = started(params)
    states(tracker, 4)
    assert world.blends == []
    states(tracker, 1)
    assert world.blends == [(Box(300, 200, 40, 40), 0.3)]
    states(tracker, 9)
    world.score = 0.99
    states(tracker, 1)
    world.score = 0.9999
    states(tracker, 9)
    assert len(world.blends) == 1, "a frame that is not certain starts the count again"
    states(tracker, 1)
    assert len(world.blends) == 2


def test_an_occluder_is_never_learnt() -> None:
    world, tracker = started(PresenceParams(update_after=10))
    world.truth, world.double, world.double_score = None, Box(300, 200, 40, 40), 0.9999
    assert set(states(tracker, 100)) == {"present"}, "its score is as high as the target's"
    assert world.blends == []


def test_the_template_is_left_alone_by_default() -> None:
    world, tracker = started()
    states(tracker, 500)
    assert world.blends == []
