"""The drawn calibration set is one that the exporter reads."""

from pathlib import Path

import numpy as np

from siamedge.export.families.dart import DartConfig
from siamedge.training.calibration import write_calibration


def test_searches_belong_to_templates_and_repeat(tmp_path: Path) -> None:
    config = DartConfig(template_px=64, search_px=128)
    for name in ("one", "two"):
        write_calibration(tmp_path / f"{name}.npz", config, pairs=3)
    one, two = np.load(tmp_path / "one.npz"), np.load(tmp_path / "two.npz")
    assert one["templates"].shape == (3, 64, 64, 3)
    assert one["searches"].shape == (3, 128, 128, 3)
    assert one["pairs"].tolist() == [0, 1, 2]
    assert (one["searches"] == two["searches"]).all()
