"""The scoring conventions of the field, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from siamedge.export.evaluation import lasot, onepass, votstart
from siamedge.export.evaluation.overlap import Vector
from siamedge.export.evaluation.runner import Protocol, Run
from siamedge.export.evaluation.sequences import Sequence
from siamedge.export.evaluation.terms import Terms
from siamedge.runtime.errors import SourceError


class Metric(NamedTuple):
    """One number: the mean of a part of a curve.

    Attributes:
        curve: Which of the convention's terms.
        part: First and last + 1 of the bins that are averaged.
        label: For people.
    """

    curve: str
    part: tuple[int, int]
    label: str


class Axis(NamedTuple):
    """A curve that is drawn.

    Attributes:
        label: What the horizontal axis means, with its unit.
        ticks: (K,) position of each bin.
        title: Above the plot.
        metric: Which score stands in the legend.
    """

    label: str
    ticks: Vector
    title: str
    metric: str


@dataclass(frozen=True, slots=True)
class Convention:
    """How one benchmark turns boxes into numbers.

    Attributes:
        protocol: How the tracker is run for it.
        terms: Numerators and denominators of one sequence.
        metrics: Name to definition; the first is the one that trackers are ranked by.
        axes: Curves to draw, by name of the terms.
        source: The program that it follows.
    """

    protocol: Protocol
    terms: Callable[[Sequence, tuple[Run, ...]], Terms]
    metrics: Mapping[str, Metric]
    axes: Mapping[str, Axis]
    source: str


SUCCESS_AXIS = Axis("overlap threshold", onepass.SUCCESS_BINS, "Success", "auc")
PRECISION_AXIS = Axis("centre error threshold, px", onepass.PRECISION_BINS, "Precision", "precision_20px")

CONVENTIONS: Mapping[str, Convention] = {
    "otb": Convention(
        protocol="one-pass",
        terms=onepass.otb_terms,
        metrics={
            "auc": Metric("success", (0, 21), "success AUC"),
            "precision_20px": Metric("precision", (20, 21), "precision at 20 px"),
            "success_50": Metric("success", (10, 11), "overlap > 0.5"),
        },
        axes={"success": SUCCESS_AXIS, "precision": PRECISION_AXIS},
        source="got-10k/toolkit, ExperimentOTB",
    ),
    "got10k": Convention(
        protocol="one-pass",
        terms=onepass.got10k_terms,
        metrics={
            "ao": Metric("overlap", (0, 1), "average overlap"),
            "sr_50": Metric("success", (50, 51), "SR 0.50"),
            "sr_75": Metric("success", (75, 76), "SR 0.75"),
        },
        axes={"success": Axis("overlap threshold", onepass.GOT10K_BINS, "Success, pooled over frames", "ao")},
        source="got-10k/toolkit, ExperimentGOT10k",
    ),
    "lasot": Convention(
        protocol="one-pass",
        terms=lasot.lasot_terms,
        metrics={
            "auc": Metric("success", (0, 21), "success AUC"),
            "precision_20px": Metric("precision", (20, 21), "precision at 20 px"),
            "norm_precision_20": Metric("norm_precision", (20, 21), "normalised precision at 0.20"),
            "norm_precision_mean": Metric("norm_precision", (0, 51), "normalised precision, mean of 0..0.5"),
        },
        axes={
            "success": SUCCESS_AXIS,
            "precision": PRECISION_AXIS,
            "norm_precision": Axis(
                "centre error / target size", lasot.NORM_BINS, "Normalised precision", "norm_precision_20"
            ),
        },
        source="HengLan/LaSOT_Evaluation_Toolkit",
    ),
    "vot-multistart": Convention(
        protocol="multi-start",
        terms=votstart.vot_terms,
        metrics={
            "eao": Metric("eao", (votstart.LOW, votstart.HIGH), "EAO"),
            "accuracy": Metric("accuracy", (0, 1), "accuracy"),
            "robustness": Metric("robustness", (0, 1), "robustness"),
        },
        axes={"eao": Axis("frames", np.arange(votstart.HIGH, dtype=np.float64), "Expected average overlap", "eao")},
        source="votchallenge/toolkit, multi-start analyses of VOT2020 to VOT2022",
    ),
}


def get_convention(name: str) -> Convention:
    """Give a convention by its name.

    Raises:
        SourceError: There is no such convention.
    """
    if name not in CONVENTIONS:
        raise SourceError(f"unknown convention {name!r}", hint=f"choose one of {', '.join(CONVENTIONS)}")
    return CONVENTIONS[name]
