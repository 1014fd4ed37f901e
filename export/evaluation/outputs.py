"""Everything that an evaluation leaves in its folder, and the comparison with other folders."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from siamedge.export.evaluation.bootstrap import Estimate
from siamedge.export.evaluation.charts import to_png, to_svg
from siamedge.export.evaluation.conventions import Convention, get_convention
from siamedge.export.evaluation.evaluation import Order
from siamedge.export.evaluation.page import charts, to_html
from siamedge.export.evaluation.records import RunFolder
from siamedge.export.evaluation.reports import Report, as_json, differences, make_report
from siamedge.export.evaluation.results import write_results
from siamedge.export.evaluation.runner import Run
from siamedge.export.evaluation.sequences import Sequence
from siamedge.export.evaluation.specs import TrackerSpec
from siamedge.runtime.errors import SourceError
from siamedge.runtime.places import write_whole


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Scores of a run and of those that it is compared with.

    Attributes:
        report: Of the run.
        others: Of the others, in the order in which they were named; labels differ.
        against: Label of each of the others to the paired differences, the run minus the other.
        convention: That all are scored by.
    """

    report: Report
    others: tuple[Report, ...]
    against: Mapping[str, Mapping[str, Estimate]]
    convention: Convention

    def json(self) -> str:
        """Give the scores and differences as JSON."""
        return as_json(self.report, self.convention, self.against)

    def html(self) -> str:
        """Give the comparison as a page."""
        return to_html([self.report, *self.others], self.convention, self.against)


def score(order: Order, name: str, runs: list[tuple[Run, ...]], against: list[Path]) -> Outcome:
    """Score an order's runs by a convention and compare them with the runs in other folders.

    Raises:
        SourceError: Another folder lacks a sequence, or tracked other frames or boxes.
    """
    convention = get_convention(name)
    words = "" if order.clock is None else order.clock.words()
    report = make_report(label_of(order.spec, words), name, convention, order.sequences, runs)
    others: dict[str, Report] = {}
    for folder in against:
        settings = RunFolder(folder, convention.protocol).settings()
        spec = TrackerSpec(settings.tracker, settings.backend, settings.precision, settings.device)
        label = label_of(spec, settings.realtime)
        if label in {report.label, *others}:
            label = f"{label} in {folder}"
        kept = load_all(folder, convention, order.sequences)
        others[label] = make_report(label, name, convention, order.sequences, kept)
    rows = {label: differences(report, other, convention) for label, other in others.items()}
    return Outcome(report, tuple(others.values()), rows, convention)


def label_of(spec: TrackerSpec, realtime: str) -> str:
    """Name a run for people: the tracker, and the frame rate if it ran against a clock."""
    return f"{spec.label} @ {json.loads(realtime)[0]:g} fps" if realtime else spec.label


def load_all(folder: Path, convention: Convention, sequences: tuple[Sequence, ...]) -> list[tuple[Run, ...]]:
    """Read the runs of sequences from an evaluation's folder.

    Raises:
        SourceError: One is missing, or was made of other frames or boxes.
    """
    kept = RunFolder(folder, convention.protocol)
    found = []
    for item in sequences:
        runs = kept.load(item)
        if runs is None:
            raise SourceError(
                f"{folder}: no {convention.protocol} run of {item.name!r} with these frames and boxes",
                hint="evaluate the other tracker on the same data sets first",
            )
        found.append(runs)
    return found


def write_outputs(order: Order, outcome: Outcome, runs: list[tuple[Run, ...]]) -> None:
    """Write raw results, scores and plots into the order's folder, in a folder named by the convention."""
    report, folder = outcome.report, order.folder / outcome.report.convention
    for item, passes in zip(order.sequences, runs, strict=True):
        write_results(folder / "results", report.convention, order.spec.label, item, passes)
    write_whole(folder / "scores.json", outcome.json().encode())
    for name, chart in zip(outcome.convention.axes, charts([report, *outcome.others], outcome.convention), strict=True):
        write_whole(folder / f"{name}.svg", to_svg(chart).encode())
        write_whole(folder / f"{name}.png", to_png(chart))
