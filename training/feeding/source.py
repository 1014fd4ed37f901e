"""A run's crops, and the batches of pairs that are made of them."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from siamedge.training.crops.augmentation import Appearance, Geometry
from siamedge.training.crops.cutouts import Outlines
from siamedge.training.crops.store import CropStore
from siamedge.training.crops.synthetic import draw_once
from siamedge.training.pairs.loader import Maker, batches
from siamedge.training.pairs.pairs import Batch, Mixture, PairMaker
from siamedge.training.recipes.dart import RunRecipe
from siamedge.training.recipes.siamfc import AnyRecipe
from siamedge.training.teaching.teacher import Teacher


def open_store(recipe: RunRecipe, roots: Sequence[Path], out: Path) -> CropStore:
    """Read the crops that a recipe trains on; the objects that it wants drawn are drawn into out/drawn once.

    Raises:
        SourceError: There are no crops, or one is damaged.
        PlaceError: What is drawn cannot be written.
    """
    drawn = []
    if recipe.drawn_tracks:
        drawn = [draw_once(out / "drawn", tracks=recipe.drawn_tracks, frames=4, seed=recipe.seed)]
    return CropStore([*roots, *drawn], holdout=recipe.holdout)


class PairSource:
    """Batches, epoch by epoch, from a store that may grow.

    Args:
        recipe: Which pairs, and how many.
        store: The crops.
        out: The run's folder; outlines of objects are remembered there.
        teacher: Adds its view to every batch.
    """

    def __init__(self, recipe: AnyRecipe, store: CropStore, out: Path, teacher: Teacher | None = None) -> None:
        self._recipe, self._store, self._teacher = recipe, store, teacher
        self._outlines = Outlines(out / "outlines.jsonl")

    def maker(self) -> Maker[Batch]:
        """Make pairs of what is in the store now."""
        recipe, calm = self._recipe, self._recipe.calm
        usual = self._maker(recipe.mixture, recipe.still, recipe.track, recipe.appearance)
        if calm is None:
            return usual
        return _Calmed(usual, self._maker(calm.mixture, calm.geometry, calm.geometry, calm.appearance), calm.share)

    def _maker(self, mixture: Mixture, still: Geometry, track: Geometry, appearance: Appearance) -> PairMaker:
        recipe = self._recipe
        return PairMaker(
            self._store,
            mixture,
            still,
            track,
            appearance,
            outlines=self._outlines,
            template_px=recipe.network.template_px,
            search_px=recipe.network.search_px,
            seed=recipe.seed,
        )

    def taught_maker(self) -> Maker[Batch]:
        """The same, with the teacher's view if there is one."""
        return self.maker() if self._teacher is None else _Taught(self.maker(), self._teacher)

    def refresh(self) -> None:
        """Take in crops and outlines that are new."""
        self._store.refresh()
        self._outlines.refresh()

    def epoch(self, start: int) -> Iterator[Batch]:
        """Make the batches of the epoch that begins with a pair."""
        return epoch_batches(self._recipe, self.taught_maker(), start)


def epoch_batches(recipe: AnyRecipe, maker: Maker[Batch], start: int) -> Iterator[Batch]:
    """Make the batches of a run's epoch that begins with a pair."""
    starts = range(start, min(start + recipe.epoch_pairs, recipe.pairs), recipe.batch)
    return batches(maker, starts, recipe.batch, recipe.workers)


class _Calmed:
    """Batches of one maker, and so large a share of another's among them."""

    def __init__(self, usual: PairMaker, calm: PairMaker, share: float) -> None:
        self._usual, self._calm, self._share = usual, calm, share

    def batch(self, start: int, size: int) -> Batch:
        number = start // size
        is_calm = math.floor((number + 1) * self._share) > math.floor(number * self._share)
        return (self._calm if is_calm else self._usual).batch(start, size)


class _Taught:
    """Pairs with a teacher's view of them."""

    def __init__(self, maker: Maker[Batch], teacher: Teacher) -> None:
        self._maker, self._teacher = maker, teacher

    def batch(self, start: int, size: int) -> Batch:
        batch = self._maker.batch(start, size)
        return batch._replace(view=self._teacher.view(*batch[:3]))
