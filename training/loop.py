"""The training loop of Dart: steps, weight average, log and checkpoints."""

import copy
import csv
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import AdamW

from siamedge.export.families.dart import Dart, load_dart, save_dart
from siamedge.training.batchnorm import folded, with_batch_norm
from siamedge.training.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from siamedge.training.crops import CropStore
from siamedge.training.cutouts import Outlines
from siamedge.training.loader import batches
from siamedge.training.losses import Losses, dart_losses
from siamedge.training.pairs import Batch, PairMaker
from siamedge.training.recipes import Recipe
from siamedge.training.schedule import learning_rate
from siamedge.training.targets import make_targets

_LOG_EVERY = 50
_log = logging.getLogger(__name__)


class Progress(NamedTuple):
    """Where a run stands; losses are means since the last report."""

    pairs: int
    total_pairs: int
    loss: float
    cls: float
    box: float
    quality: float
    learning_rate: float
    pairs_per_s: float


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a run left behind."""

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
    resume: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> TrainResult:
    """Run a recipe.

    Args:
        recipe: What to do.
        dataset_root: One or more folders of crops (crops.py says in which form).
        out: Folder for `weights.safetensors`, `log.csv` and `checkpoint.pt`.
        init: Weights to start from; what they lack (a new head) is drawn at random.
        resume: Go on from out/checkpoint.pt if it is there.
        on_progress: Called every 50 steps.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(recipe.threads)
    roots = [dataset_root] if isinstance(dataset_root, Path) else list(dataset_root)
    store = CropStore(roots, holdout=recipe.holdout)
    outlines = Outlines(out / "outlines.jsonl")
    source = _Source(recipe, store, outlines)
    run = _Run(recipe, _start_network(recipe, init, source.maker()), out)
    checkpoint = load_checkpoint(out / "checkpoint.pt") if resume else None
    if checkpoint is not None:
        run.restore(checkpoint)
    while run.pairs < recipe.pairs:
        source.refresh()
        for batch in source.epoch(run.pairs):
            run.step(batch, on_progress)
    run.save()
    return TrainResult(out / "weights.safetensors", out / "log.csv", run.pairs, run.last_loss)


class _Source:
    """Batches, epoch by epoch, from a store that may grow."""

    def __init__(self, recipe: Recipe, store: CropStore, outlines: Outlines) -> None:
        self._recipe, self._store, self._outlines = recipe, store, outlines

    def maker(self) -> PairMaker:
        recipe = self._recipe
        return PairMaker(
            self._store,
            recipe.mixture,
            recipe.still,
            recipe.track,
            recipe.appearance,
            outlines=self._outlines,
            template_px=recipe.network.template_px,
            search_px=recipe.network.search_px,
            seed=recipe.seed,
        )

    def refresh(self) -> None:
        self._store.refresh()
        self._outlines.refresh()

    def epoch(self, start: int) -> Iterator[Batch]:
        recipe = self._recipe
        end = min(start + recipe.epoch_pairs, recipe.pairs)
        return batches(self.maker(), range(start, end, recipe.batch), recipe.batch, recipe.workers)


class _Run:
    """A network in training and all that a checkpoint holds."""

    def __init__(self, recipe: Recipe, network: Dart, out: Path) -> None:
        self.recipe, self.out, self.pairs, self.last_loss = recipe, out, 0, float("nan")
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        for layer in self.network.backbone[: recipe.frozen_layers]:
            layer.requires_grad_(False)
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.optimizer = AdamW(trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        self._sums = torch.zeros(4)
        self._steps, self._since, self._saved = 0, time.monotonic(), time.monotonic()

    def restore(self, checkpoint: Checkpoint) -> None:
        self.network.load_state_dict(checkpoint.network)
        self.average.load_state_dict(checkpoint.average)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self.pairs = checkpoint.pairs

    def step(self, batch: Batch, on_progress: Callable[[Progress], None] | None) -> None:
        recipe = self.recipe
        rate = learning_rate(recipe, self.pairs)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        losses = self._losses(batch)
        self.optimizer.zero_grad(set_to_none=True)
        losses.total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip)
        self.optimizer.step()
        self.pairs += len(batch.boxes)
        _follow(self.average, self.network, min(recipe.average, self.pairs / (self.pairs + 20.0 * recipe.batch)))
        self._sums += torch.stack([loss.detach() for loss in losses])
        self._steps += 1
        if self._steps == _LOG_EVERY:
            self._report(rate, on_progress)
        if time.monotonic() - self._saved > recipe.checkpoint_s:
            self.save()

    def _losses(self, batch: Batch) -> Losses:
        config = self.recipe.network
        with torch.autocast("cpu", torch.bfloat16):
            outputs = self.network(as_input(batch.templates), as_input(batch.searches))
        targets = make_targets(torch.from_numpy(batch.boxes), config.cells, config.stride)
        return dart_losses(outputs, targets, config, self.recipe.losses)

    def _report(self, rate: float, on_progress: Callable[[Progress], None] | None) -> None:
        loss, cls, box, quality = (self._sums / self._steps).tolist()
        speed = self._steps * self.recipe.batch / (time.monotonic() - self._since)
        progress = Progress(self.pairs, self.recipe.pairs, loss, cls, box, quality, rate, speed)
        _append(self.out / "log.csv", progress)
        self.last_loss = loss
        self._sums.zero_()
        self._steps, self._since = 0, time.monotonic()
        if on_progress is not None:
            on_progress(progress)

    def save(self) -> None:
        """Write the checkpoint and the averaged, folded weights."""
        state = self.network.state_dict(), self.average.state_dict(), self.optimizer.state_dict()
        save_checkpoint(Checkpoint(*state, self.pairs), self.out / "checkpoint.pt")
        notes = {"recipe": self.recipe.name, "pairs": str(self.pairs), "seed": str(self.recipe.seed)}
        save_dart(folded(self.average), self.out / "weights.safetensors", notes=notes)
        self._saved = time.monotonic()


def as_input(crops: NDArray[np.uint8]) -> Tensor:
    """Turn (N, H, W, 3) uint8 into (N, 3, H, W) float32, channels last in memory."""
    return torch.as_tensor(crops).permute(0, 3, 1, 2).float()


def _start_network(recipe: Recipe, init: Path | None, maker: PairMaker) -> Dart:
    torch.manual_seed(recipe.seed)
    network = Dart(recipe.network)
    if init is not None:
        missing, unexpected = network.load_state_dict(load_dart(init).state_dict(), strict=False)
        _log.info("from %s: drawn at random: %s; unused: %s", init, missing, unexpected)
    if not recipe.batch_norm:
        return network.train()
    batch = maker.batch(0, 32)
    return with_batch_norm(network, as_input(batch.templates), as_input(batch.searches))


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    for slow, fast in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if slow.dtype.is_floating_point:
            slow.lerp_(fast, 1 - decay)
        else:
            slow.copy_(fast)


def _append(path: Path, progress: Progress) -> None:
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, Progress._fields)
        if is_new:
            writer.writeheader()
        writer.writerow({name: f"{value:.6g}" for name, value in progress._asdict().items()})


def recipe_notes(recipe: Recipe) -> dict[str, object]:
    """The recipe as plain data, for model cards."""
    return asdict(recipe)
