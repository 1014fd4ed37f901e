"""Recipes: every number of a training run, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from siamedge.export.families.dart import DartConfig
from siamedge.training.crops.augmentation import Appearance, Geometry
from siamedge.training.networks.losses import LossWeights
from siamedge.training.pairs.pairs import Mixture


@dataclass(frozen=True, slots=True)
class Calm:
    """Batches of pairs as from one frame to a near one.

    Args:
        share: Of all batches.
        mixture: Kinds of their pairs.
        geometry: Their change from template to search.
        appearance: Their changes of appearance.
    """

    share: float
    mixture: Mixture
    geometry: Geometry
    appearance: Appearance


@dataclass(frozen=True, slots=True)
class RunRecipe:
    """What the training runs of all families have in common.

    Args:
        name: For logs and the weights' metadata.
        pairs: Length of the run.
        epoch_pairs: Roots are read again after so many pairs.
        batch: Pairs a step.
        learning_rate: Peak; reached after warmup_pairs, held until `decay_from` of the run, then cosine to zero.
        warmup_pairs: Linear warm-up.
        decay_from: Share of the run after which the learning rate falls.
        weight_decay: Of AdamW.
        clip: Largest gradient norm.
        average: Decay of the weight average, which is what is evaluated and saved.
        frozen_layers: So many convolutions of the backbone, from the input, stay as they are.
        seed: Of weights and pairs.
        mixture: Kinds of pairs.
        still: Geometric change between two views of one crop.
        track: Geometric change on top of what a track shows.
        appearance: Changes of appearance.
        calm: Batches whose pairs are drawn in another way; None: none.
        holdout: Tracks or sources whose name starts with one of these are not trained on.
        drawn_tracks: Draw so many objects (crops/synthetic.py) in addition to the crops given.
        needs_crops: Whether crops must be given.
        workers: Processes that make pairs; 0 makes them in the training process.
        threads: Of torch.
        checkpoint_s: Seconds between checkpoints.
        log_every: Steps between the rows of the log.
    """

    name: str
    pairs: int = 400_000
    epoch_pairs: int = 40_000
    batch: int = 32
    learning_rate: float = 2e-3
    warmup_pairs: int = 10_000
    decay_from: float = 0.5
    weight_decay: float = 1e-4
    clip: float = 5.0
    average: float = 0.998
    frozen_layers: int = 0
    seed: int = 1
    mixture: Mixture = field(default_factory=Mixture)
    still: Geometry = field(default_factory=Geometry)
    track: Geometry = field(default_factory=Geometry)
    appearance: Appearance = field(default_factory=Appearance)
    calm: Calm | None = None
    holdout: tuple[str, ...] = ()
    drawn_tracks: int = 0
    needs_crops: bool = True
    workers: int = 1
    threads: int = 1
    checkpoint_s: float = 120.0
    log_every: int = 50


@dataclass(frozen=True, slots=True)
class Recipe(RunRecipe):
    """One training run of Dart.

    Args:
        network: The network to train.
        branches: Train with side branches and batch norm, which are folded into the convolutions in what is saved.
        settle_from: Share of the run after which the norms' statistics stay as they are.
        weight_bits: Round the weights in training to so many bits, without branches; None: train them as they are.
        looks: Each pair is drawn once and learnt from so often. More than one is for plain weights with frozen layers
            and no loss of features (feeding/kept.py).
        losses: Weights of the losses.
    """

    network: DartConfig = field(default_factory=DartConfig)
    branches: bool = True
    settle_from: float = 0.5
    weight_bits: int | None = None
    looks: int = 1
    losses: LossWeights = field(default_factory=LossWeights)


_DEFAULT_NETWORK = DartConfig(has_quality=True, is_limited=True, correlation_divisor=3.125)
_SMOKE_NETWORK = DartConfig(
    layers=((16, 2), (24, 2), (48, 2), (64, 2), (64, 1)),
    channels=32,
    head=32,
    tower=1,
    template_px=96,
    search_px=192,
    has_quality=True,
)
_VALIDATION = (
    "bad:",
    "facebookresearch+co-tracker/gradio_demo_videos_bear",
    "gaomingqi+Track-Anything",
    "OTB_Bolt",
    "TLD_panda",
    "UAV_person11",
    "UAVDT_S1301",
    "val_",
)
_FAR = Geometry(shift_px=70.0, far_shift_px=105.0, far=0.3)
_GENTLE = Geometry(far=0.1, scale=0.2, wild=0.1, bend=0.0)
_TRACK_WEIGHTS = (("fod", 0.15), ("cone_cube", 0.2), ("fencing", 0.3), ("OTB", 3.0), ("TLD", 3.0), ("UAV", 2.0))

_CALM = Calm(
    share=0.35,
    mixture=Mixture(
        tracks=1.0, negative=0.03, paste=0.0, flat=0.5, distractor=0.1, occluder=0.05, track_weights=_TRACK_WEIGHTS
    ),
    geometry=Geometry(
        shift_px=24.0,
        far_shift_px=64.0,
        far=0.15,
        scale=0.12,
        aspect=0.06,
        rotation_deg=5.0,
        wild_rotation_deg=30.0,
        wild=0.06,
        shear=0.03,
        flip=0.05,
        bend=0.05,
    ),
    appearance=Appearance(
        gain=0.2, channel_gain=0.05, gamma=0.2, motion_blur=0.1, low_resolution=0.2, noise=0.08, jpeg=0.15, sharp=0.1
    ),
)

_DEFAULT = Recipe(
    "default",
    network=_DEFAULT_NETWORK,
    pairs=330_000,
    epoch_pairs=330_000,
    learning_rate=1e-3,
    warmup_pairs=3_000,
    decay_from=0.4,
    settle_from=0.6,
    mixture=Mixture(tracks=0.55, own=0.25, paste=0.5, crowd=0.6, smear=0.3, track_weights=_TRACK_WEIGHTS),
    still=replace(_FAR, wild=0.3, wild_rotation_deg=150.0, bend=0.25),
    track=replace(_FAR, scale=0.25, aspect=0.2, wild=0.3, wild_rotation_deg=150.0, bend=0.15),
    appearance=Appearance(low_resolution=0.4, motion_blur=0.25),
    losses=LossWeights(features=0.5),
    holdout=_VALIDATION,
)

RECIPES: Mapping[str, Recipe] = {
    "default": _DEFAULT,
    "default-int8": replace(
        _DEFAULT,
        name="default-int8",
        pairs=170_000,
        epoch_pairs=170_000,
        learning_rate=3e-4,
        warmup_pairs=1_000,
        decay_from=0.05,
        branches=False,
        weight_bits=7,
    ),
    "default-boxes": replace(
        _DEFAULT,
        name="default-boxes",
        pairs=128_000,
        epoch_pairs=128_000,
        batch=64,
        learning_rate=3e-4,
        warmup_pairs=6_400,
        decay_from=0.3,
        branches=False,
        frozen_layers=4,
        looks=3,
        calm=_CALM,
        losses=LossWeights(box=1.0, features=0.0, teacher_box=2.0),
        workers=2,
        threads=2,
    ),
    "smoke": Recipe(
        "smoke",
        network=_SMOKE_NETWORK,
        pairs=16_000,
        epoch_pairs=4_000,
        batch=16,
        warmup_pairs=500,
        average=0.99,
        mixture=Mixture(tracks=0.8, flat=0.0),
        still=_GENTLE,
        track=_GENTLE,
        drawn_tracks=300,
        needs_crops=False,
    ),
    "finetune": Recipe(
        "finetune",
        network=_DEFAULT_NETWORK,
        pairs=4_000,
        epoch_pairs=1_000,
        learning_rate=2e-4,
        warmup_pairs=400,
        decay_from=0.2,
        average=0.99,
        branches=False,
        frozen_layers=3,
        mixture=Mixture(tracks=0.9),
        track=_GENTLE,
        drawn_tracks=60,
        log_every=10,
    ),
}
