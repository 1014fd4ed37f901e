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
        self._prepared: dict[object, SourceNetwork] = {}
        self._shared: dict[tuple[str, int], object] = {}

    def prepare(self, calibration: CalibrationSet, recipe: Recipe) -> SourceNetwork:
        """Equalise and round as a recipe says; without either the network itself is given."""
        equalised = self._equalised() if recipe.is_equalised else self.network
        if recipe.rounding == "nearest":
            return equalised
        key = (recipe.is_equalised, recipe.rounds_template, recipe.in_pairs, calibration.sha256)
        if key not in self._prepared:
            self._prepared[key] = round_network(
                equalised, calibration, template=recipe.rounds_template, in_pairs=recipe.in_pairs
            )
        return self._prepared[key]

    def once(self, kind: str, network: SourceNetwork, make: Callable[[], Made]) -> Made:
        """Make what several formats need of a network when the first one asks for it.

        Args:
            kind: Of what is made.
            network: This one, or one that `prepare` gave.
            make: Called at most once for each kind and network; nobody may change what it gives.
        """
        place = (kind, id(network))
        if place not in self._shared:
            self._shared[place] = make()
        return cast(Made, self._shared[place])

    def _equalised(self) -> SourceNetwork:
        if "equalised" not in self._prepared:
            self._prepared["equalised"] = equalise_network(self.network) or self.network
        return self._prepared["equalised"]
