"""Static int8 for OpenVINO models, by NNCF."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from siamedge.export.quantization.channel_steps import NARROW_STEPS, channel_steps, paired_steps
from siamedge.export.quantization.exact_scales import int8_weights, replace_constant, round_scales
from siamedge.export.quantization.feeds import Feeds
from siamedge.export.quantization.recipes import CalibrationMethod, Recipe
from siamedge.export.quiet import quiet
from siamedge.runtime.backends.telemetry import telemetry_blocked
from siamedge.runtime.errors import ExportError
from siamedge.runtime.geometry import FloatArray

METHODS: Mapping[CalibrationMethod, str | None] = {
    "default": None,
    "minmax": "MINMAX",
    "mean_minmax": "MEAN_MINMAX",
    "percentile": "MEAN_QUANTILE",
}
"""Name in NNCF's RangeEstimatorParametersSet; None: NNCF chooses by operator."""
MIN_ELEMENTS = 1024
"""In a mixed model smaller weights stay float: the layers that widen them take more bytes of XML than are saved."""
PRODUCTS = ("Convolution", "GroupConvolution", "MatMul")
BIASED = "/WithoutBiases"
"""Ends the name of a convolution that has a bias; the Add behind it has the name without that."""
BORDER_OPS = ("Convert", "Transpose", "Subtract", "Multiply")
"""Between a crop and the first operator of a network."""


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
        return store_int8(model, 0)
    if recipe.calibration not in METHODS:
        raise ExportError(f"NNCF has no calibration {recipe.calibration!r}", hint=f"one of {', '.join(METHODS)}")
    method = METHODS[recipe.calibration]
    estimator = nncf.quantization.range_estimator
    activations = (
        getattr(estimator.RangeEstimatorParametersSet, method) if method else estimator.RangeEstimatorParameters()
    )
    aside = set_aside(model)
    ignored = nncf.IgnoredScope(
        names=[*float_operators(model, recipe), *(end_operators(model) if recipe.float_ends else ())],
        types=list(recipe.float_ops),
        validate=False,
    )
    overflow_fix = nncf.OverflowFix.DISABLE if recipe.in_pairs else nncf.OverflowFix.ENABLE  # NARROW_STEPS
    preset = nncf.QuantizationPreset.MIXED if recipe.activations == "uint8" else nncf.QuantizationPreset.PERFORMANCE
    with quiet():
        quantized = nncf.quantize(
            model,
            nncf.Dataset(feeds),
            subset_size=len(feeds),
            preset=preset,
            ignored_scope=ignored,
            fast_bias_correction=True,
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                activations_range_estimator_params=activations,
                overflow_fix=overflow_fix,
            ),
        )
    put_back(quantized, aside)
    if recipe.in_pairs:
        pair_weights(quantized, float_weights(model))
    return store_int8(round_scales(quantized) if recipe.has_exact_scales else quantized, MIN_ELEMENTS)


def set_aside(model: Any) -> list[str]:
    """Take away, in place, outputs of operators that others read too; gives the names of those operators.

    NNCF would quantize each reader of such an operator for itself: the default's features would meet their kernels in
    all 8 bits then, whose products saturate on processors that add two in 16 bits.
    """
    shared = [item for item in model.get_results() if len(item.input_value(0).get_target_inputs()) > 1]
    names = [result.input_value(0).get_node().get_friendly_name() for result in shared]
    for result in shared:
        model.remove_result(result)
    return names


def put_back(model: Any, names: list[str]) -> None:
    """Give, in place, the outputs of these operators again, as they are before they are quantized."""
    from openvino import opset13  # type: ignore[import-untyped]

    operators = {operator.get_friendly_name(): operator for operator in model.get_ordered_ops()}
    model.add_results([opset13.result(operators[name].output(0)) for name in names])


def float_weights(model: Any) -> dict[str, FloatArray]:
    """Give the weights of the operators that multiply, by the operators' names."""
    weights = {item: item.input_value(1).get_node() for item in model.get_ordered_ops() if is_product(item)}
    return {
        operator.get_friendly_name(): np.array(constant.data)
        for operator, constant in weights.items()
        if constant.get_type_name() == "Constant"
    }


