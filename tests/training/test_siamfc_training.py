"""SiamFC: labels and loss, its two parts, stopping and going on, and a clip tracked by what was trained."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from siamedge.export.checkpoints.reading import read_checkpoint
from siamedge.export.families.siamfc import SiamFC, SiamFCConfig, read_siamfc
from siamedge.export.pipeline import ExportRequest, export_bundle
from siamedge.runtime.errors import ExportError, SourceError
from siamedge.runtime.following import follow
from siamedge.runtime.geometry import intersection_over_union
from siamedge.runtime.sources.synthetic import SyntheticSource
from siamedge.runtime.tracking.params import SiamFCParams
from siamedge.training.crops.store import CropStore
from siamedge.training.crops.synthetic import write_synthetic
from siamedge.training.curve import read_log
from siamedge.training.feeding.fixed import drawn_pairs
from siamedge.training.job import write_calibration
from siamedge.training.pairs.pairs import Batch
from siamedge.training.recipes.siamfc import ALL_RECIPES, SiamFCRecipe
from siamedge.training.running.loop import TrainResult
from siamedge.training.siamfc.classification import ClassBatch, ClassMaker
from siamedge.training.siamfc.judge import judge_siamfc, overlap_at_peak
from siamedge.training.siamfc.loop import fit_siamfc, train_siamfc
from siamedge.training.siamfc.loss import balanced_logistic, make_labels, share_found
from siamedge.training.siamfc.run import SiamFCRun

PARAMS = SiamFCParams()
NARROW = ALL_RECIPES["siamfc-narrow"]
assert isinstance(NARROW, SiamFCRecipe)
TINY = replace(
    NARROW,
    network=SiamFCConfig(widths=(8, 16, 16, 16, 16), response_scale=0.01),
    pairs=64,
    class_share=0.5,
    epoch_pairs=16,
    batch=8,
    warmup_pairs=8,
    fewest_crops=3,
    holdout=(),
    workers=0,
    log_every=1,
)
NOWHERE = (math.nan,) * 4


@pytest.fixture(autouse=True)
def thread_count() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("crops"), classes=3, crops_each=4)


def write_classes(root: Path, *, classes: int, crops_each: int, seed: int = 7) -> Path:
    """Draw objects, each at several times and of a class of its own; give the folder."""
    write_synthetic(root, tracks=classes, frames=crops_each, seed=seed)
    path = root / "annotations.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({**row, "cls": row["track"]}) + "\n" for row in rows))
    return root


def test_cells_within_the_radius_are_positive() -> None:
    boxes = torch.tensor([(127.5, 127.5, 60, 60), (135.5, 111.5, 20, 90), NOWHERE])
    centered, moved, absent = make_labels(boxes, 16.0, PARAMS)
    disc = {(0, 0), *((i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)), (2, 0), (-2, 0), (0, 2), (0, -2)}
    assert {tuple(cell) for cell in (centered.nonzero() - 8).tolist()} == disc
    assert {tuple(cell) for cell in (moved.nonzero() - 8).tolist()} == {(row - 2, column + 1) for row, column in disc}
    assert not absent.any()


def test_positive_and_negative_cells_weigh_alike_whatever_their_number() -> None:
    positive = torch.zeros(2, 17, 17, dtype=torch.bool)
    positive[0, 8, 8] = True
    response = torch.where(positive, torch.tensor(1.0), torch.tensor(-3.0))
    expected = 0.5 * math.log1p(math.exp(-1.0)) + 0.5 * math.log1p(math.exp(-3.0))
    assert balanced_logistic(response, positive).item() == pytest.approx(expected)
    assert balanced_logistic(torch.zeros(2, 17, 17), positive).item() == pytest.approx(math.log(2))


def test_a_target_is_found_if_the_highest_cell_is_on_it() -> None:
    boxes = torch.tensor([(127.5, 127.5, 60, 60), (127.5, 127.5, 60, 60), NOWHERE])
    response = torch.zeros(3, 17, 17)
    response[0, 8, 10] = response[1, 8, 11] = response[2, 0, 0] = 1.0
    assert share_found(response, make_labels(boxes, 16.0, PARAMS)).item() == 0.5


def test_the_place_of_the_peak_is_judged_by_the_true_box_there() -> None:
    response = torch.zeros(2, 1, 17, 17)
    response[0, 0, 8, 8] = response[1, 0, 8, 12] = 1.0  # four cells are 32 px
    boxes = torch.tensor([(127.5, 127.5, 64.0, 32.0)]).repeat(2, 1)
    found = overlap_at_peak(response, boxes)  # enlarged, the peak is within 0.25 px
    assert found.tolist() == pytest.approx([1.0, 32 / 96], abs=0.03)


def fixed_crops(recipe: SiamFCRecipe) -> ClassBatch:
    colors = np.random.default_rng(0).integers(0, 256, (recipe.batch, 1, 1, 3))
    side = recipe.network.template_px
    crops = np.broadcast_to(colors, (recipe.batch, side, side, 3)).astype(np.uint8)
    return ClassBatch(crops, np.arange(recipe.batch, dtype=np.int64) % 3)


def fixed_pairs_of_squares(recipe: SiamFCRecipe) -> Batch:
    """Striped squares of one colour on grey: the template shows the square, the search crop has it somewhere."""
    random, count = np.random.default_rng(0), recipe.batch
    templates, searches = np.full((count, 127, 127, 3), 90, np.uint8), np.full((count, 255, 255, 3), 90, np.uint8)
    centers = random.integers(90, 166, (count, 2))
    for index, (x, y) in enumerate(centers):
        patch = random.integers(0, 256, (60, 1, 3)).repeat(60, axis=1)
        searches[index, y - 30 : y + 30, x - 30 : x + 30] = patch
        templates[index, 33:93, 33:93] = patch
    return Batch(templates, searches, np.column_stack([centers, np.full((count, 2), 60)]).astype(np.float32))


def losses_on(run: SiamFCRun, batch: ClassBatch | Batch, looks: int, steps: int) -> list[float]:
    """The loss before and after each bout of steps on one batch."""
    losses = []
    for _ in range(looks):
        losses.append(run.figures(batch).loss.item())
        for _ in range(steps):
            run.step(batch)
    return losses


@pytest.mark.parametrize("share", [0.9, 0.0])
def test_the_loss_of_either_part_falls_on_a_fixed_set(tmp_path: Path, share: float) -> None:
    torch.manual_seed(0)
    recipe = replace(TINY, pairs=4_000, class_share=share, class_learning_rate=1e-3, frozen_layers=0, decay_from=1.0)
    run = SiamFCRun(recipe, SiamFC(recipe.network), 3, tmp_path)
    batch = fixed_crops(recipe) if share else fixed_pairs_of_squares(recipe)
    losses = losses_on(run, batch, looks=4, steps=12)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.8 * losses[0]


def train_until(pairs: int, recipe: SiamFCRecipe, crops: Path, out: Path, *, resume: bool = False) -> TrainResult:
    """Train, and stop as Ctrl-C does once so many crops and pairs were seen."""
    seen = [0]
    return train_siamfc(
        recipe,
        roots=[crops],
        out=out,
        resume=resume,
        on_progress=lambda progress: seen.append(progress.pairs),
        should_stop=lambda: seen[-1] >= pairs,
    )


def weights_of(result: TrainResult) -> dict[str, torch.Tensor]:
    return read_siamfc(read_checkpoint(result.weights)).state_dict()


def test_the_second_part_leaves_the_early_layers_as_the_first_left_them(tmp_path: Path, crops: Path) -> None:
    first = weights_of(train_until(32, TINY, crops, tmp_path))
    last = weights_of(train_until(64, TINY, crops, tmp_path, resume=True))
    early = ("backbone.conv1", "backbone.conv2", "backbone.conv3")
    assert {name for name in first if torch.equal(first[name], last[name])} == {
        name for name in first if name.startswith(early)
    }


@pytest.mark.parametrize("stops", [(16,), (32,), (40,), (8, 24, 32, 48)])
def test_a_stopped_run_goes_on_to_the_same_end(tmp_path: Path, crops: Path, stops: tuple[int, ...]) -> None:
    whole = train_until(64, TINY, crops, tmp_path / "whole")
    for stop in stops:
        assert train_until(stop, TINY, crops, tmp_path / "parts", resume=True).pairs == stop
    parts = train_until(64, TINY, crops, tmp_path / "parts", resume=True)
    assert parts.pairs == whole.pairs == 64
    one, two = weights_of(whole), weights_of(parts)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_log_says_which_part_a_row_is_of(tmp_path: Path, crops: Path) -> None:
    log = read_log(train_until(64, TINY, crops, tmp_path).log)
    assert log["pairs"] == [8.0 * step for step in range(1, 9)]
    assert log["found"][:4] == [0.0] * 4
    assert log["classified"][4:] == [0.0] * 4
    assert set(log["total_pairs"]) == {64.0}


def test_crops_of_all_classes_are_drawn_alike_and_rare_classes_are_skipped(tmp_path: Path) -> None:
    store = CropStore(
        [
            write_classes(tmp_path / "many", classes=2, crops_each=6),
            write_classes(tmp_path / "few", classes=3, crops_each=2, seed=8),
        ]
    )
    # The classes of "few" bear the same names, so "synthetic_0" and "synthetic_1" have 8 crops, "synthetic_2" 2.
    maker = ClassMaker(store, replace(TINY, fewest_crops=6))
    assert maker.classes == ("synthetic/synthetic_0", "synthetic/synthetic_1")
    labels = maker.batch(0, 200).labels
    assert np.bincount(labels).tolist() == pytest.approx([100, 100], abs=30)  # four standard deviations
    assert (maker.batch(40, 1).crops[0] == maker.batch(32, 16).crops[8]).all()


def test_too_few_classes_are_told(tmp_path: Path, crops: Path) -> None:
    message = r"^0 class\(es\) with at least 20 crops, 2 are needed to learn from$"
    with pytest.raises(SourceError, match=message):
        train_siamfc(replace(TINY, fewest_crops=20), roots=[crops], out=tmp_path)


def test_a_checkpoint_of_other_classes_is_told(tmp_path: Path, crops: Path) -> None:
    train_until(8, TINY, crops, tmp_path)
    others = write_classes(tmp_path / "others", classes=4, crops_each=4)
    with pytest.raises(ExportError, match=r"checkpoint\.pt: does not fit the run: .* size mismatch for head\.weight"):
        train_until(64, TINY, others, tmp_path, resume=True)


def test_weights_to_start_from_keep_their_widths_and_skip_the_classes(tmp_path: Path, crops: Path) -> None:
    first = train_until(64, TINY, crops, tmp_path / "first")
    fitted = fit_siamfc(NARROW, first.weights, None)
    assert (fitted.network, fitted.class_crops) == (TINY.network, 0)
    still = replace(fitted, pairs=8, batch=8, learning_rate=0.0, workers=0)
    one, two = weights_of(first), weights_of(train_siamfc(still, roots=[crops], out=tmp_path / "b", init=first.weights))
    learned = [name for name in one if name.endswith(("weight", "bias"))]
    assert all(torch.equal(one[name], two[name]) for name in learned)


def test_a_short_training_exports_and_tracks_a_clip(tmp_path: Path) -> None:
    recipe = replace(
        TINY,
        network=SiamFCConfig(widths=(12, 24, 32, 32, 32), response_scale=0.008),
        pairs=2_400,
        epoch_pairs=600,
        batch=16,
        log_every=25,
        learning_rate=2e-3,
    )
    crops = write_classes(tmp_path / "crops", classes=40, crops_each=6)
    fixed, looks = drawn_pairs(tmp_path / "fixed", recipe), []
    result = train_siamfc(
        recipe,
        roots=[crops],
        out=tmp_path,
        on_epoch=lambda run: looks.append(judge_siamfc(fixed, run.average, recipe, run.pairs)),
    )
    classified = [share for share in read_log(result.log)["classified"] if share]
    assert classified[-1] > 2 / 40  # twice what guessing gives
    assert looks[-1].loss < math.log(2)  # what a response of nothing but zeros costs
    assert looks[-1].overlap > looks[0].overlap + 0.1

    bundle = tmp_path / "small.siamedge"
    write_calibration((fixed,), result.weights.with_suffix(".calibration.npz"))
    export_bundle(ExportRequest(bundle, checkpoint=result.weights, formats=("onnx",), precisions=("fp32", "int8")))
    # Fresh weights get .67 to .76 here (four seeds), so this shows that what was trained still tracks when exported;
    # that it learned is what the pairs above show.
    clip = SyntheticSource(frames=60)
    for precision in ("fp32", "int8"):
        steps = follow(bundle, "synthetic:?frames=60", clip.box_at(0), precision=precision)
        overlaps = [intersection_over_union(step.result.box, clip.box_at(step.frame.index)) for step in steps]
        assert np.mean(overlaps) > 0.6
