"""Pairs that are drawn once and learnt from several times, kept as what a network's frozen layers make of them.

On a CPU it takes longer to draw a pair and to show it to a teacher than to learn from it, and the first layers, whose
maps are the largest, make the same of it each time.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from siamedge.export.families.dart import Dart
from siamedge.runtime.errors import SourceError
from siamedge.training.feeding.source import epoch_batches
from siamedge.training.networks.inputs import as_input
from siamedge.training.pairs.loader import Maker, batches
from siamedge.training.pairs.pairs import Batch
from siamedge.training.recipes.dart import Recipe
from siamedge.training.teaching.teacher import View

RELU6_TOP = 6.0
LEVELS = 255
"""Of a byte: a map is kept in steps of RELU6_TOP / LEVELS."""
_DRAWN = "drawn"


def early_maps(network: Dart, layers: int, crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What the first layers of a network make of crops, in bytes.

    Args:
        network: Of plain convolutions, float32.
        layers: How many.
        crops: (N, H, W, 3) uint8 BGR.

    Returns:
        (N, h, w, channels) uint8: 0..255 for 0..6.
    """
    with torch.no_grad():
        x = network.hidden(as_input(crops).contiguous(memory_format=torch.channels_last), layers)
        return (x * (LEVELS / RELU6_TOP)).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def later_part(network: Dart, layers: int) -> Dart:
    """The same network without its first layers, for maps of early_maps instead of crops; it shares the parameters."""
    part = Dart(replace(network.config, mean=0.0, scale=LEVELS / RELU6_TOP))
    for name, child in network.named_children():
        setattr(part, name, child)
    part.backbone = nn.ModuleList(network.backbone[layers:])
    return part


class _Arrays(NamedTuple):
    """What is kept of N pairs, a file each."""

    templates: NDArray[np.uint8]
    searches: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    teacher_score: NDArray[np.float32]
    teacher_box: NDArray[np.float32]


class KeptPairs:
    """Pairs in a folder, which may be drawn in several goes; a Maker of batches in an order of their own a pass.

    Args:
        recipe: recipe.pairs of them will be seen, each recipe.looks times.
        folder: For the files; made if it is not there.
        resume: Go on with the pairs that are there; else they are those of another run, and deleted.

    Raises:
        ValueError: The recipe does not leave the first layers as they are, or learns a teacher's features.
    """

    def __init__(self, recipe: Recipe, folder: Path, *, resume: bool = False) -> None:
        is_plain = not recipe.branches and recipe.weight_bits is None
        if not (recipe.frozen_layers and is_plain and not recipe.losses.features):
            raise ValueError(f"recipe {recipe.name!r}: pairs are kept only for frozen layers and without features")
        self._recipe, self._folder = recipe, folder
        steps = -(-recipe.pairs // (recipe.looks * recipe.batch))
        self.count = steps * recipe.batch
        self._arrays: _Arrays | None = None
        if not resume:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def drawn(self) -> int:
        """How many pairs are there already."""
        note = self._folder / _DRAWN
        return int(note.read_text()) if note.is_file() else 0

    def draw(self, source: Maker[Batch], network: Dart, should_stop: Callable[[], bool]) -> Iterator[int]:
        """Draw the pairs that are missing; gives how many there are after each batch.

        Args:
            source: Makes them; the same for each go.
            network: Whose frozen layers look at them.
            should_stop: Asked after each batch.

        Raises:
            SourceError: The disk is too small.
        """
        recipe = self._recipe
        starts = range(self.drawn, self.count, recipe.batch)
        for start, batch in zip(starts, batches(source, starts, recipe.batch, recipe.workers), strict=True):
            templates, searches = (early_maps(network, recipe.frozen_layers, crops) for crops in batch[:2])
            view, cells = batch.view, recipe.network.cells
            score = np.full((recipe.batch, cells, cells), np.nan, np.float32) if view is None else view.score
            box = np.full((recipe.batch, 4), np.nan, np.float32) if view is None else view.box
            rows = _Arrays(templates, searches, batch.boxes, score, box)
            self._arrays = self._arrays or self._opened(rows)
            for name, new in rows._asdict().items():
                getattr(self._arrays, name)[start : start + recipe.batch] = new
            (self._folder / _DRAWN).write_text(str(start + recipe.batch), encoding="utf-8")
            yield start + recipe.batch
            if should_stop():
                return

    def batch(self, start: int, size: int) -> Batch:
        """Give pairs start .. start + size - 1 of all that will be seen; `size` is the recipe's batch."""
        if self._arrays is None:
            self._arrays = _Arrays(*(np.load(self._file(name), mmap_mode="r") for name in _Arrays._fields))
        number, place = divmod(start, self.count)
        order = np.random.default_rng((self._recipe.seed, number)).permutation(self.count)
        chosen = np.sort(order[place : place + size])
        kept, nothing = self._arrays, np.empty((size, 0), np.float16)
        view = View(nothing, nothing, kept.teacher_score[chosen], kept.teacher_box[chosen])
        return Batch(kept.templates[chosen], kept.searches[chosen], kept.boxes[chosen], view)

    def epoch(self, start: int) -> Iterator[Batch]:
        """Give the batches of the epoch that begins with a pair."""
        return epoch_batches(self._recipe, self, start)

    def remove(self) -> None:
        """Delete the files."""
        self._arrays = None
        shutil.rmtree(self._folder)

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.npy"

    def _opened(self, rows: _Arrays) -> _Arrays:
        """Files for all pairs, of the shapes of a batch's rows."""
        if self.drawn:
            return _Arrays(*(np.lib.format.open_memmap(self._file(name), mode="r+") for name in _Arrays._fields))
        needed = sum(row.nbytes for row in rows) // len(rows.boxes) * self.count
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise SourceError(
                f"{self._folder}: {self.count} pairs take {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free",
                hint="give --pairs a smaller number, or --out another disk",
            )
        return _Arrays(
            *(
                np.lib.format.open_memmap(self._file(name), "w+", row.dtype, (self.count, *row.shape[1:]))
                for name, row in rows._asdict().items()
            )
        )
