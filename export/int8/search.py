"""Runs the search for int8 of one format: quantizes, loads, compares, tracks, and writes down what was tried."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from siamedge.export.calibration.crop_sets import CalibrationSet
from siamedge.export.families.source import SourceNetwork
from siamedge.export.formats.census import take_census
from siamedge.export.formats.converters import ConvertedPair, Converter
from siamedge.export.int8.gate import Effort, Found, Purpose, Trial, find_int8
from siamedge.export.quantization.equalisation import equalise_network
from siamedge.export.quantization.recipes import OPTIONS, Recipe, recipe_for
from siamedge.export.verification.tensors import Measured
from siamedge.runtime.backends.backend import Format
from siamedge.runtime.bundles.manifest import QuantizationTrial, TrackingDrop

Verify = Callable[[ConvertedPair], Measured]
Track = Callable[[ConvertedPair], TrackingDrop]


@dataclass(frozen=True, slots=True)
class Bench:
    """What one format's int8 is tried with.

    Attributes:
        format: Which.
        network: The source network.
        converter: Of it to the format.
        calibration: Crops to quantize on.
        verify: Compares a pair with the source network.
        track: Measures what a pair costs in tracking; None: not asked for.
        max_drop: How much that may be.
        progress: Told what is tried.
    """

    format: Format
    network: SourceNetwork
    converter: Converter
    calibration: CalibrationSet | None
    verify: Verify
    track: Track | None = None
    max_drop: float = 0.0
    progress: Callable[[str], None] = lambda step: None

    def attempt(self, recipe: Recipe, purpose: Purpose, excluded: tuple[str, ...]) -> Trial:
        """Quantize by a recipe and measure."""
        self.progress(f"{self.format} int8: {purpose}, {recipe.calibration}, {len(excluded)} more in float")
        pair = self.converter.convert("int8", self.calibration, recipe)
        census = take_census(self.format, pair.search)
        note = "weights in int8, all arithmetic in float" if recipe.activations == "float" else census.note
        pair = replace(pair, search=replace(pair.search, notes=(*pair.search.notes, note)))
        trial = Trial(recipe, purpose, pair, self.verify(pair), census, excluded)
        if not census.int8 and recipe.activations != "float":
            return marked(trial, "no convolution or product is int8")
        return trial if self.track is None or not trial.is_within else self._tracked(trial, self.track)

    def _tracked(self, trial: Trial, track: Track) -> Trial:
        self.progress(f"{self.format} int8: tracking")
        found = track(trial.pair)
        trial = replace(trial, tracking=found)
        if found.drop <= self.max_drop:
            return trial
        return marked(trial, f"{found.metric} drops by {found.drop:.4f} on {found.dataset}, budget {self.max_drop:g}")


def marked(trial: Trial, reason: str) -> Trial:
    """Turn a trial down."""
    verification = trial.measured.verification._replace(verdict="not recommended", reason=reason)
    return replace(trial, measured=replace(trial.measured, verification=verification))


def search_int8(bench: Bench, effort: Effort) -> Found:
    """Find the int8 pair of a format."""
    recipe = recipe_for(bench.format, bench.network.arch)
    has_pairs = equalise_network(bench.network) is not None
    options = [item for item in OPTIONS[bench.format] if has_pairs or not item.is_equalised]
    return find_int8(bench.attempt, bench.converter.operators, recipe, options, effort)


def records(found: Found, format_name: Format) -> tuple[QuantizationTrial, ...]:
    """Write down what was tried."""
    return tuple(_record(trial, format_name, is_chosen=trial is found.chosen) for trial in found.trials)


def _record(trial: Trial, format_name: Format, *, is_chosen: bool) -> QuantizationTrial:
    verification = trial.measured.verification
    return QuantizationTrial(
        format=format_name,
        recipe=trial.recipe.label,
        calibration=trial.recipe.calibration,
        purpose=trial.purpose,
        excluded=trial.excluded,
        int8=len(trial.census.int8),
        floating=len(trial.census.floating),
        bytes=sum(len(graph.content) + len(graph.weights) for graph in (trial.pair.template, trial.pair.search)),
        peak_agreement=verification.peak_agreement,
        box_px=verification.box_px,
        verdict=verification.verdict,
        reason=verification.reason,
        chosen=is_chosen,
        tracking=trial.tracking,
    )
