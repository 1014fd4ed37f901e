"""Harvesting: a teacher that tells the truth gives exact crops, one that does not gives none."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from siamedge.runtime.geometry import Box, Image, intersection_over_union
from siamedge.runtime.sources.synthetic import SyntheticSource
from siamedge.runtime.tracking.crops import context_side
from siamedge.runtime.tracking.trackers import Tracker, TrackResult
from siamedge.training.crops.harvest import (
    HarvestParams,
    find_tracks,
    follow_both_ways,
    harvest,
    is_lively,
    without_jumps,
)
from siamedge.training.crops.harvested import Sighting, crop_target
from siamedge.training.crops.motion import moving_boxes, split_shots
from siamedge.training.crops.store import CONTEXT_PX, CropStore

SCENE = SyntheticSource(seed=1, frames=60, size=(320, 240))
FRAMES = [SCENE.image_at(k) for k in range(40)]
ADDRESS = "synthetic:?seed=1&frames=60&size=320x240"
PARAMS = HarvestParams(longest_clip=40, longest=30, targets=1)


class TruthfulTracker:
    """Recognises the frame and knows where the beetle is in it; `slip_px` is an error that grows with every update."""

    def __init__(self, slip_px: float = 0.0, score: float = 0.9) -> None:
        self._slip_px, self._score, self._updates = slip_px, score, 0

    def init(self, frame: Image, box: Box) -> None:
        self._updates = 0

    def update(self, frame: Image) -> TrackResult:
        self._updates += 1
        box = SCENE.box_at(next(k for k, known in enumerate(FRAMES) if np.array_equal(known, frame)))
        slipped = box._replace(x=box.x + self._slip_px * self._updates)
        return TrackResult(slipped, self._score, lost=False)


def true_boxes(frames: Sequence[Image], index: int) -> list[Box]:
    return [SCENE.box_at(index)]


def test_the_source_is_a_tracker() -> None:
    tracker: Tracker = TruthfulTracker()
    tracker.init(FRAMES[0], SCENE.box_at(0))
    assert tracker.update(FRAMES[5]).box == SCENE.box_at(5)


def test_what_moves_is_proposed_although_the_camera_pans() -> None:
    overlaps = [
        max((intersection_over_union(box, SCENE.box_at(k)) for box in moving_boxes(FRAMES, k)), default=0.0)
        for k in range(4, 20, 4)
    ]
    assert max(overlaps) > 0.4


def test_nothing_is_proposed_where_nothing_moves() -> None:
    assert moving_boxes([FRAMES[0]] * 9, 4) == []


def test_a_clip_of_two_scenes_is_cut_between_them() -> None:
    bright = [255 - frame for frame in FRAMES[:10]]
    assert split_shots([*FRAMES[:12], *bright]) == [range(12), range(12, 22)]


def test_a_truthful_teacher_is_believed() -> None:
    track = follow_both_ways(FRAMES, range(5, 30), SCENE.box_at(5), TruthfulTracker, PARAMS)
    assert [seen.frame for seen in track] == list(range(5, 30))
    for seen in track:
        assert seen.box == pytest.approx(SCENE.box_at(seen.frame), abs=1e-6)


def test_a_teacher_that_slips_away_is_not_believed() -> None:
    assert follow_both_ways(FRAMES, range(5, 30), SCENE.box_at(5), lambda: TruthfulTracker(slip_px=3), PARAMS) == []


def test_a_track_ends_before_the_stretch_that_is_not_confirmed() -> None:
    class Distracted(TruthfulTracker):
        def update(self, frame: Image) -> TrackResult:
            self._slip_px = 4.0 if self._updates > 10 else 0.0
            return super().update(frame)

    params = HarvestParams(stretch=10)
    track = follow_both_ways(FRAMES, range(5, 30), SCENE.box_at(5), Distracted, params)
    assert [seen.frame for seen in track] == list(range(5, 16))


def test_a_teacher_that_is_unsure_is_not_believed() -> None:
    assert follow_both_ways(FRAMES, range(5, 30), SCENE.box_at(5), lambda: TruthfulTracker(score=0.3), PARAMS) == []


def test_a_target_that_does_nothing_is_no_use() -> None:
    still = [Sighting(3, SCENE.box_at(3))] * 20
    moving = [Sighting(k, SCENE.box_at(k)) for k in range(3, 23)]
    assert not is_lively(FRAMES, still, PARAMS)
    assert is_lively(FRAMES, moving, PARAMS)


def test_a_track_ends_where_another_thing_takes_the_targets_place() -> None:
    box = SCENE.box_at(0)
    frames = [*FRAMES[:1] * 10, *[255 - FRAMES[0]] * 10]
    assert len(without_jumps(frames, [Sighting(k, box) for k in range(20)], PARAMS)) == 10


def test_one_target_gives_one_track() -> None:
    assert len(list(find_tracks(FRAMES, TruthfulTracker, HarvestParams(longest=30), true_boxes))) == 1


def test_a_crop_shows_the_target_in_the_middle_at_the_agreed_size() -> None:
    box = SCENE.box_at(8)
    crop = crop_target(FRAMES[8], box)
    assert crop.box.center == pytest.approx((168, 168))
    assert context_side(crop.box.w, crop.box.h, 0.5) == pytest.approx(CONTEXT_PX)
    scale = crop.box.w / box.w
    x, y = (int(side) for side in box.center)
    expected = cv2.resize(FRAMES[8][y - 2 : y + 3, x - 2 : x + 3], None, fx=scale, fy=scale)
    at = [round(168 + scale * (p - q)) for p, q in zip((x - 2, y - 2), box.center, strict=True)]
    found = crop.image[at[1] : at[1] + expected.shape[0], at[0] : at[0] + expected.shape[1]]
    assert np.abs(found.astype(int) - expected).mean() < 12


def test_the_part_that_is_picture_ends_at_the_frame() -> None:
    frame = np.full((100, 120, 3), 200, np.uint8)
    crop = crop_target(frame, Box(5, 40, 20, 20))
    scale = CONTEXT_PX / 40
    assert crop.valid == pytest.approx((168 - 15 * scale, 168 - 50 * scale, 336, 168 + 50 * scale))


def test_harvested_crops_can_be_read_while_more_are_added(tmp_path: Path) -> None:
    first = harvest([ADDRESS], TruthfulTracker, tmp_path, params=PARAMS, propose=true_boxes)
    store = CropStore([tmp_path])
    assert (first.clips, first.tracks, first.crops) == (1, 1, 24)
    assert [len(members) for members in store.tracks.values()] == [24]
    frames = [crop.frame for crop in store.crops]
    assert frames == sorted(frames) and frames[-1] - frames[0] > 20
    second = harvest([ADDRESS], TruthfulTracker, tmp_path, params=PARAMS, propose=true_boxes, source="again")
    assert store.refresh() == second.crops
    assert len({crop.name for crop in store.crops}) == first.crops + second.crops
