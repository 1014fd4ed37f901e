"""What a precision costs in tracking: the same sequences through the same backend in fp32 and in int8, paired."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from siamedge.export.evaluation.bootstrap import difference, value
from siamedge.export.evaluation.conventions import CONVENTIONS, Convention
from siamedge.export.evaluation.datasets import open_dataset
from siamedge.export.evaluation.evaluation import run_sequence
from siamedge.export.evaluation.sequences import Sequence as AnnotatedSequence
from siamedge.export.evaluation.terms import Terms
from siamedge.export.families.source import SourceNetwork
from siamedge.export.formats.converters import ConvertedPair
from siamedge.export.formats.opened import opened
from siamedge.runtime.backends.backend import Format, Precision
from siamedge.runtime.bundles.manifest import TrackingDrop
from siamedge.runtime.errors import ExportError
from siamedge.runtime.tracking.tracker_table import make_tracker


@dataclass(frozen=True, slots=True, eq=False)
class TrackingCheck:
    """Sequences and the metric by which tracking is compared on them.

    Attributes:
        dataset: Name of the folder.
        sequences: Annotated.
        convention: That has the metric.
        metric: Its name.
    """

    dataset: str
    sequences: Sequence[AnnotatedSequence]
    convention: Convention
    metric: str

    def terms(self, network: SourceNetwork, pair: ConvertedPair, kind: tuple[Format, Precision]) -> list[Terms]:
        """Track all sequences."""
        with opened(pair, kind) as (template, search):
            tracker = make_tracker(network.family, template, search, network.params)
            return [
                self.convention.terms(item, run_sequence(tracker, item, self.convention.protocol))
                for item in self.sequences
            ]

    def against(
        self, network: SourceNetwork, fp32: ConvertedPair, format_name: Format
    ) -> Callable[[ConvertedPair], TrackingDrop]:
        """Track in fp32, and give what compares an int8 pair with that."""
        reference = self.terms(network, fp32, (format_name, "fp32"))
        return lambda pair: self.compare(reference, self.terms(network, pair, (format_name, "int8")))

    def compare(self, fp32: list[Terms], int8: list[Terms]) -> TrackingDrop:
        """Give the drop with its interval."""
        metric = self.convention.metrics[self.metric]
        drop = difference(fp32, int8, metric)
        low, high = (None if math.isnan(end) else end for end in (drop.low, drop.high))
        return TrackingDrop(
            self.metric, self.dataset, len(fp32), value(fp32, metric), value(int8, metric), drop.value, low, high
        )


def make_check(dataset: str, metric: str) -> TrackingCheck:
    """Open a data set for comparing by a metric, which the first convention that has it defines.

    Raises:
        ExportError: No convention has the metric.
        SourceError: There is no such data set.
    """
    for convention in CONVENTIONS.values():
        if metric in convention.metrics:
            return TrackingCheck(Path(dataset).name, open_dataset(Path(dataset)), convention, metric)
    names = sorted({name for convention in CONVENTIONS.values() for name in convention.metrics})
    raise ExportError(f"unknown metric {metric!r}", hint=f"one of {', '.join(names)}")
