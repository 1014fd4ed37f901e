"""The Python interface, as the documentation shows it."""

from pathlib import Path

import pytest

from siamedge.runtime.errors import SourceError
from siamedge.runtime.following import follow
from siamedge.runtime.geometry import intersection_over_union
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


def test_a_box_outside_the_frame_is_an_error(default_bundle: Path) -> None:
    with pytest.raises(SourceError, match="outside the frame of 640 x 480 pixels"):
        next(follow(default_bundle, "synthetic:", (900, 0, 10, 10), backend="onnxruntime"))
