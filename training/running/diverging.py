"""Stopping a run whose loss has left all bounds, while the weights that it saved last are still good."""

from torch import Tensor

from siamedge.runtime.errors import ExportError


def check_finite(loss: Tensor, gradient_norm: Tensor, pairs: int) -> None:
    """Refuse to learn from a loss or a gradient that is no finite number.

    Args:
        loss: Of a step, a scalar.
        gradient_norm: Of all that learns from it, a scalar.
        pairs: That the run saw before the step.

    Raises:
        ExportError: One of them is not finite.
    """
    if loss.isfinite() and gradient_norm.isfinite():
        return
    raise ExportError(
        f"diverged after {pairs} pairs: the loss is {loss.item():g}, the norm of its gradient {gradient_norm.item():g}",
        hint="start again in another --out, from other weights; what this run saved before, if anything, stays",
    )
