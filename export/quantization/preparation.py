"""What is done to a network in PyTorch before it is converted to int8, the same for every format."""

from collections.abc import Callable
from typing import TypeVar, cast

from siamedge.export.calibration.crop_sets import CalibrationSet
from siamedge.export.families.source import SourceNetwork
from siamedge.export.quantization.equalisation import equalise_network
from siamedge.export.quantization.recipes import Recipe
from siamedge.export.quantization.weight_rounding import round_network

Made = TypeVar("Made")


class Preparation:
    """Prepares one network as recipes ask for; what was computed once is kept.

    Args:
        network: Stays as it is.
    """

    def __init__(self, network: SourceNetwork) -> None:
        self.network = network
        self._made: dict[object, object] = {}

    def prepare(self, calibration: CalibrationSet, recipe: Recipe) -> SourceNetwork:
        """Equalise and round as a recipe says; without either the network itself is given."""
        equalised = self._equalised() if recipe.is_equalised else self.network
        if recipe.rounding == "nearest":
            return equalised
        return self.once(
            ("rounded", recipe.is_equalised, recipe.rounds_template, recipe.in_pairs, calibration.sha256),
            lambda: round_network(equalised, calibration, template=recipe.rounds_template, in_pairs=recipe.in_pairs),
        )

    def once(self, key: object, make: Callable[[], Made]) -> Made:
        """Make what several formats need when the first one asks for it.

        Args:
            key: Of what is made; a network that this one or `prepare` gave goes by its id.
            make: Called at most once for each key; nobody may change what it gives.
        """
        if key not in self._made:
            self._made[key] = make()
        return cast(Made, self._made[key])

    def _equalised(self) -> SourceNetwork:
        return self.once("equalised", lambda: equalise_network(self.network) or self.network)
