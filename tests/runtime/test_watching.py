"""The fit in the manifest, and the watch that uses it, on the default network and a drawn scene."""

import json
from pathlib import Path

import numpy as np
import pytest

from siamedge.export.bundles.presence_fits import FITS, fit_of, known_fits
from siamedge.export.evaluation.baselines import IdentityTracker
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.bundles.picking import Candidate, open_tracker, pick
from siamedge.runtime.bundles.records import RecordError, parse
from siamedge.runtime.errors import SiamedgeError
from siamedge.runtime.geometry import Image, intersection_over_union
from siamedge.runtime.sources.synthetic import SyntheticSource
from siamedge.runtime.tracking.anchor_free import AnchorFreeTracker
from siamedge.runtime.tracking.evidence import PresenceFit
from siamedge.runtime.watching import can_watch, watch


@pytest.fixture
def opened(default_bundle: Path) -> tuple[Bundle, Candidate]:
    bundle = Bundle.open(default_bundle)
    return bundle, pick(bundle, backend="onnxruntime", precision="fp32").choice


def scene(frames: int) -> tuple[SyntheticSource, list[Image]]:
    source = SyntheticSource(frames=frames)
    return source, [frame.image for frame in source]


def test_a_tracker_that_cannot_look_is_not_watched(opened: tuple[Bundle, Candidate]) -> None:
    with pytest.raises(SiamedgeError, match=r"cannot search for a target that it lost$"):
        watch(IdentityTracker(), *opened)


def test_fits_are_in_the_search_artifacts_of_the_weights_that_were_fitted(opened: tuple[Bundle, Candidate]) -> None:
    manifest = opened[0].manifest
    for artifact in manifest.artifacts:
        wanted = fit_of(manifest.provenance.checkpoint_sha256, artifact.precision)
        assert artifact.presence == (wanted if artifact.role == "search" else None)


def test_a_precision_without_a_fit_of_its_own_has_that_of_fp32_and_unknown_weights_none() -> None:
    for sha256, fits in known_fits().items():
        assert fit_of(sha256, "fp16") == fits.get("fp16", fits["fp32"])
        assert all(
            fit.level >= 0 and fit.change >= 0 and 0 < fit.alike_above < 1 and 0 < fit.same_above < 1
            for fit in fits.values()
        )
    assert fit_of("0" * 64, "fp32") is None


def test_the_file_of_fits_is_as_the_script_writes_it() -> None:
    text = FITS.read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n"
    with pytest.raises(RecordError, match="unknown key 'slope'"):
        parse(
            PresenceFit, {"offset": 1, "level": 1, "change": 1, "alike_above": 0.5, "same_above": 0.5, "slope": 1}, ""
        )


def test_a_target_that_goes_black_is_lost_and_is_followed_again(opened: tuple[Bundle, Candidate]) -> None:
    if fit_of(opened[0].manifest.provenance.checkpoint_sha256, "fp32") is None:
        pytest.skip("the default weights have no fit yet: run benchmarks/presence_fit.py")
    tracker = watch(open_tracker(*opened), *opened, "full-frame")
    source, images = scene(60)
    tracker.init(images[0], source.box_at(0))
    states, overlaps = [], []
    for index in range(1, 60):
        image = np.zeros_like(images[0]) if 8 <= index < 26 else images[index]
        result = tracker.update(image)
        states.append(tracker.state)
        overlaps.append(intersection_over_union(result.box, source.box_at(index)))
    assert set(states[:6]) == {"present"}
    assert states[23] == "lost"
    back = states.index("reacquired")
    assert 25 <= back < 55
    assert overlaps[back] > 0.5
    assert "lost" not in states[back + 1 :]


def test_a_blended_template_stays_between_the_first_and_the_newer(opened: tuple[Bundle, Candidate]) -> None:
    tracker = open_tracker(*opened)
    assert isinstance(tracker, AnchorFreeTracker)
    assert can_watch(tracker)
    source, images = scene(2)
    box = source.box_at(0)
    elsewhere = box._replace(x=300.0)
    tracker.init(images[0], box)
    names = list(tracker._kernels)
    first = tracker._search.held(names)
    tracker.blend(images[0], elsewhere, 0.3)
    once = tracker._search.held(names)
    tracker.blend(images[0], elsewhere, 0.3)
    for name, kernel in first.items():
        assert not np.array_equal(once[name], kernel)
        assert np.array_equal(tracker._search.held(names)[name], once[name]), "blends do not add up"
    tracker.blend(images[0], box, 0.3)
    for name, kernel in first.items():
        assert np.allclose(tracker._search.held(names)[name], kernel, atol=1e-4)
    tracker.blend(images[0], elsewhere, 0.3)
    tracker.init(images[0], box)
    for name, kernel in first.items():
        assert np.allclose(tracker._search.held(names)[name], kernel, atol=1e-4), "a new start forgets the blend"


def test_an_artifact_without_a_fit_is_watched_all_the_same(opened: tuple[Bundle, Candidate]) -> None:
    bundle, choice = opened
    bare = bundle.manifest._replace(artifacts=tuple(a._replace(presence=None) for a in bundle.manifest.artifacts))
    tracker = watch(open_tracker(bundle, choice), bundle._replace(manifest=bare), choice)
    source, images = scene(10)
    tracker.init(images[0], source.box_at(0))
    assert not any(tracker.update(image).lost for image in images[1:])
    assert {tracker.state} <= {"present", "uncertain"}
