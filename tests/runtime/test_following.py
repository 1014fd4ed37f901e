"""The Python interface, as the documentation shows it."""

from pathlib import Path

import pytest

from siamedge.runtime.errors import SiamedgeError, SourceError
from siamedge.runtime.following import follow
from siamedge.runtime.geometry import intersection_over_union
from siamedge.runtime.outputs.video import VideoWriter
from siamedge.runtime.sources.synthetic import SyntheticSource
from siamedge.runtime.watching import Reacquire


@pytest.mark.parametrize("reacquire", [None, "near", "full-frame"])
def test_five_lines_follow_a_target(default_bundle: Path, reacquire: Reacquire | None) -> None:
    scene = SyntheticSource(frames=40)
    source = "synthetic:?frames=40"
    overlaps = [
        intersection_over_union(step.result.box, scene.box_at(step.frame.index))
        for step in follow(default_bundle, source, scene.box_at(0), backend="onnxruntime", reacquire=reacquire)
    ]
    assert len(overlaps) == 40
    assert overlaps[0] == 1
    assert sum(overlap > 0.5 for overlap in overlaps[:12]) >= 10


@pytest.mark.parametrize("reacquire", ["off", False, "full", "fullframe", ""])
def test_an_unknown_way_to_search_is_refused(default_bundle: Path, reacquire: Reacquire) -> None:
    with pytest.raises(SiamedgeError, match=f"^reacquire={reacquire!r} is unknown$"):
        next(follow(default_bundle, "synthetic:", (50, 100, 54, 40), backend="onnxruntime", reacquire=reacquire))


def test_a_source_may_be_a_path_or_the_number_of_a_camera(default_bundle: Path, tmp_path: Path) -> None:
    scene = SyntheticSource(frames=2)
    with VideoWriter(tmp_path / "a.avi", 30) as video:
        for frame in scene:
            video.write(frame.image)
    assert len(list(follow(default_bundle, tmp_path / "a.avi", scene.box_at(0), backend="onnxruntime"))) == 2
    with pytest.raises(SourceError, match="camera /dev/video93: no such device"):
        next(follow(default_bundle, 93, (1, 1, 9, 9), backend="onnxruntime"))


@pytest.mark.parametrize("box", [(50, 100, 54), (50, 100, 54, 40, 1), ()])
def test_a_box_has_four_numbers(default_bundle: Path, box: tuple[float, ...]) -> None:
    with pytest.raises(SourceError, match=f"^the start box has {len(box)} numbers, not 4$"):
        next(follow(default_bundle, "synthetic:", box))


def test_a_box_outside_the_frame_is_an_error(default_bundle: Path) -> None:
    with pytest.raises(SourceError, match="outside the frame of 640 x 480 pixels"):
        next(follow(default_bundle, "synthetic:", (900, 0, 10, 10), backend="onnxruntime"))
