"""Looks for an int8 recipe within budget, cheapest first; only what costs accuracy goes back to float.

The order is fixed: the default recipe, the options of the format (rounding, ranges, equalisation, the template graph
in fp16; what helps is kept), then each of a few groups of operators put back to float alone (the sensitivity of each),
then the most sensitive groups together, then each of them given back to int8 where the others suffice, and at last
weights in int8 with all arithmetic in float. It stops at the first recipe that is within budget.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

from siamedge.export.formats.census import Census
from siamedge.export.formats.converters import ConvertedPair
from siamedge.export.quantization.recipes import Operator, Option, Recipe
from siamedge.export.verification.tensors import BUDGETS, Budget, Measured
from siamedge.runtime.bundles.manifest import TrackingDrop

Purpose = Literal[
    "default", "rounding", "calibration", "equalisation", "template in fp16", "sensitivity", "exclusion",
    "return to int8", "weights only",
]  # fmt: skip
ATTEMPTS = 18
QUICK_ATTEMPTS = 5
GROUPS = 8


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to look.

    Attributes:
        attempts: Recipes to try at most, > 0; equal searches try equal recipes.
        minutes: No attempt begins after so many; None: no limit.
    """

    attempts: int = ATTEMPTS
    minutes: float | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """A recipe and what came of it.

    Attributes:
        recipe: How it was quantized.
        purpose: Why it was tried.
        pair: Both graphs.
        measured: Against the source network.
        census: Of the search graph.
        excluded: Labels of the products that were put back to float beyond the default recipe.
        tracking: What it costs in tracking, where that was asked for and the tensors are within budget.
    """

    recipe: Recipe
    purpose: Purpose
    pair: ConvertedPair
    measured: Measured
    census: Census
    excluded: tuple[str, ...] = ()
    tracking: TrackingDrop | None = None

    @property
    def is_within(self) -> bool:
        """Whether it is within every budget, and int8 at all."""
        return self.measured.verification.verdict == "pass"

    @property
    def error(self) -> float:
        """What it costs, each figure as a share of its budget, summed."""
        return error_of(self, BUDGETS["int8"])


def error_of(trial: Trial, budget: Budget) -> float:
    """Sum what moved, each as a multiple of what is allowed: peaks, boxes, and the output that is furthest off."""
    found = trial.measured.verification
    moved = (1 - found.peak_agreement) / (1 - budget.peak_agreement)
    furthest = max((difference.relative_rms for difference in found.differences.values()), default=0.0)
    return moved + (found.box_px or 0.0) / budget.box_px + furthest / budget.relative_rms


@dataclass(frozen=True, slots=True)
class Found:
    """What the search gave.

    Attributes:
        chosen: The trial to ship; marked if it is not within budget.
        trials: All, in order.
    """

    chosen: Trial
    trials: tuple[Trial, ...]


Attempt = Callable[[Recipe, Purpose, tuple[str, ...]], Trial]


@dataclass(slots=True)
class Search:
    """The state of one search.

    Attributes:
        attempt: Quantizes and measures.
        operators: Of the float search graph, in order of execution.
        effort: How long to look.
    """

    attempt: Attempt
    operators: Sequence[Operator]
    effort: Effort
    trials: list[Trial] = field(default_factory=list)
    begin: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> int:
        """How many recipes may still be tried."""
        minutes = (time.monotonic() - self.begin) / 60
        is_late = self.effort.minutes is not None and minutes >= self.effort.minutes
        return 0 if is_late and self.trials else self.effort.attempts - len(self.trials)

    def run(self, recipe: Recipe, purpose: Purpose, excluded: Sequence[Operator] = ()) -> Trial:
        """Try a recipe with some more operators in float."""
        patterns = tuple(operator.pattern for operator in excluded)
        labels = tuple(operator.label for operator in excluded if operator.is_product)
        trial = self.attempt(replace(recipe, exclude=(*recipe.exclude, *patterns)), purpose, labels)
        self.trials.append(trial)
        return trial


def find_int8(
    attempt: Attempt,
    operators: Callable[[], Sequence[Operator]],
    recipe: Recipe,
    options: Sequence[Option],
    effort: Effort,
) -> Found:
    """Find a recipe within budget.

    Args:
        attempt: Quantizes by a recipe and measures.
        operators: Gives those of the float search graph; asked only if they are needed.
        recipe: To begin with.
        options: Of the format; a third of the attempts at most go to them.
        effort: How long to look.
    """
    search = Search(attempt, (), effort)
    first = try_options(search, search.run(recipe, "default"), options)
    if first.is_within or search.left < 3:
        return Found(first, tuple(search.trials))
    search.operators = operators()
    search.effort = replace(effort, attempts=effort.attempts - 1)
    chosen = exclude_groups(search, first)
    search.effort = effort
    if not chosen.is_within and search.left > 0:
        stored = replace(recipe, activations="float", exclude=())
        chosen = min(chosen, search.run(stored, "weights only"), key=rank)
    return Found(chosen, tuple(search.trials))


def try_options(search: Search, first: Trial, options: Sequence[Option]) -> Trial:
    """Try each option on top of those that helped, until within budget."""
    most = 1 + max(1, search.effort.attempts // 3)
    for option in options:
        if first.is_within or search.left == 0 or len(search.trials) == most:
            break
        if (changed := option.apply(first.recipe)) not in [trial.recipe for trial in search.trials]:
            first = min(first, search.run(changed, option.purpose), key=rank)
    return first


def rank(trial: Trial) -> tuple[bool, float]:
    """Sort by verdict, then by error."""
    return not trial.is_within, trial.error


def exclude_groups(search: Search, base: Trial) -> Trial:
    """Measure what each group of operators costs, then put the most costly ones back to float until within budget."""
    free = [item for item in search.operators if not any(re.match(p, item.name) for p in base.recipe.exclude)]
    gains: list[tuple[float, list[Operator]]] = []
    for group in split_by_products(free, min(GROUPS, max(2, search.left * 2 // 3))):
        if search.left == 0:
            break
        trial = search.run(base.recipe, "sensitivity", group)
        if trial.is_within:
            return trial
        gains.append((base.error - trial.error, group))
    ordered = [group for gain, group in sorted(gains, key=lambda item: -item[0]) if gain > 0]
    for count in range(2, len(ordered) + 1):
        if search.left == 0:
            break
        trial = search.run(base.recipe, "exclusion", flatten(ordered[:count]))
        if trial.is_within:
            return give_back(search, base, trial, ordered[:count])
    return min(search.trials, key=rank)


def give_back(search: Search, base: Trial, found: Trial, groups: list[list[Operator]]) -> Trial:
    """Return to int8 each group but the last, without which it is known not to do, if the others suffice."""
    kept = list(groups)
    for group in reversed(groups[:-1]):
        if search.left == 0 or len(kept) == 1:
            break
        fewer = [item for item in kept if item is not group]
        trial = search.run(base.recipe, "return to int8", flatten(fewer))
        if trial.is_within:
            found, kept = trial, fewer
    return found


def flatten(groups: Sequence[Sequence[Operator]]) -> list[Operator]:
    """Give the operators of several groups."""
    return [item for group in groups for item in group]


def split_by_products(operators: Sequence[Operator], count: int) -> list[list[Operator]]:
    """Split operators into contiguous groups with about as many products each; what precedes one goes with it."""
    products = [i for i, item in enumerate(operators) if item.is_product]
    if count < 1 or not products:
        return []
    count = min(count, len(products))
    starts = [0, *(products[len(products) * i // count] for i in range(1, count)), len(operators)]
    return [list(operators[a:b]) for a, b in pairwise(starts)]
