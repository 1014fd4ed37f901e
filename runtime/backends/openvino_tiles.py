"""Changes of an int8 OpenVINO model as it is loaded on a processor with AMX.

Its first convolutions have few channels and many pixels, and AMX multiplies 64 channels at once. On groups of pixels
(pixel_groups) they take fewer tiles: those with a stride with which a network begins read groups of so many pixels that
the last of them writes single ones, so that nothing but the crop has to be read in another shape.
"""

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from siamedge.runtime.backends.pixel_groups import AMX, group_weights
from siamedge.runtime.tensors import Array

REVISION = 1
"""Of what is changed; a compiled model that is kept is one of it."""
TO_PLANES = (0, 3, 1, 2)
ALIKE = ("Add", "Subtract", "Multiply", "Divide", "FakeQuantize", "Clamp", "Relu", "Convert")
"""Operators that do the same to each value where their constants are single numbers."""


class Stage(NamedTuple):
    """A convolution with its bias, and what stands between it and the one before.

    Attributes:
        between: Operators that do the same to each value, in order; in front of the first stage a transpose too.
        convolution: Its node.
        bias: The addition behind it.
        weights: (O, C, height, width), int8.
        scales: (O, 1, 1, 1), float32: what a step of the weights is worth.
        offsets: (1, O, 1, 1), float32: what is added.
    """

    between: list[Any]
    convolution: Any
    bias: Any
    weights: Array
    scales: Array
    offsets: Array


def fit_tiles(network: Any) -> bool:
    """Group, in place, the pixels of the convolutions with a stride that stand at a model's beginning.

    Args:
        network: An openvino.Model of which the crop is uint8 in NHWC.

    Returns:
        Whether anything was changed.
    """
    crop = next((node for node in network.get_parameters() if is_crop(node)), None)
    if crop is None:
        return False
    stages = leading_stages(crop)
    while stages and not are_groupable(stages, crop):
        stages.pop()
    if not stages:
        return False
    regroup(crop, stages)
    network.validate_nodes_and_infer_types()
    return True


def is_crop(parameter: Any) -> bool:
    """Whether an input is a picture of bytes with its channels last."""
    shape = parameter.get_partial_shape()
    is_picture = shape.is_static and len(shape) == 4 and shape[3].get_length() == 3
    return is_picture and parameter.get_element_type().get_type_name() == "u8"


def leading_stages(crop: Any) -> list[Stage]:
    """The convolutions with a stride that follow one another from the crop on, as far as they can be rewritten."""
    stages: list[Stage] = []
    between: list[Any] = []
    node = only_reader(crop)
    while node is not None:
        if node.get_type_name() == "Convolution":
            stage = read_stage(node, between)
            if stage is None or max(node.get_attributes()["strides"]) == 1:
                break
            stages.append(stage)
            node, between = only_reader(stage.bias), []
        elif is_alike(node) or (not stages and is_to_planes(node)):
            between.append(node)
            node = only_reader(node)
        else:
            break
    return stages


def only_reader(node: Any) -> Any:
    """The operator that reads a node's result; None if it is not exactly one."""
    readers = [port.get_node() for port in node.output(0).get_target_inputs()]
    return readers[0] if len(readers) == 1 else None


def is_alike(node: Any) -> bool:
    """Whether an operator does the same to each value."""
    constants = [port.get_source_output() for port in node.inputs()[1:]]
    is_single = all(port.get_node().get_type_name() == "Constant" and prod(port.get_shape()) == 1 for port in constants)
    return node.get_type_name() in ALIKE and is_single


def is_to_planes(node: Any) -> bool:
    """Whether an operator brings channels that are last to the front."""
    if node.get_type_name() != "Transpose":
        return False
    order = node.input_value(1).get_node()
    return order.get_type_name() == "Constant" and tuple(order.data.tolist()) == TO_PLANES


