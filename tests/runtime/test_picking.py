"""Picking a backend: the choice, and why for every candidate."""

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
from bundles import FILES, make_manifest

from siamedge.export.bundles.packing import write_bundle
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.bundles.picking import Candidate, TrackerMaker, load_sessions, open_tracker, pick
from siamedge.runtime.errors import BackendError
from siamedge.runtime.sources.synthetic import SyntheticSource
from siamedge.runtime.tracking.anchor_free import AnchorFreeTracker


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """Holds onnx fp32, which it recommends, and openvino fp16; none of them is a real model."""
    write_bundle(tmp_path / "tiny.siamedge", make_manifest(), FILES)
    return Bundle.open(tmp_path / "tiny.siamedge")


def test_the_recommended_precision_is_taken(bundle: Bundle) -> None:
    picked = pick(bundle)
    assert picked.choice == Candidate("onnxruntime", "fp32", "CPU", "chosen")
    assert [(c.backend, c.verdict) for c in picked.candidates] == [
        ("tflite", "the bundle has no tflite model"),
        ("openvino", "the bundle has fp16 for openvino, not fp32"),
        ("onnxruntime", "chosen"),
    ]


def test_a_precision_that_is_asked_for_decides(bundle: Bundle) -> None:
    picked = pick(bundle, precision="fp16")
    assert picked.choice == Candidate("openvino", "fp16", "CPU", "chosen")
    assert picked.candidates[2].verdict == "the bundle has fp32 for onnx, not fp16"


def test_a_backend_that_is_asked_for_is_the_only_candidate(bundle: Bundle) -> None:
    assert pick(bundle, backend="onnxruntime").candidates == (Candidate("onnxruntime", "fp32", "CPU", "chosen"),)


def test_nothing_else_is_taken_silently(bundle: Bundle) -> None:
    with pytest.raises(BackendError) as caught:
        pick(bundle, backend="openvino")
    assert str(caught.value) == (
        "no backend can run tiny.siamedge here: openvino: the bundle has fp16 for openvino, not fp32"
    )
    assert caught.value.hint == "leave --backend away to choose another"


def test_a_device_that_is_not_there_is_told_for_every_backend(bundle: Bundle) -> None:
    with pytest.raises(BackendError) as caught:
        pick(bundle, device="TPU", backend="onnxruntime")
    assert str(caught.value).startswith("no backend can run tiny.siamedge here: onnxruntime: no TPU; this onnxruntime ")


def test_an_unknown_backend_is_told_with_those_that_are_known(bundle: Bundle) -> None:
    with pytest.raises(BackendError) as caught:
        pick(bundle, backend="cuda")
    assert str(caught.value) == "unknown backend 'cuda'"
    assert caught.value.hint == "choose one of tflite, openvino, onnxruntime"


def test_a_model_that_the_library_refuses_is_named(bundle: Bundle) -> None:
    with pytest.raises(BackendError) as caught:
        load_sessions(bundle, pick(bundle).choice)
    assert str(caught.value).startswith("models/onnx-fp32/template.onnx: onnxruntime refuses the model: ")


def test_targets_that_live_together_share_one_loaded_network_and_are_followed_as_if_alone(default_bundle: Path) -> None:
    opened = Bundle.open(default_bundle)
    choice = pick(opened, backend="onnxruntime", precision="fp32").choice
    make = TrackerMaker(opened, choice)
    together, alone = [make(), make()], [open_tracker(opened, choice), open_tracker(opened, choice)]
    scene = SyntheticSource(frames=6)
    images = [frame.image for frame in scene]
    boxes = [scene.box_at(0), scene.box_at(0)._replace(x=200.0)]
    for trackers in (together, alone):
        for tracker, box in zip(trackers, boxes, strict=True):
            tracker.init(images[0], box)
    for image in images[1:]:
        for shared, own in zip(together, alone, strict=True):
            assert np.allclose(shared.update(image).box, own.update(image).box, atol=1e-4)
    first, other = together
    assert isinstance(first, AnchorFreeTracker)
    assert isinstance(other, AnchorFreeTracker)
    assert first._search._session is other._search._session


def test_a_network_that_no_target_needs_is_freed_and_loaded_again(default_bundle: Path) -> None:
    opened = Bundle.open(default_bundle)
    make = TrackerMaker(opened, pick(opened, backend="onnxruntime", precision="fp32").choice)
    tracker = make()
    assert isinstance(tracker, AnchorFreeTracker)
    loaded = weakref.ref(tracker._search._session)
    del tracker
    gc.collect()
    assert loaded() is None
    scene = SyntheticSource(frames=2)
    first, second = (frame.image for frame in scene)
    again = make()
    again.init(first, scene.box_at(0))
    assert again.update(second).score > 0
