"""The learning rate over a run."""

import math

from siamedge.training.recipes.dart import RunRecipe


def learning_rate(recipe: RunRecipe, pairs: int) -> float:
    """Warm up linearly, hold, then fall to zero on half a cosine; `pairs` have been seen."""
    warm = min(1.0, (pairs + 1) / max(1, recipe.warmup_pairs))
    start = recipe.decay_from * recipe.pairs
    fallen = min(1.0, max(0.0, (pairs - start) / max(1.0, recipe.pairs - start)))
    return recipe.learning_rate * warm * (0.5 + 0.5 * math.cos(math.pi * fallen))
