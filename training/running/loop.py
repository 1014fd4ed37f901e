"""Running a recipe from crops to weights."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from siamedge.export.checkpoints.reading import read_checkpoint
from siamedge.export.families.dart import Dart, load_dart
from siamedge.export.families.dart_source import TRACKER_KEY
from siamedge.training.feeding.kept import KeptPairs
from siamedge.training.feeding.source import PairSource, open_store
from siamedge.training.networks.branches import with_branches
from siamedge.training.networks.growing import grown
from siamedge.training.networks.inputs import as_input
from siamedge.training.networks.rounding import with_rounding
from siamedge.training.pairs.loader import Maker
from siamedge.training.pairs.pairs import Batch
from siamedge.training.recipes.dart import Recipe
from siamedge.training.running.run import ProgressHandler, TrainingRun
from siamedge.training.teaching.teacher import Teacher

KEPT = "kept"
"""Folder of pairs in that of a run, gone with its end."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a run left behind.

    Attributes:
        weights: safetensors, fp32, branches folded, config in the metadata.
        log: CSV, a row every `log_every` steps.
        pairs: Seen, those before a resume included.
        loss: Mean over the steps of the last row.
    """

    weights: Path
    log: Path
    pairs: int
    loss: float


def train(
    recipe: Recipe,
    *,
    dataset_root: Path | Sequence[Path],
    out: Path,
    init: Path | None = None,
    teacher: Path | None = None,
    resume: bool = False,
    on_progress: ProgressHandler | None = None,
    on_drawn: Callable[[int, int], None] = lambda drawn, count: None,
    on_epoch: Callable[[TrainingRun], None] = lambda run: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainResult:
    """Run a recipe.

    Args:
        recipe: What to do.
        dataset_root: One or more folders of crops (crops/store.py says how); none for a recipe that draws its own.
        out: Folder for `weights.safetensors`, `log.csv` and `checkpoint.pt`.
        init: Weights to start from; what they lack (a new head, more channels) is drawn at random.
        teacher: The published nanotrackv3.pth, to learn from its features, scores and boxes too.
        resume: Go on from out/checkpoint.pt if it is there.
        on_progress: Called every `log_every` steps.
        on_drawn: With recipe.looks, called after each batch that is drawn: how many pairs there are, and will be.
        on_epoch: Called before the first pair of a new run and after each epoch.
        should_stop: Asked after each batch that is drawn and each step but the last; the run is saved and ends early if
            it says so.

    Raises:
        SourceError: There are no crops, one is damaged, or there is no room for the pairs that are kept.
        ExportError: `init` or the checkpoint is damaged or does not fit the recipe's network, or the run has diverged.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(recipe.threads)
    roots = [dataset_root] if isinstance(dataset_root, Path) else list(dataset_root)
    gives_boxes = recipe.losses.teacher_box > 0
    taught = None if teacher is None else Teacher(teacher, recipe.network.cells, gives_boxes=gives_boxes)
    source = PairSource(recipe, open_store(recipe, roots, out), out, taught)
    run = TrainingRun(recipe, _start_network(recipe, init, source.maker()), out, notes=_tracker_notes(init))
    if not (resume and run.restore()):
        run.files.start_anew()
        on_epoch(run)
    is_kept = recipe.looks > 1 and run.pairs < recipe.pairs
    kept = KeptPairs(recipe, out / KEPT, resume=resume) if is_kept else None
    if kept is not None:
        for drawn in kept.draw(source.taught_maker(), run.network, should_stop):
            on_drawn(drawn, kept.count)
    while run.pairs < recipe.pairs and not should_stop():
        source.refresh()
        for batch in (kept or source).epoch(run.pairs):
            run.step(batch, on_progress)
            if run.pairs < recipe.pairs and should_stop():
                break
        else:
            on_epoch(run)
    run.save()
    if kept is not None and run.pairs >= recipe.pairs:
        kept.remove()
    return TrainResult(run.files.weights, run.files.log, run.pairs, run.last_loss)


def _tracker_notes(init: Path | None) -> dict[str, str]:
    """The tuned tracker parameters of the weights that a run starts from; they stay with what it makes of them."""
    metadata = {} if init is None else read_checkpoint(init).metadata
    return {TRACKER_KEY: metadata[TRACKER_KEY]} if TRACKER_KEY in metadata else {}


def _start_network(recipe: Recipe, init: Path | None, maker: Maker[Batch]) -> Dart:
    torch.manual_seed(recipe.seed)
    network = Dart(recipe.network) if init is None else grown(load_dart(init), recipe.network)
    if recipe.weight_bits is not None:
        return with_rounding(network, recipe.weight_bits)
    if not recipe.branches:
        return network.train()
    batch = maker.batch(0, 32)
    return with_branches(network, as_input(batch.templates), as_input(batch.searches))
