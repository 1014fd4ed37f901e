"""Telling classes of objects apart: what the early layers of SiamFC learn first."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from siamedge.export.families.siamfc import SiamFC
from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Image
from siamedge.training.crops import augmentation as change
from siamedge.training.crops.augmentation import Rng
from siamedge.training.crops.store import CONTEXT_PX, CropStore
from siamedge.training.recipes.siamfc import SiamFCRecipe

EARLY_LAYERS = 3
"""Convolutions that are trained here."""
_SMEAR = 0.1
"""Label smoothing; classes of different sources overlap (a car is a car in each)."""


class ClassBatch(NamedTuple):
    """Crops (N, Z, Z, 3) uint8 BGR and the numbers of their classes (N,)."""

    crops: NDArray[np.uint8]
    labels: NDArray[np.int64]


def known_classes(store: CropStore, fewest: int) -> tuple[str, ...]:
    """Give the classes that have enough crops, "source/class", sorted.

    Raises:
        SourceError: There are fewer than two.
    """
    found = tuple(sorted(name for name, rows in store.classes.items() if len(rows) >= fewest))
    if len(found) < 2:
        raise SourceError(
            f"{len(found)} class(es) with at least {fewest} crops, 2 are needed to learn from",
            hint="give more data, or --init SIAMFC_WEIGHTS, which skips the classes",
        )
    return found


class ClassMaker:
    """Draws crops of all classes alike; crop i depends on the seed, i and the store's content alone.

    Args:
        store: The crops.
        recipe: Gives sizes, the fewest crops of a class, and the changes of geometry and appearance.

    Raises:
        SourceError: There are fewer than two classes.
    """

    def __init__(self, store: CropStore, recipe: SiamFCRecipe) -> None:
        self._store, self._recipe = store, recipe
        self.classes = known_classes(store, recipe.fewest_crops)

    def batch(self, start: int, size: int) -> ClassBatch:
        """Stack crops start .. start + size - 1."""
        made = [self._crop(index) for index in range(start, start + size)]
        return ClassBatch(np.stack([crop for crop, _ in made]), np.array([label for _, label in made], np.int64))

    def _crop(self, index: int) -> tuple[Image, int]:
        rng = np.random.default_rng((self._recipe.seed, index))
        label = int(rng.integers(len(self.classes)))
        rows = self._store.classes[self.classes[label]]
        return self._look(rng, rows[int(rng.integers(len(rows)))]), label

    def _look(self, rng: Rng, row: int) -> Image:
        crop, size, recipe = self._store.crops[row], self._recipe.network.template_px, self._recipe
        linear = size / CONTEXT_PX * change.random_linear(rng, recipe.turn)
        center = np.float32(size / 2) + rng.uniform(-8, 8, 2).astype(np.float32)
        image = change.warp(crop.image, change.affine_about(linear, np.array(crop.box.center), center), size)
        image = change.recolor(rng, image, recipe.appearance)
        if rng.random() < recipe.mixture.grey:
            image = change.to_grey(image)
        return change.degrade(rng, image, recipe.appearance)


class Classifier(nn.Module):
    """The early layers of a SiamFC, the mean over the picture and one linear layer.

    Args:
        network: Whose layers; they are shared, not copied.
        classes: How many.
    """

    def __init__(self, network: SiamFC, classes: int) -> None:
        super().__init__()
        backbone = network.backbone
        self.layers = nn.Sequential(backbone.conv1, backbone.conv2, backbone.conv3)
        self.head = nn.Linear(network.config.widths[EARLY_LAYERS - 1], classes)

    def forward(self, crops: Tensor) -> Tensor:
        """(N, 3, H, W) float32 RGB 0..255 -> logits (N, classes)."""
        logits: Tensor = self.head(self.layers(crops).mean((2, 3)))
        return logits


def class_figures(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Give the cross-entropy and the share of crops whose class has the highest logit."""
    loss = functional.cross_entropy(logits.float(), labels, label_smoothing=_SMEAR)
    return loss, (logits.argmax(1) == labels).float().mean()
