"""The calibration set that ships with the default weights: drawn scenes, as the tracker's crops."""

import tempfile
from pathlib import Path

import numpy as np

from siamedge.export.families.dart import DartConfig
from siamedge.training.crops.augmentation import Appearance, Geometry
from siamedge.training.crops.cutouts import Outlines
from siamedge.training.crops.store import CropStore
from siamedge.training.crops.synthetic import write_synthetic
from siamedge.training.pairs.pairs import Mixture, PairMaker

_STEP = 12
"""Colours are rounded to so many values, which makes the file six times smaller."""


def write_calibration(path: Path, config: DartConfig, *, pairs: int = 24, seed: int = 1) -> None:
    """Draw template and search crops of the same objects and save them compressed.

    Args:
        path: The .npz file, in the form of siamedge.export.calibration.crop_sets: search i belongs to template i.
        config: Of the network that will be calibrated; gives Z and X.
        pairs: N.
        seed: Of the drawings.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_synthetic(root, tracks=pairs, frames=2, seed=seed)
        maker = PairMaker(
            CropStore([root]),
            Mixture(tracks=1.0, negative=0.1, grey=0.15, flat=1.0),
            Geometry(),
            Geometry(),
            Appearance(noise=0.0, jpeg=0.0, sharp=0.0),
            outlines=Outlines(),
            template_px=config.template_px,
            search_px=config.search_px,
            seed=seed,
        )
        batch = maker.batch(0, pairs)
    templates, searches = _rounded(batch.templates), _rounded(batch.searches)
    np.savez_compressed(path, templates=templates, searches=searches, pairs=np.arange(pairs, dtype=np.int64))


def _rounded(crops: np.ndarray) -> np.ndarray:
    return np.minimum(np.round(crops / _STEP) * _STEP, 255).astype(np.uint8)