def pair_weights(model: Any, weights: Mapping[str, FloatArray]) -> None:
    """Give, in place, int8 weights the steps of paired_steps, or NARROW_STEPS where there are no pairs.

    Args:
        model: Quantized by NNCF, its weights with WIDE_STEPS.
        weights: What they were before, by the names of the operators that multiply by them.
    """
    for operator in model.get_ordered_ops():
        multiply = int8_weights(operator) if is_product(operator) else None
        if multiply is None:
            continue
        values, is_paired = weights[operator.get_friendly_name()], operator.get_type_name() == "Convolution"
        most = paired_steps(values).reshape(-1, *[1] * (values.ndim - 1)) if is_paired else NARROW_STEPS
        steps, scale = channel_steps(values, channel_axes(operator), most)
        replace_constant(multiply.input_value(0).get_node(), 0, steps)
        replace_constant(multiply, 1, scale)


def store_int8(model: Any, at_least: int) -> Any:
    """Store, in place, float weights of convolutions and products in int8 a channel; the model computes in float.

    NNCF's own compression multiplies in float16, which loses digits and takes a layer more.

    Args:
        model: An OpenVINO model; what NNCF quantized is left alone.
        at_least: Number of weights; of fewer the constant stays float.
    """
    from openvino import Type, opset13

    for operator in model.get_ordered_ops():
        weights = operator.input_value(1).get_node() if is_product(operator) else None
        if weights is None or weights.get_type_name() != "Constant" or weights.get_element_type() != Type.f32:
            continue
        values = np.array(weights.data)
        if values.size < at_least:
            continue
        steps, scale = channel_steps(values, channel_axes(operator))
        name = weights.get_friendly_name()
        widened = opset13.convert(opset13.constant(steps, name=f"{name}_int8"), "f32", name=f"{name}_steps")
        scaled = opset13.multiply(widened, opset13.constant(scale, name=f"{name}_scale"), name=f"{name}_scaled")
        operator.input(1).replace_source_output(scaled.output(0))
    return model


def is_product(operator: Any) -> bool:
    """Whether an operator multiplies: a convolution, a dense layer or a matrix product."""
    return operator.get_type_name() in PRODUCTS


def channel_axes(operator: Any) -> tuple[int, ...]:
    """Axes of the output channels in the weights of a convolution or product."""
    kind = operator.get_type_name()
    if kind == "MatMul":
        return (0,) if operator.get_attributes()["transpose_b"] else (1,)
    return (0, 1) if kind == "GroupConvolution" else (0,)


def is_quantized_at(model: Any, name: str) -> bool:
    """Whether an input of an OpenVINO model is quantized before anything but layout and standardisation happens."""
    readers = model.input(name).get_target_inputs()
    while len(readers) == 1:
        operator = next(iter(readers)).get_node()
        if operator.get_type_name() == "FakeQuantize":
            return True
        if operator.get_type_name() not in BORDER_OPS:
            return False
        readers = operator.output(0).get_target_inputs()
    return False


def plain_name(operator: Any) -> str:
    """Name of an operator; that of a convolution does not tell whether it has a bias."""
    name: str = operator.get_friendly_name()
    return name.removesuffix(BIASED)


def float_operators(model: Any, recipe: Recipe) -> list[str]:
    """Names of the operators that a recipe leaves in float by their plain names."""
    return [
        operator.get_friendly_name()
        for operator in model.get_ordered_ops()
        if any(re.match(pattern, plain_name(operator)) for pattern in recipe.exclude)
    ]


def end_operators(model: Any) -> list[str]:
    """Names of the last convolution or product before each output of an OpenVINO model."""
    ends = []
    for result in model.get_results():
        operator = result
        while operator.get_type_name() not in PRODUCTS and operator.get_input_size() > 0:
            operator = operator.input_value(0).get_node()
        ends.append(operator.get_friendly_name())
    return ends
