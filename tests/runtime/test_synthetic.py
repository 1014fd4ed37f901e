"""The synthetic scene: its boxes are exact, and it holds the difficulties that it claims."""

from typing import Literal

import numpy as np
import pytest

from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Box
from siamedge.runtime.sources.source import SourceOptions, open_source, orient
from siamedge.runtime.sources.synthetic import SyntheticSource


def visible_share(box: Box, source: SyntheticSource) -> float:
    width, height = source.size
    across = min(box.x + box.w, width) - max(box.x, 0)
    down = min(box.y + box.h, height) - max(box.y, 0)
    return max(0.0, across) * max(0.0, down) / (box.w * box.h)


def is_plain(source: SyntheticSource, index: int) -> bool:
    """The whole target shows, sharp, in front of the ground."""
    box, pole = source.box_at(index), source.ground_at(index)[1]
    left, right = max(0, int(box.x) - 1), int(box.x + box.w) + 2
    return visible_share(box, source) == 1 and not pole[:, left:right].any() and source._pose(index).blur < 0.002


def test_the_box_encloses_exactly_the_pixels_that_the_target_changes() -> None:
    source = SyntheticSource(seed=3)
    plain = [index for index in range(source.frames) if is_plain(source, index)]
    assert len(plain) > 10
    for index in plain[::2]:
        changed = (source.image_at(index) != source.ground_at(index)[0]).any(axis=2)
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        box = source.box_at(index)
        found = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        assert found == pytest.approx((box.x, box.y, box.x + box.w, box.y + box.h), abs=1.5), index


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("is_mirrored", [False, True])
def test_a_turned_and_mirrored_scene_knows_its_boxes(degrees: Literal[0, 90, 180, 270], is_mirrored: bool) -> None:
    options = SourceOptions(rotate_deg=degrees, is_mirrored=is_mirrored)
    with open_source("synthetic:?frames=8&size=320x240", options) as source:
        assert isinstance(source, SyntheticSource)
        frame = next(iter(source))
    box, ground = source.box_at(0), orient(source.ground_at(0)[0], options)
    assert frame.image.shape == ground.shape == ((320, 240, 3) if degrees in (90, 270) else (240, 320, 3))
    changed = (frame.image != ground).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    found = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    assert found == pytest.approx((box.x, box.y, box.x + box.w, box.y + box.h), abs=1.5)


def test_the_clip_holds_growth_turn_occlusion_blur_and_leaving() -> None:
    source = SyntheticSource()
    boxes = [source.box_at(k) for k in range(source.frames)]
    poses = [source._pose(k) for k in range(source.frames)]
    assert max(p.scale for p in poses) / min(p.scale for p in poses) > 1.5
    assert max(p.angle_deg for p in poses) > 30
    assert min(p.angle_deg for p in poses) < -20
    assert max(p.blur for p in poses) > 0.05
    assert 0.4 < min(visible_share(box, source) for box in boxes) < 0.7
    hidden = [
        k for k in range(source.frames) if source.ground_at(k)[1][:, round(max(0, min(639, boxes[k].center.x)))].any()
    ]
    assert len(hidden) >= 5


def test_equal_seeds_give_equal_pixels_and_others_do_not() -> None:
    one, again, other = (SyntheticSource(seed=s).image_at(7) for s in (5, 5, 6))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_the_address_sets_seed_length_size_and_rate() -> None:
    with open_source("synthetic:?seed=2&frames=4&size=320x240&fps=15") as source:
        frames = list(source)
        assert source.fps == 15
    assert [f.image.shape for f in frames] == [(240, 320, 3)] * 4
    assert [f.time_s for f in frames] == pytest.approx([0, 1 / 15, 2 / 15, 3 / 15])
    assert np.array_equal(frames[2].image, SyntheticSource(seed=2, frames=4, size=(320, 240)).image_at(2))


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("synthetic:?speed=2", "synthetic: unknown setting 'speed'"),
        ("synthetic:?frames=0", "synthetic: frames='0' is not a whole number from 1 to 1000000"),
        ("synthetic:?size=640", "synthetic: size height='' is not a whole number from 64 to 4320"),
    ],
)
def test_bad_settings_are_named(address: str, line: str) -> None:
    with pytest.raises(SourceError) as caught:
        open_source(address, SourceOptions())
    assert str(caught.value) == line
