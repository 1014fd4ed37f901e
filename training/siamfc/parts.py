"""The two parts of a SiamFC run: what each trains, and how it learns from a loss."""

import copy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from siamedge.export.families.siamfc import SiamFC
from siamedge.training.networks.autocast import autocast
from siamedge.training.recipes.siamfc import SiamFCRecipe
from siamedge.training.running.average import decay_after, follow
from siamedge.training.running.checkpoints import Checkpoint, fitting
from siamedge.training.running.diverging import check_finite
from siamedge.training.running.schedule import learning_rate


class Pairing(nn.Module):
    """A SiamFC whose early layers stay as they are, over batches of pairs.

    Args:
        network: Changed in place.
        frozen_layers: So many convolutions, with their batch norm.
    """

    def __init__(self, network: SiamFC, frozen_layers: int) -> None:
        super().__init__()
        self.network = network
        self._frozen = list(network.backbone.children())[:frozen_layers]
        for layer in self._frozen:
            layer.requires_grad_(False)

    def train(self, mode: bool = True) -> "Pairing":
        """Switch to training; the statistics of frozen layers stay, too."""
        super().train(mode)
        for layer in self._frozen:
            layer.eval()
        return self

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        """(N, 3, 127, 127) and (N, 3, 255, 255) float32 RGB 0..255 -> response (N, 17, 17) float32."""
        with autocast():
            template, search = self.network.backbone(z), self.network.backbone(x)
        response: Tensor = self.network.correlation(self.network.kernel(template.float()), search.float())
        return response[:, 0]


class Part:
    """A part of the run: what it trains, its optimizer and its weight average.

    Args:
        module: Changed in place.
        recipe: With the part's length and learning rate.
        start: Crops and pairs of the run before it.
    """

    def __init__(self, module: nn.Module, recipe: SiamFCRecipe, start: int) -> None:
        self.module = module.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.module).eval().requires_grad_(False)
        self.recipe, self.start = recipe, start
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self.optimizer = AdamW(trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)

    def step(self, loss: Tensor, pairs: int) -> float:
        """Learn from a loss after so many crops and pairs of the run; give the learning rate.

        Raises:
            ExportError: The run has diverged.
        """
        rate = learning_rate(self.recipe, pairs - self.start)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), self.recipe.clip)
        check_finite(loss, norm, pairs)
        self.optimizer.step()
        steps = (pairs - self.start) / self.recipe.batch + 1
        follow(self.average, self.module, decay_after(steps, self.recipe.average))
        return rate

    def checkpoint(self, pairs: int) -> Checkpoint:
        """Give all that the part needs to go on."""
        network, average, optimizer = (part.state_dict() for part in (self.module, self.average, self.optimizer))
        return Checkpoint(network, average, optimizer, {}, pairs)

    def restore(self, checkpoint: Checkpoint, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            ExportError: It is of another network or of other classes.
        """
        with fitting(path):
            self.module.load_state_dict(checkpoint.network)
            self.average.load_state_dict(checkpoint.average)
            self.optimizer.load_state_dict(checkpoint.optimizer)
