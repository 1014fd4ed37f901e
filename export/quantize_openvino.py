"""Static int8 for OpenVINO models, by NNCF."""

from typing import Any

from siamedge.export.calibration_feeds import Feeds
from siamedge.export.quiet import quiet
from siamedge.export.recipes import Recipe
from siamedge.runtime.errors import ExportError
from siamedge.runtime.telemetry import telemetry_blocked


def quantize(model: Any, feeds: list[Feeds], recipe: Recipe) -> Any:
    """Quantize statically: int8 weights a channel, activations as OpenVINO's CPU wants them.

    Raises:
        ExportError: NNCF is missing or cannot quantize the model.
    """
    try:
        with quiet(), telemetry_blocked():
            import nncf  # type: ignore[import-untyped]
    except ImportError as error:
        raise ExportError(f"int8 for OpenVINO needs {error.name}", hint="pip install 'siamedge[export]'") from error
    ignored = nncf.IgnoredScope(
        types=list(recipe.float_ops), patterns=[f"{pattern}.*" for pattern in recipe.exclude], validate=False
    )
    with quiet():
        return nncf.quantize(
            model,
            nncf.Dataset(feeds),
            subset_size=len(feeds),
            ignored_scope=ignored,
            fast_bias_correction=True,
        )
