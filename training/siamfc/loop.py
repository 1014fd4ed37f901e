"""Running the SiamFC recipe from crops to weights."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from siamedge.export.checkpoints.reading import read_checkpoint
from siamedge.export.families.siamfc import SiamFC, read_siamfc
from siamedge.runtime.errors import ExportError, SourceError
from siamedge.training.feeding.source import PairSource, open_store
from siamedge.training.pairs.loader import batches
from siamedge.training.pairs.pairs import Batch
from siamedge.training.recipes.siamfc import SiamFCRecipe
from siamedge.training.running.loop import TrainResult
from siamedge.training.siamfc.classification import ClassBatch, ClassMaker
from siamedge.training.siamfc.run import SiamFCProgress, SiamFCRun


def fit_siamfc(recipe: SiamFCRecipe, init: Path | None, teacher: Path | None) -> SiamFCRecipe:
    """Make a recipe fit for the weights that it starts from: their widths are kept and the classes are skipped.

    Raises:
        SourceError: There is a teacher, which this recipe cannot learn from.
        ExportError: The weights are not SiamFC's.
    """
    if teacher is not None:
        raise SourceError(f"recipe {recipe.name!r} learns from no teacher", hint="train it without --teacher")
    if init is None:
        return recipe
    try:
        return replace(recipe, network=read_siamfc(read_checkpoint(init)).config, class_share=0.0)
    except ExportError as error:
        hint = f"recipe {recipe.name!r} starts from SiamFC weights, or from none"
        raise ExportError(f"{init}: {error}", hint=hint) from error


def train_siamfc(
    recipe: SiamFCRecipe,
    *,
    roots: Sequence[Path],
    out: Path,
    init: Path | None = None,
    resume: bool = False,
    on_progress: Callable[[SiamFCProgress], None] | None = None,
    on_epoch: Callable[[SiamFCRun], None] = lambda run: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainResult:
    """Run a recipe.

    Args:
        recipe: What to do.
        roots: Folders of crops (crops/store.py says in which form); none for a recipe that draws its own.
        out: Folder for `weights.safetensors`, `log.csv` and `checkpoint.pt`.
        init: SiamFC weights to start from; their widths must be the recipe's.
        resume: Go on from out/checkpoint.pt if it is there.
        on_progress: Called every `log_every` steps.
        on_epoch: Called before the first pair of a new run and after each epoch of pairs.
        should_stop: Asked after each step but the last; the run is saved and ends early if it says so.

    Raises:
        SourceError: There are no crops, one is damaged, or there are too few classes.
        ExportError: `init` or the checkpoint is damaged or does not fit the recipe's network, or the run has diverged.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(recipe.threads)
    source = _Source(recipe, roots, out)
    run = SiamFCRun(recipe, _start_network(recipe, init), source.classes, out)
    if not (resume and run.restore()):
        run.files.start_anew()
        on_epoch(run)
    while run.pairs < recipe.pairs and not should_stop():
        was_classifying = run.is_classifying
        for batch in source.epoch(run.pairs):
            run.step(batch, on_progress)
            if run.pairs < recipe.pairs and should_stop():
                break
        else:
            if not was_classifying:
                on_epoch(run)
    run.save()
    return TrainResult(run.files.weights, run.files.log, run.pairs, run.last_loss)


class _Source:
    """Batches of classified crops, then of pairs, epoch by epoch.

    Raises:
        SourceError: There are no crops, or too few classes for the first part.
    """

    def __init__(self, recipe: SiamFCRecipe, roots: Sequence[Path], out: Path) -> None:
        store = open_store(recipe, roots, out)
        self._recipe, self._pairs = recipe, PairSource(recipe, store, out)
        self._crops = ClassMaker(store, recipe) if recipe.class_crops else None

    @property
    def classes(self) -> int:
        return len(self._crops.classes) if self._crops else 0

    def epoch(self, start: int) -> Iterator[ClassBatch] | Iterator[Batch]:
        recipe = self._recipe
        if self._crops is None or start >= recipe.class_crops:
            return self._pairs.epoch(start)
        end = min(start + recipe.epoch_pairs, recipe.class_crops)
        return batches(self._crops, range(start, end, recipe.batch), recipe.batch, recipe.workers)


def _start_network(recipe: SiamFCRecipe, init: Path | None) -> SiamFC:
    torch.manual_seed(recipe.seed)
    network = SiamFC(recipe.network)
    if init is not None:
        network.load_state_dict(read_siamfc(read_checkpoint(init)).state_dict())
    return network
