"""A SiamFC in training: first its early layers over single crops, then the others over pairs; log and checkpoint."""

import copy
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siamedge.export.families.siamfc import SiamFC, save_siamfc
from siamedge.runtime.tracking.params import SiamFCParams
from siamedge.training.networks.autocast import autocast
from siamedge.training.networks.inputs import as_input
from siamedge.training.pairs.pairs import Batch
from siamedge.training.recipes.siamfc import SiamFCRecipe
from siamedge.training.running.checkpoints import load_checkpoint, save_checkpoint, saving
from siamedge.training.running.csv_log import append_row
from siamedge.training.running.files import RunFiles
from siamedge.training.running.meter import Meter
from siamedge.training.siamfc.classification import ClassBatch, Classifier, class_figures
from siamedge.training.siamfc.loss import balanced_logistic, make_labels, share_found
from siamedge.training.siamfc.parts import Pairing, Part


class SiamFCProgress(NamedTuple):
    """Where a run stands; means since the last report.

    Attributes:
        pairs: Crops and pairs seen.
        total_pairs: Of the whole run.
        loss: Cross-entropy of the classes in the first part, logistic loss of the response in the second.
        classified: Share of crops whose class was right; 0 in the second part.
        found: Share of pairs whose highest cell was on the target; 0 in the first part.
        learning_rate: Of the last step.
        pairs_per_s: Speed.
    """

    pairs: int
    total_pairs: int
    loss: float
    classified: float
    found: float
    learning_rate: float
    pairs_per_s: float


class Figures(NamedTuple):
    """Of one batch: the loss, and the share of crops classified or of targets found."""

    loss: Tensor
    right: Tensor


class SiamFCRun:
    """Both parts, one after the other, and the files that they are saved in.

    Args:
        recipe: What to do.
        network: To train; changed in place.
        classes: How many classes the first part tells apart; not used if there is no first part.
        out: Folder for `weights.safetensors`, `log.csv` and `checkpoint.pt`.
    """

    def __init__(self, recipe: SiamFCRecipe, network: SiamFC, classes: int, out: Path) -> None:
        self.recipe, self.files, self.pairs, self.last_loss = recipe, RunFiles(out), 0, float("nan")
        self.network, self.class_crops = network, recipe.class_crops
        self._part = self._first(classes) if self.class_crops else self._second()
        self._meter, self._saved = Meter(len(Figures._fields)), time.monotonic()

    @property
    def is_classifying(self) -> bool:
        """Whether the run is in its first part."""
        return self.pairs < self.class_crops

    @property
    def average(self) -> SiamFC:
        """What is judged and saved, in evaluation mode."""
        module = self._part.average
        return module.network if isinstance(module, Pairing) else copy.deepcopy(self.network).eval()

    def restore(self) -> bool:
        """Go on from the checkpoint; False if there is none.

        Raises:
            ExportError: The checkpoint is damaged, or of another network or other classes.
        """
        checkpoint = load_checkpoint(self.files.checkpoint)
        if checkpoint is None:
            return False
        self.pairs = checkpoint.pairs
        if not self.is_classifying:
            self._part = self._second()
        self._part.restore(checkpoint, self.files.checkpoint)
        self.files.rewind(self.pairs)
        return True

    def step(self, batch: ClassBatch | Batch, on_progress: Callable[[SiamFCProgress], None] | None = None) -> None:
        """Learn from a batch; saves when the last checkpoint is old enough.

        Raises:
            ExportError: The run has diverged.
        """
        figures = self.figures(batch)
        rate = self._part.step(figures.loss, self.pairs)
        self.pairs += len(batch[0])
        self._meter.add(torch.stack(figures).detach())
        if self._meter.steps == self.recipe.log_every or self.pairs == self.class_crops:
            self._report(isinstance(batch, ClassBatch), rate, on_progress)
        if self.pairs == self.class_crops:
            self._move_on()
        is_last = self.pairs >= self.recipe.pairs  # judged before it is saved, by whoever runs the steps
        if not is_last and time.monotonic() - self._saved > self.recipe.checkpoint_s:
            self.save()

    def figures(self, batch: ClassBatch | Batch) -> Figures:
        """Compare what the network says now with the truth."""
        if isinstance(batch, ClassBatch):
            with autocast():
                logits = self._part.module(as_rgb(batch.crops))
            return Figures(*class_figures(logits, torch.from_numpy(batch.labels)))
        response = self._part.module(as_rgb(batch.templates), as_rgb(batch.searches))
        positive = make_labels(torch.from_numpy(batch.boxes), self.recipe.radius_px, SiamFCParams())
        return Figures(balanced_logistic(response, positive), share_found(response.detach(), positive))

    def save(self) -> None:
        """Write the checkpoint and, in the second part, the averaged weights.

        Raises:
            PlaceError: They cannot be written.
        """
        save_checkpoint(self._part.checkpoint(self.pairs), self.files.checkpoint)
        if not self.is_classifying:
            notes = {"recipe": self.recipe.name, "pairs": str(self.pairs), "seed": str(self.recipe.seed)}
            network = self.average
            with saving(self.files.weights):
                save_siamfc(network, self.files.weights, notes=notes)
        self._saved = time.monotonic()

    def _first(self, classes: int) -> Part:
        recipe = self.recipe
        its = replace(recipe, pairs=self.class_crops, learning_rate=recipe.class_learning_rate)
        return Part(Classifier(self.network, classes), its, 0)

    def _second(self) -> Part:
        its = replace(self.recipe, pairs=self.recipe.pairs - self.class_crops)
        return Part(Pairing(self.network, self.recipe.frozen_layers), its, self.class_crops)

    def _move_on(self) -> None:
        """Take the averaged early layers into the second part."""
        classifier = self._part.average
        if isinstance(classifier, Classifier):
            Classifier(self.network, classifier.head.out_features).layers.load_state_dict(
                classifier.layers.state_dict()
            )
        self._part = self._second()

    def _report(self, is_class: bool, rate: float, on_progress: Callable[[SiamFCProgress], None] | None) -> None:
        (loss, right), speed = self._meter.read(self.recipe.batch)
        classified, found = (right, 0.0) if is_class else (0.0, right)
        progress = SiamFCProgress(self.pairs, self.recipe.pairs, loss, classified, found, rate, speed)
        append_row(self.files.log, progress._asdict())
        self.last_loss = loss
        if on_progress is not None:
            on_progress(progress)


def as_rgb(crops: NDArray[np.uint8]) -> Tensor:
    """Turn (N, H, W, 3) uint8 BGR into (N, 3, H, W) float32 RGB, channels last in memory."""
    return as_input(np.ascontiguousarray(crops[..., ::-1]))