def read_stage(convolution: Any, between: Sequence[Any]) -> Stage | None:
    """A convolution with int8 weights, a scale for each of its outputs, and a bias; None for another one."""
    product, bias = convolution.input_value(1).get_node(), only_reader(convolution)
    if product.get_type_name() != "Multiply" or bias is None or bias.get_type_name() != "Add":
        return None
    widened, scales = (product.input_value(index).get_node() for index in (0, 1))
    added = [port.get_source_output().get_node() for port in bias.inputs()]
    offsets = next((node for node in added if node.get_type_name() == "Constant"), None)
    if offsets is None or widened.get_type_name() != "Convert" or scales.get_type_name() != "Constant":
        return None
    stored = widened.input_value(0).get_node()
    outputs = convolution.output(0).get_shape()[1]
    if stored.get_type_name() != "Constant" or stored.get_element_type().get_type_name() != "i8":
        return None
    if prod(scales.data.shape) != outputs or prod(offsets.data.shape) != outputs:
        return None
    return Stage(list(between), convolution, bias, *(np.array(node.data) for node in (stored, scales, offsets)))


def are_groupable(stages: Sequence[Stage], crop: Any) -> bool:
    """Whether groups fill the rows of all pictures, their channels fit a tile, and there is a transpose to move."""
    if not any(is_to_planes(node) for node in stages[0].between):
        return False
    columns = int(crop.output(0).get_shape()[2])
    for stage, pixels in zip(stages, groups_of(stages), strict=True):
        found = stage.convolution.get_attributes()
        results = int(stage.convolution.output(0).get_shape()[3])
        is_plain = set(found["dilations"]) == {1} and found["auto_pad"] == "explicit"
        if not is_plain or columns != results * found["strides"][1] or columns % pixels:
            return False
        if pixels * stage.weights.shape[1] > AMX.inputs:
            return False
        columns = results
    return True


def groups_of(stages: Sequence[Stage]) -> list[int]:
    """Pixels in a group of each stage's input: as many as one pixel of the last stage's result is made of."""
    strides = [stage.convolution.get_attributes()["strides"][1] for stage in stages]
    return [prod(strides[index:]) for index in range(len(strides))]


def regroup(crop: Any, stages: Sequence[Stage]) -> None:
    """Let stages compute on groups of pixels."""
    groups = groups_of(stages)
    group_pixels(crop, groups[0])
    for stage, pixels in zip(stages, groups, strict=True):
        for node in stage.between:
            node.validate_and_infer_types()
        result = on_groups(stage, pixels)
        for port in list(stage.bias.output(0).get_target_inputs()):
            port.replace_source_output(result.output(0))


def group_pixels(crop: Any, pixels: int) -> None:
    """Have what reads an input of (1, H, W, C) read (1, H, W / pixels, pixels * C)."""
    from openvino import opset13  # type: ignore[import-untyped]

    _, rows, columns, channels = crop.output(0).get_shape()
    readers = list(crop.output(0).get_target_inputs())
    shape = np.array((1, rows, columns // pixels, pixels * channels), np.int64)
    grouped = opset13.reshape(crop, opset13.constant(shape), special_zero=False)
    for port in readers:
        port.replace_source_output(grouped.output(0))


def on_groups(stage: Stage, pixels: int) -> Any:
    """Make a stage's convolution and bias anew, reading groups of so many pixels; gives the addition of the bias."""
    from openvino import opset13

    found = stage.convolution.get_attributes()
    (down, across), (top, left), bottom = found["strides"], found["pads_begin"], found["pads_end"][0]
    weights, outputs = group_weights(stage.weights, stride=across, pad=left, pixels=pixels), pixels // across
    steps = opset13.convert(opset13.constant(np.ascontiguousarray(weights.weights)), "f32")
    convolution = opset13.convolution(
        stage.convolution.input_value(0),
        opset13.multiply(steps, opset13.constant(np.tile(stage.scales, (outputs, 1, 1, 1)))),
        strides=[down, 1],
        pads_begin=[top, weights.before],
        pads_end=[bottom, weights.after],
        dilations=[1, 1],
    )
    bias = opset13.add(convolution, opset13.constant(np.tile(stage.offsets, (1, outputs, 1, 1))))
    bias.set_friendly_name(stage.bias.get_friendly_name())
    return bias
