"""The score threshold of an int8 artifact: it moves as the scores did, and the tracker reads it."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from siamedge.export.calibration.crop_sets import CalibrationSet
from siamedge.export.verification.score_threshold import best_score, moved_threshold, threshold_crops
from siamedge.export.verification.tensors import Reference
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.bundles.picking import Candidate, params_of

CROPS = CalibrationSet(
    np.zeros((4, 8, 8, 3), np.uint8), np.zeros((200, 16, 16, 3), np.uint8), np.arange(200, dtype=np.int64) % 4
)


def reference(logits: np.ndarray) -> Reference:
    """A response with one cell far above the others, for each logit."""
    return Reference(CROPS, (), tuple({"cls": np.array([[[-9.0, value]]], np.float32)} for value in logits))


@pytest.mark.parametrize("shift", [-0.8, 0.0, 0.5])
def test_scores_that_all_shift_take_the_threshold_with_them(shift: float) -> None:
    logits = np.linspace(-4, 4, 200)
    found = moved_threshold(0.3, reference(logits), reference(logits + shift))
    expected = 1 / (1 + math.exp(-(math.log(0.3 / 0.7) + shift)))
    assert found == pytest.approx(expected, abs=2e-3)


def test_as_many_scores_lie_under_the_moved_threshold_as_did_under_the_first() -> None:
    rng = np.random.default_rng(0)
    source = rng.normal(0, 2, 200)
    ours = 0.7 * source - 1 + rng.normal(0, 0.1, 200)
    found = moved_threshold(0.3, reference(source), reference(ours))
    under = [sum(best_score(item) < below for item in reference(logits).outputs) for logits, below in
             ((source, 0.3), (ours, found))]  # fmt: skip
    assert abs(under[0] - under[1]) <= 1


def test_the_score_is_that_of_the_tracker_two_logits_and_a_quality() -> None:
    two = {"cls": np.array([[[1.0, 0.0]], [[3.0, 0.0]]], np.float32)}
    assert best_score(two) == pytest.approx(math.exp(3) / (math.exp(1) + math.exp(3)))
    rated = {"cls": np.array([[[0.0, 0.0]]], np.float32), "quality": np.array([[[0.0, math.log(3)]]], np.float32)}
    assert best_score(rated) == pytest.approx(0.5 * 0.75)


@pytest.mark.parametrize(("templates", "looks"), [(1, 1), (2, 2), (3, 2), (4, 2)])
def test_each_crop_is_seen_with_its_own_template_and_where_there_is_one_with_another(
    templates: int, looks: int
) -> None:
    """Search crop i holds the value i, and template k the value k."""
    search, template = (np.arange(n, dtype=np.uint8).reshape(-1, 1, 1, 1) for n in (80, templates))
    own = np.arange(80, dtype=np.int64) % templates
    crops = threshold_crops(CalibrationSet(np.tile(template, (1, 8, 8, 3)), np.tile(search, (1, 16, 16, 3)), own))
    seen = [
        (int(crop.max()), int(crops.templates[pair].max()))
        for crop, pair in zip(crops.searches, crops.pairs, strict=True)
    ]
    assert [crop for crop, _ in seen] == [*range(80)] * looks
    assert [pair for _, pair in seen[:80]] == own.tolist()
    assert all(pair != own[crop] for crop, pair in seen[80:])


def test_the_tracker_takes_the_threshold_of_the_artifact_that_runs(default_bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(default_bundle, tmp_path / "b.siamedge")
    manifest = tmp_path / "b.siamedge" / "manifest.json"
    tree = json.loads(manifest.read_text())
    (search,) = [item for item in tree["artifacts"] if item["role"] == "search"]
    assert search["lost_below"] is None
    choice = Candidate("onnxruntime", "fp32", "CPU", "chosen")
    bundle = Bundle.open(default_bundle)
    assert params_of(bundle, choice) == bundle.manifest.tracker.params
    search["lost_below"] = 0.4375
    manifest.write_text(json.dumps(tree))
    assert params_of(Bundle.open(manifest.parent), choice).lost_below == 0.4375
