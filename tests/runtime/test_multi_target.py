"""Several targets on one network: each is followed as if it were alone."""

from collections.abc import Mapping

import numpy as np
import pytest

from siamedge.runtime.backends.backend import Model
from siamedge.runtime.backends.fake_backend import FakeSession
from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.tensors import Array, TensorSpec
from siamedge.runtime.tracking.anchor_free import AnchorFreeTracker
from siamedge.runtime.tracking.multi_target import MultiTracker
from siamedge.runtime.tracking.params import AnchorFreeParams

NANO = AnchorFreeParams(127, 255, 16, 16, -128.0, "softmax", 0.49, 0.15, 0.385)
KERNEL = TensorSpec("kernel", (1, 1, 3), "float32", "NPC")
BOXES = [Box(20, 30, 24, 24), Box(100, 80, 40, 20), Box(200, 150, 30, 60)]


def sessions() -> tuple[FakeSession, FakeSession]:
    """A network that finds the cell whose patch of the crop is nearest to the template's mean colour."""

    def embed(feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        return {"kernel": feeds["template"][0, 54:74, 54:74].mean((0, 1), dtype=np.float32)[None, None]}

    def locate(feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        patches = feeds["search"][0, 7:247:15, 7:247:15].astype(np.float32)
        near = -np.abs(patches - feeds["kernel"][0, 0]).mean(2) / 8
        cls = np.stack([-near, near])[None].astype(np.float32)
        return {"cls": cls, "log_ltrb": np.full((1, 4, 16, 16), 3.0, np.float32)}

    template = TensorSpec("template", (1, 127, 127, 3), "uint8", "NHWC")
    search = TensorSpec("search", (1, 255, 255, 3), "uint8", "NHWC")
    maps = [TensorSpec(n, (1, c, 16, 16), "float32", "NCHW") for n, c in (("cls", 2), ("log_ltrb", 4))]
    return (
        FakeSession(Model("template", "fp32", b"", b"", (template,), (KERNEL,)), embed),
        FakeSession(Model("search", "fp32", b"", b"", (search, KERNEL), tuple(maps)), locate),
    )


def frames() -> list[Image]:
    noise = np.random.default_rng(3).integers(0, 256, (30, 40, 3), np.uint8)
    scene = noise.repeat(8, 0).repeat(8, 1)
    return [np.ascontiguousarray(np.roll(scene, (i, 2 * i), (0, 1))) for i in range(4)]


def test_targets_on_one_network_do_not_disturb_each_other() -> None:
    together = MultiTracker(*sessions(), "anchor-free", NANO)
    clip = frames()
    together.init(clip[0], BOXES)
    found = [together.update(frame) for frame in clip[1:]]
    for index, box in enumerate(BOXES):
        alone = AnchorFreeTracker(*sessions(), NANO)
        alone.init(clip[0], box)
        assert [results[index] for results in found] == [alone.update(frame) for frame in clip[1:]]
    assert len({results[0].box for results in found}) > 1


def test_no_target_is_refused() -> None:
    with pytest.raises(SourceError) as error:
        MultiTracker(*sessions(), "anchor-free", NANO).init(frames()[0], [])
    assert str(error.value) == "no target was given"


def test_a_refused_box_leaves_the_old_targets() -> None:
    tracker = MultiTracker(*sessions(), "anchor-free", NANO)
    clip = frames()
    tracker.init(clip[0], BOXES[:1])
    with pytest.raises(SourceError):
        tracker.init(clip[0], [BOXES[0], Box(900, 0, 5, 5)])
    assert len(tracker.update(clip[1])) == 1
