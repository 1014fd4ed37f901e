"""Scores of a run as data: what is printed, written as JSON, drawn and compared."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from siamedge.export.evaluation.bootstrap import Estimate, combine, difference, estimate, value
from siamedge.export.evaluation.conventions import Convention
from siamedge.export.evaluation.overlap import Vector
from siamedge.export.evaluation.runner import Run
from siamedge.export.evaluation.sequences import Sequence
from siamedge.export.evaluation.terms import Terms


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """A tracker's scores on some sequences.

    Attributes:
        label: The tracker, for people.
        convention: Name of the convention.
        names: Of the sequences.
        frames: Frames that were tracked.
        scores: Metric to estimate over all sequences.
        by_sequence: Metric to one value a sequence.
        curves: Name to curve over all sequences.
        terms: What every sequence contributes, for comparing.
        milliseconds: (n,) latencies of all updates.
    """

    label: str
    convention: str
    names: tuple[str, ...]
    frames: int
    scores: Mapping[str, Estimate]
    by_sequence: Mapping[str, tuple[float, ...]]
    curves: Mapping[str, Vector]
    terms: tuple[Terms, ...]
    milliseconds: Vector


def make_report(
    label: str, name: str, convention: Convention, sequences: tuple[Sequence, ...], runs: list[tuple[Run, ...]]
) -> Report:
    """Score runs by a convention."""
    terms = tuple(convention.terms(item, passes) for item, passes in zip(sequences, runs, strict=True))
    seconds = np.concatenate([run.seconds[1:] for passes in runs for run in passes])
    return Report(
        label=label,
        convention=name,
        names=tuple(item.name for item in sequences),
        frames=sum(len(run.boxes) for passes in runs for run in passes),
        scores={key: estimate(terms, metric) for key, metric in convention.metrics.items()},
        by_sequence={key: tuple(value([term], metric) for term in terms) for key, metric in convention.metrics.items()},
        curves={key: combine([term[key] for term in terms]) for key in convention.axes},
        terms=terms,
        milliseconds=1000 * seconds[~np.isnan(seconds)],
    )


def differences(ours: Report, theirs: Report, convention: Convention) -> dict[str, Estimate]:
    """Give ours minus theirs for every metric, paired by sequence."""
    return {key: difference(ours.terms, theirs.terms, metric) for key, metric in convention.metrics.items()}


def latency(report: Report) -> dict[str, float]:
    """Give the number of updates and their median, 95th percentile and mean in milliseconds; nan without updates."""
    values = report.milliseconds if len(report.milliseconds) else np.array([np.nan])
    median, high = np.percentile(values, [50, 95])
    return {
        "updates": float(len(report.milliseconds)),
        "median_ms": float(median),
        "p95_ms": float(high),
        "mean_ms": float(values.mean()),
    }


def as_json(report: Report, convention: Convention, against: Mapping[str, Mapping[str, Estimate]]) -> str:
    """Give a report as JSON, keys sorted; equal boxes give equal bytes, for it holds no latency.

    Args:
        report: What to write.
        convention: Of the report.
        against: Label of another run to the paired differences.
    """
    content = {
        "schema": 1,
        "tracker": report.label,
        "convention": report.convention,
        "follows": convention.source,
        "frames": report.frames,
        "scores": {key: asdict(found) for key, found in report.scores.items()},
        "by_sequence": {
            name: {key: values[i] for key, values in report.by_sequence.items()} for i, name in enumerate(report.names)
        },
        "curves": {key: curve.tolist() for key, curve in report.curves.items()},
        "against": {label: {key: asdict(found) for key, found in rows.items()} for label, rows in against.items()},
    }
    return json.dumps(without_nan(content), sort_keys=True, indent=2, allow_nan=False) + "\n"


def without_nan(content: object) -> object:
    """Put null in the place of numbers that JSON does not have."""
    if isinstance(content, dict):
        return {key: without_nan(item) for key, item in content.items()}
    if isinstance(content, list):
        return [without_nan(item) for item in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
