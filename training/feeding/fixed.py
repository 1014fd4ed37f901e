"""A small fixed set of pairs, on which a network is judged again and again while it trains."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from siamedge.export.families.dart import Dart
from siamedge.training.crops.cutouts import Outlines
from siamedge.training.crops.store import CropStore
from siamedge.training.crops.synthetic import draw_once
from siamedge.training.networks.inputs import as_input
from siamedge.training.networks.losses import dart_losses, overlap
from siamedge.training.networks.targets import Targets, make_targets
from siamedge.training.pairs.pairs import Batch, Mixture, PairMaker
from siamedge.training.recipes.dart import Recipe
from siamedge.training.recipes.siamfc import AnyRecipe

_BATCHES, _SIZE = 4, 32
_DRAWN_TRACKS = 24
_OTHER_SEED = 1_000
"""Added to a recipe's seed: objects and pairs that training never draws."""


class Judgement(NamedTuple):
    """What a network makes of a fixed set; one row of `fixed.csv`.

    Args:
        pairs: That training had seen.
        name: Of the set.
        loss: As the recipe weighs it.
        overlap: Mean IoU of the box of the best cell with the truth.
    """

    pairs: int
    name: str
    loss: float
    overlap: float


@dataclass(frozen=True, slots=True)
class FixedPairs:
    """Pairs with their target present.

    Args:
        name: Whose they are.
        batches: The same at every look.
    """

    name: str
    batches: tuple[Batch, ...]

    @torch.no_grad()
    def judge(self, network: Dart, recipe: Recipe, pairs: int) -> Judgement:
        """Compare what a network says with the truth.

        Args:
            network: In evaluation mode, with or without batch norm.
            recipe: Whose losses count.
            pairs: That it has seen.
        """
        sums = torch.zeros(2)
        for batch in self.batches:
            outputs = network(as_input(batch.templates), as_input(batch.searches))
            targets = make_targets(torch.from_numpy(batch.boxes), network.config.cells, network.config.stride)
            loss = dart_losses(outputs, targets, network.config, recipe.losses).total
            sums += torch.stack([loss, best_overlap(network, outputs, targets).mean()])
        loss, found = (sums / len(self.batches)).tolist()
        return Judgement(pairs, self.name, loss, found)


def best_overlap(network: Dart, outputs: tuple[Tensor, ...], targets: Targets) -> Tensor:
    """Give the IoU (N,) of the box at the cell with the highest score."""
    config = network.config
    score = outputs[0].sigmoid() * (outputs[2].sigmoid() if config.has_quality else 1.0)
    best = score.flatten(1).argmax(1)
    rows = torch.arange(len(best))
    ltrb = config.box_scale * outputs[1].clamp(max=config.max_log).exp()
    return overlap(ltrb.flatten(2)[rows, :, best], targets.ltrb.flatten(2)[rows, :, best])[0]


def fixed_pairs(name: str, store: CropStore, recipe: AnyRecipe) -> FixedPairs:
    """Choose pairs of two times of one track (two views of one crop where there are no tracks), as hard as in training.

    Args:
        name: Whose they are.
        store: Crops that are not trained on.
        recipe: Gives sizes and changes of geometry and appearance.
    """
    maker = PairMaker(
        store,
        Mixture(tracks=1.0, negative=0.0, paste=0.0, flat=1.0),
        recipe.track,
        recipe.track,
        recipe.appearance,
        outlines=Outlines(),
        template_px=recipe.network.template_px,
        search_px=recipe.network.search_px,
        seed=recipe.seed + _OTHER_SEED,
    )
    return FixedPairs(name, tuple(maker.batches(range(0, _BATCHES * _SIZE, _SIZE), _SIZE)))


def drawn_pairs(root: Path, recipe: AnyRecipe) -> FixedPairs:
    """Draw objects that training never sees, into a folder, and choose pairs of them."""
    drawn = draw_once(root, tracks=_DRAWN_TRACKS, frames=2, seed=recipe.seed + _OTHER_SEED)
    return fixed_pairs("drawn", CropStore([drawn]), recipe)


def append_judgements(path: Path, judgements: Sequence[Judgement]) -> None:
    """Add rows to a CSV file, with a heading if it is new."""
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, Judgement._fields)
        if is_new:
            writer.writeheader()
        writer.writerows(item._asdict() for item in judgements)


def read_judgements(path: Path) -> list[Judgement]:
    """Read what append_judgements wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [Judgement(int(row["pairs"]), row["name"], float(row["loss"]), float(row["overlap"])) for row in rows]
