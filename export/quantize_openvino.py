"""Static int8 for OpenVINO models, by NNCF."""

from collections.abc import Mapping
from typing import Any

from siamedge.export.calibration_feeds import Feeds
from siamedge.export.quiet import quiet
from siamedge.export.recipes import CalibrationMethod, Recipe
from siamedge.runtime.errors import ExportError
from siamedge.runtime.telemetry import telemetry_blocked

METHODS: Mapping[CalibrationMethod, str | None] = {
    "default": None,
    "minmax": "MINMAX",
    "mean_minmax": "MEAN_MINMAX",
}
"""Name in NNCF's RangeEstimatorParametersSet; None: NNCF chooses by operator."""
PRODUCTS = ("Convolution", "GroupConvolution", "MatMul")


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
    if recipe.activations == "float":
        with quiet():
            return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
    if recipe.calibration not in METHODS:
        raise ExportError(f"NNCF has no calibration {recipe.calibration!r}", hint=f"one of {', '.join(METHODS)}")
    method = METHODS[recipe.calibration]
    estimator = nncf.quantization.range_estimator
    activations = (
        getattr(estimator.RangeEstimatorParametersSet, method) if method else estimator.RangeEstimatorParameters()
    )
    ignored = nncf.IgnoredScope(
        names=end_operators(model) if recipe.float_ends else [],
        types=list(recipe.float_ops),
        patterns=[f"{pattern}.*" for pattern in recipe.exclude],
        validate=False,
    )
    with quiet():
        return nncf.quantize(
            model,
            nncf.Dataset(feeds),
            subset_size=len(feeds),
            ignored_scope=ignored,
            fast_bias_correction=True,
            advanced_parameters=nncf.AdvancedQuantizationParameters(activations_range_estimator_params=activations),
        )


def end_operators(model: Any) -> list[str]:
    """Names of the last convolution or product before each output of an OpenVINO model."""
    ends = []
    for result in model.get_results():
        operator = result
        while operator.get_type_name() not in PRODUCTS and operator.get_input_size() > 0:
            operator = operator.input_value(0).get_node()
        ends.append(operator.get_friendly_name())
    return ends
