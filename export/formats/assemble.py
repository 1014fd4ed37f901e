"""Puts the two graphs of a conversion together, the same way for every format."""

from dataclasses import replace
from typing import Protocol

from siamedge.export.calibration.crop_sets import CalibrationSet, require_calibration
from siamedge.export.formats.converters import Converted, ConvertedPair
from siamedge.export.graphs.branches import ExportGraph
from siamedge.export.quantization.feeds import Feeds, make_feeds
from siamedge.export.quantization.recipes import Recipe
from siamedge.runtime.backends.backend import Precision


class GraphConverter(Protocol):
    """What a format has to do for one graph: 0 is the template graph, 1 the search graph."""

    def as_float(self, index: int, precision: Precision) -> Converted:
        """In fp32 or fp16."""

    def as_int8(self, index: int, feeds: list[Feeds], recipe: Recipe) -> Converted:
        """In int8, calibrated on feeds."""


def convert_pair(
    converter: GraphConverter,
    graphs: tuple[ExportGraph, ExportGraph],
    precision: Precision,
    calibration: CalibrationSet | None,
    recipe: Recipe,
) -> ConvertedPair:
    """Convert both graphs to a precision; of an int8 pair the template graph has the recipe's own.

    Raises:
        ExportError: int8 lacks its calibration set, or it was made for other crops.
    """
    if precision != "int8":
        return ConvertedPair(converter.as_float(0, precision), converter.as_float(1, precision))
    templates, searches = make_feeds(*graphs, require_calibration(calibration))
    search = converter.as_int8(1, searches, recipe)
    if recipe.template_precision == "int8 weights":
        return ConvertedPair(converter.as_int8(0, templates, replace(recipe, activations="float")), search)
    if recipe.template_precision == "int8":
        return ConvertedPair(converter.as_int8(0, templates, recipe), search)
    return ConvertedPair(converter.as_float(0, recipe.template_precision), search)
