"""Scales of few digits, so that an int8 OpenVINO model gives the same on processors with and without int8 kernels.

Without them (ARM) OpenVINO computes with the values that the integers stand for, in float32. Scales of any value make
every product inexact there, a few of a million activations are rounded to the other neighbour, and each of these moves
thousands further on. With scales of few binary digits products and sums are multiples of one unit, exact as long as
they are below 2^24 units, in any order. And where a layer, or a product of two activations, has a bias, it is set to
half a unit off the multiples, so that no sum can lie in the middle between two steps of its output: rounding does not
depend on the last digits then, which other algorithms (Winograd's) and other processors compute differently.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

ACTIVATION_DIGITS = 3
WEIGHT_DIGITS = 6
"""With 5 the boxes of the default model get worse, with 7 sums are nearer to the middle: docs/devices.md."""
COVERED = 0.99
"""Share of an observed range that must stay in range: 255 steps of 3/128 end at 5.98, just below ReLU6's 6."""
SMALLEST = 2.0**-60
"""Of a scale: a channel whose weights are all 0 has none."""
SAME_STEP = ("Concat", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
"""Operators that pass values on as they are."""


def round_scales(model: Any) -> Any:
    """Round, in place, the scales of activations and weights, and move biases by half a unit at most.

    Weights keep their integers: what an output channel multiplies by changes by 1.6 % at most, .5 % usually.

    Args:
        model: Quantized by NNCF: activations by FakeQuantize, weights in int8 with a scale for each output channel.
    """
    for operator in model.get_ordered_ops():
        if operator.get_type_name() == "FakeQuantize":
            round_activations(operator)
        elif (weights := int8_weights(operator)) is not None and (step := step_of(operator.input_value(0))) is not None:
            round_layer(operator, weights, step)
        elif operator.get_type_name() == "MatMul":
            first, second = (step_of(value) for value in operator.input_values())
            if first is not None and second is not None:
                move_bias(operator, np.array(first * second))
    return model


def round_digits(values: Values, digits: int, *, up: bool = False) -> Values:
    """Round positive numbers to so many significant binary digits, to the nearest or up."""
    values = np.maximum(values.astype(np.float64), SMALLEST)
    unit = 2.0 ** (np.floor(np.log2(values)) - digits + 1)
    return np.asarray((np.ceil if up else np.rint)(values / unit) * unit)


def round_activations(operator: Any) -> None:
    """Give a FakeQuantize a step of few digits, and 0 the place among its levels that it had."""
    low, high = constant(operator, 1), constant(operator, 2)
    intervals = operator.get_attributes()["levels"] - 1
    step = np.maximum((high - low) / intervals, SMALLEST)
    zero = np.rint(-low / step)
    step = round_digits(COVERED * step, ACTIVATION_DIGITS, up=True)
    for index, values in enumerate((-zero * step, (intervals - zero) * step) * 2, start=1):
        replace_constant(operator, index, values)


def round_layer(operator: Any, weights: Any, step: float) -> None:
    """Round the scales of a layer's weights and put its bias between the multiples of its units.

    Args:
        operator: The convolution or product.
        weights: What int8_weights gave for it.
        step: Of its input.
    """
    scale = round_digits(constant(weights, 1), WEIGHT_DIGITS)
    replace_constant(weights, 1, scale)
    move_bias(operator, step * scale)


def move_bias(operator: Any, units: Values) -> None:
    """Put the bias behind an operator between the multiples of the units of its sums, if there is one.

    Args:
        operator: A convolution or product.
        units: One for each output channel, or one for all.
    """
    readers = [port.get_node() for port in operator.output(0).get_target_inputs()]
    if len(readers) != 1 or readers[0].get_type_name() != "Add" or not is_constant(readers[0], 1):
        return
    bias = constant(readers[0], 1)
    if units.size in (1, bias.size):
        unit = units.reshape(bias.shape) if units.size > 1 else units.reshape(())
        replace_constant(readers[0], 1, (np.floor(bias / unit) + 0.5) * unit)


def int8_weights(operator: Any) -> Any:
    """Give the Multiply by the scale, if the second input of an operator is int8 weights; else None."""
    if operator.get_input_size() != 2:
        return None
    multiply = operator.input_value(1).get_node()
    if multiply.get_type_name() != "Multiply" or not is_constant(multiply, 1):
        return None
    convert = multiply.input_value(0).get_node()
    return multiply if convert.get_type_name() == "Convert" and is_constant(convert, 0) else None


def step_of(value: Any) -> float | None:
    """Give the step of a quantized value; None if it is not quantized, or not with one step."""
    operator = value.get_node()
    if operator.get_type_name() == "FakeQuantize":
        steps = (constant(operator, 4) - constant(operator, 3)) / (operator.get_attributes()["levels"] - 1)
        return float(steps.item()) if steps.size == 1 else None
    if operator.get_type_name() not in SAME_STEP:
        return None
    sources = operator.input_values() if operator.get_type_name() == "Concat" else operator.input_values()[:1]
    found = {step_of(source) for source in sources}
    return found.pop() if len(found) == 1 else None


def is_constant(operator: Any, index: int) -> bool:
    """Whether an input of an operator is a constant."""
    return bool(operator.input_value(index).get_node().get_type_name() == "Constant")


def constant(operator: Any, index: int) -> Values:
    """The values of a constant input."""
    return np.array(operator.input_value(index).get_node().data, np.float64)


def replace_constant(operator: Any, index: int, values: NDArray[Any]) -> None:
    """Put other values of the same shape where a constant input is, float64 as float32; its name stays."""
    from openvino import opset13  # type: ignore[import-untyped]

    name = operator.input_value(index).get_node().get_friendly_name()
    stored = values.astype(np.float32) if values.dtype == np.float64 else values
    operator.input(index).replace_source_output(opset13.constant(stored, name=name).output(0))
