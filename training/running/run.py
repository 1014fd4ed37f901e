"""A network in training: steps, weight average, log and checkpoint."""

import copy
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.optim import AdamW

from siamedge.export.families.dart import Dart, save_dart
from siamedge.training.feeding.kept import later_part
from siamedge.training.networks.autocast import autocast
from siamedge.training.networks.branches import folded, settle
from siamedge.training.networks.inputs import as_input
from siamedge.training.networks.losses import Losses, dart_losses, reach_at
from siamedge.training.networks.openings import Openings
from siamedge.training.networks.rounding import plain
from siamedge.training.networks.targets import make_targets
from siamedge.training.pairs.pairs import Batch
from siamedge.training.recipes.dart import Recipe
from siamedge.training.running.average import decay_after, follow
from siamedge.training.running.checkpoints import Checkpoint, fitting, load_checkpoint, save_checkpoint, saving
from siamedge.training.running.csv_log import append_row
from siamedge.training.running.diverging import check_finite
from siamedge.training.running.files import RunFiles
from siamedge.training.running.meter import Meter
from siamedge.training.running.schedule import learning_rate
from siamedge.training.teaching.distillation import Distiller, box_loss, score_loss


class Progress(NamedTuple):
    """Where a run stands; losses are means since the last report.

    Attributes:
        shut: Share of the channels behind a ReLU that opened nowhere in the last batch; of frozen layers only where
            they are computed.
    """

    pairs: int
    total_pairs: int
    loss: float
    cls: float
    box: float
    quality: float
    features: float
    score: float
    teacher_box: float
    shut: float
    learning_rate: float
    pairs_per_s: float


ProgressHandler = Callable[[Progress], None]


class TrainingRun:
    """The network, its optimizer, its weight average and the files that they are saved in.

    Args:
        recipe: What to do.
        network: To train: plain, with branches or with rounded weights; changed in place.
        out: Folder for `weights.safetensors`, `log.csv` and `checkpoint.pt`.
        notes: More metadata of the weights.
    """

    def __init__(self, recipe: Recipe, network: Dart, out: Path, *, notes: Mapping[str, str] | None = None) -> None:
        self._notes = dict(notes or {})
        self.recipe, self.files, self.pairs, self.last_loss = recipe, RunFiles(out), 0, float("nan")
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        for layer in self.network.backbone[: recipe.frozen_layers]:
            layer.requires_grad_(False)
        is_later = recipe.looks > 1
        self._learning = later_part(self.network, recipe.frozen_layers) if is_later else self.network
        self.distiller = Distiller(self.network)
        both = (*self.network.parameters(), *self.distiller.parameters())
        trained = [parameter for parameter in both if parameter.requires_grad]
        self.optimizer = AdamW(trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        self._openings = Openings(self.network)
        self._meter, self._saved = Meter(len(Losses._fields)), time.monotonic()

    def restore(self) -> bool:
        """Go on from the checkpoint; False if there is none.

        Raises:
            ExportError: The checkpoint is damaged, or of another network.
        """
        checkpoint = load_checkpoint(self.files.checkpoint)
        if checkpoint is None:
            return False
        with fitting(self.files.checkpoint):
            self.network.load_state_dict(checkpoint.network)
            self.average.load_state_dict(checkpoint.average)
            self.distiller.load_state_dict(checkpoint.distiller)
            self.optimizer.load_state_dict(checkpoint.optimizer)
        self.pairs = checkpoint.pairs
        self.files.rewind(self.pairs)
        return True

    def step(self, batch: Batch, on_progress: ProgressHandler | None = None) -> None:
        """Learn from a batch; saves when the last checkpoint is old enough.

        Raises:
            ExportError: The run has diverged.
        """
        rate = learning_rate(self.recipe, self.pairs)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if self.pairs >= self.recipe.settle_from * self.recipe.pairs:
            settle(self.network)
        self._openings.is_on = self._meter.steps == self.recipe.log_every - 1
        losses = self.losses(batch)
        self.optimizer.zero_grad(set_to_none=True)
        losses.total.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        check_finite(losses.total, norm, self.pairs)
        self.optimizer.step()
        self.pairs += len(batch.boxes)
        follow(self.average, self.network, decay_after(self.pairs / self.recipe.batch, self.recipe.average))
        self._meter.add(torch.stack([loss.detach() for loss in losses]))
        if self._meter.steps == self.recipe.log_every:
            self._report(rate, on_progress)
        is_last = self.pairs >= self.recipe.pairs  # judged before it is saved, by whoever runs the steps
        if not is_last and time.monotonic() - self._saved > self.recipe.checkpoint_s:
            self.save()

    def losses(self, batch: Batch) -> Losses:
        """Compare what the network says now with the truth; with recipe.looks the batch is one of KeptPairs."""
        config, weights = self.recipe.network, self.recipe.losses
        self.distiller.forget()
        with autocast():
            outputs = self._learning(as_input(batch.templates), as_input(batch.searches))
            features = torch.zeros(())
            if batch.view is not None and weights.features:
                features = self.distiller.features(batch.view)
        targets = make_targets(torch.from_numpy(batch.boxes), config.cells, config.stride)
        losses = dart_losses(outputs, targets, config, weights)
        if batch.view is None:
            return losses
        score = score_loss(outputs[0].float()[:, 0], torch.from_numpy(batch.view.score))
        boxes = torch.from_numpy(batch.view.box)
        known = (targets.label > 0) & ~boxes.isnan().any(1)[:, None, None]
        theirs = make_targets(boxes, config.cells, config.stride).ltrb.permute(0, 2, 3, 1)[known]
        teacher_box = box_loss(reach_at(outputs[1], known, config), theirs)
        total = losses.total + weights.features * features + weights.score * score + weights.teacher_box * teacher_box
        return losses._replace(total=total, features=features, score=score, teacher_box=teacher_box)

    def save(self) -> None:
        """Write the checkpoint and the averaged weights, branches folded.

        Raises:
            PlaceError: They cannot be written.
        """
        parts = self.network, self.average, self.optimizer, self.distiller
        network, average, optimizer, distiller = (part.state_dict() for part in parts)
        save_checkpoint(Checkpoint(network, average, optimizer, distiller, self.pairs), self.files.checkpoint)
        notes = {"recipe": self.recipe.name, "pairs": str(self.pairs), "seed": str(self.recipe.seed)}
        averaged = plain(folded(self.average))
        with saving(self.files.weights):
            save_dart(averaged, self.files.weights, notes={**self._notes, **notes})
        self._saved = time.monotonic()

    def _report(self, rate: float, on_progress: ProgressHandler | None) -> None:
        (loss, cls, box, quality, features, score, teacher_box), speed = self._meter.read(self.recipe.batch)
        losses = (loss, cls, box, quality, features, score, teacher_box)
        progress = Progress(self.pairs, self.recipe.pairs, *losses, self._openings.read(), rate, speed)
        append_row(self.files.log, progress._asdict())
        self.last_loss = progress.loss
        if on_progress is not None:
            on_progress(progress)
