"""Which crops of a set are kept."""

import numpy as np
from small_network import make_calibration

from siamedge.export.calibration.choosing import evenly


def test_an_even_choice_is_spread_from_the_first_crop_to_the_last() -> None:
    crops = make_calibration(9)
    chosen = evenly(crops, 3)
    np.testing.assert_array_equal(chosen.searches, crops.searches[[0, 4, 8]])
    np.testing.assert_array_equal(chosen.templates[chosen.pairs], crops.templates[[0, 4, 8]])


def test_a_set_that_is_small_enough_is_kept_whole() -> None:
    crops = make_calibration(3)
    assert evenly(crops, 3) is crops
