"""The recipe of a narrow SiamFC, and the table of all recipes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from siamedge.export.families.siamfc import SiamFCConfig
from siamedge.training.crops.augmentation import Appearance, Geometry
from siamedge.training.pairs.pairs import Mixture
from siamedge.training.recipes.dart import RECIPES, Recipe, RunRecipe


@dataclass(frozen=True, slots=True)
class SiamFCRecipe(RunRecipe):
    """One training run of SiamFC: its early layers learn to tell classes of objects, then the others learn to find.

    `pairs` counts single crops of the first part as well as pairs of the second; `frozen_layers` are those that the
    first part trains and the second leaves as they are.

    Args:
        network: The network to train.
        class_share: Share of the run that classifies crops.
        class_learning_rate: Peak of that part; `learning_rate` is the other's.
        fewest_crops: Classes with fewer crops are skipped.
        turn: Geometric change of a crop that is classified; its shift is not used.
        radius_px: Cells whose centre is no farther from the target's are positive, search-crop px.

    Source: radius_px: Bertinetto et al. 2016, section 3.1 (R = 16).
    """

    network: SiamFCConfig = field(default_factory=SiamFCConfig)
    class_share: float = 0.5
    class_learning_rate: float = 2e-3
    fewest_crops: int = 20
    turn: Geometry = field(default_factory=Geometry)
    radius_px: float = 16.0

    @property
    def class_crops(self) -> int:
        """Crops of the first part, whole batches."""
        return round(self.pairs * self.class_share / self.batch) * self.batch


AnyRecipe = Recipe | SiamFCRecipe

_QUARTER = SiamFCConfig(widths=(24, 64, 96, 96, 64), response_scale=0.004)
"""A quarter of the published widths; the scale makes up for as many fewer products in a response."""
_DEFAULT = RECIPES["default"]

ALL_RECIPES: Mapping[str, AnyRecipe] = {
    **RECIPES,
    "siamfc-narrow": SiamFCRecipe(
        "siamfc-narrow",
        network=_QUARTER,
        pairs=100_000,
        class_share=0.4,
        epoch_pairs=10_000,
        learning_rate=1e-3,
        warmup_pairs=2_000,
        decay_from=0.3,
        average=0.99,
        frozen_layers=3,
        mixture=Mixture(
            tracks=0.6, negative=0.0, paste=0.2, distractor=0.25, track_weights=_DEFAULT.mixture.track_weights
        ),
        still=Geometry(shift_px=48.0, far=0.0, scale=0.12, wild=0.05, wild_rotation_deg=30.0, flip=0.0),
        track=Geometry(
            shift_px=48.0, far=0.0, scale=0.06, aspect=0.06, rotation_deg=5.0, wild=0.0, shear=0.05, flip=0.0, bend=0.0
        ),
        turn=replace(Geometry(), flip=0.5, bend=0.0),
        appearance=Appearance(low_resolution=0.3),
        holdout=_DEFAULT.holdout,
        workers=1,
    ),
}
