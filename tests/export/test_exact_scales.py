"""Scales of few digits: an int8 OpenVINO model computes the same with integers and with floats."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from small_network import make_calibration

from siamedge.export.families.dart import METADATA_KEY, Dart, DartConfig
from siamedge.export.families.dart_source import build
from siamedge.export.families.source import Checkpoint, SourceNetwork
from siamedge.export.formats.converters import Converted, make_converter
from siamedge.export.quantization.exact_scales import (
    ACTIVATION_DIGITS,
    WEIGHT_DIGITS,
    constant,
    int8_weights,
    is_constant,
    round_digits,
    step_of,
)
from siamedge.export.quantization.recipes import recipe_for

openvino = pytest.importorskip("openvino")
pytest.importorskip("nncf")

CONFIG = DartConfig(
    layers=((16, 2), (32, 2), (32, 1), (48, 2)), channels=16, head=32, template_px=32, search_px=64, has_quality=True
)
CALIBRATION = make_calibration()
ROUNDING = 1e-5
"""Of the largest output: what the order of a float sum may change."""


@cache
def search_graph(*, exact: bool) -> Converted:
    """In int8, quantized by the default's recipe, of random weights whose activations fill their ranges."""
    network = random_network()
    recipe = replace(recipe_for("openvino", network.arch), has_exact_scales=exact)
    return make_converter("openvino", network).convert("int8", CALIBRATION, recipe).search


def random_network() -> SourceNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Dart(CONFIG).eval()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(2.5 if parameter.ndim == 4 else 1.0)
    return build(Checkpoint(network.state_dict(), {METADATA_KEY: CONFIG.to_json()}))


def read(graph: Converted) -> Any:
    return openvino.Core().read_model(model=graph.content, weights=graph.weights)


def outputs(graph: Converted, *, integers: bool) -> dict[str, np.ndarray]:
    """Of all crops, each with a random kernel; computed with integers where the processor can, or as it is written.

    Args:
        graph: In int8.
        integers: Which of both.
    """
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "LP_TRANSFORMS_MODE": integers}
    compiled = openvino.Core().compile_model(read(graph), "CPU", config)
    crop, kernel = graph.inputs
    rng = np.random.default_rng(0)
    found = []
    for picture in CALIBRATION.searches:
        feeds = {crop.name: picture[None].astype(crop.dtype), kernel.name: rng.normal(0, 0.1, kernel.shape)}
        made = compiled({name: feed.astype(graph.inputs[i].dtype) for i, (name, feed) in enumerate(feeds.items())})
        found.append({port.get_any_name(): value.copy() for port, value in made.items()})
    return {name: np.stack([item[name] for item in found]) for name in found[0]}


def worst(*, exact: bool) -> float:
    """Largest difference between integers and floats, as a share of the largest output."""
    graph = search_graph(exact=exact)
    ours, floats = outputs(graph, integers=True), outputs(graph, integers=False)
    return max(float(np.abs(ours[name] - floats[name]).max() / np.abs(ours[name]).max()) for name in ours)


def test_integers_and_floats_give_the_same() -> None:
    assert worst(exact=True) < ROUNDING


def test_with_scales_of_any_value_they_do_not() -> None:
    assert worst(exact=False) > 100 * ROUNDING


def test_every_scale_has_few_digits_and_no_sum_is_in_the_middle_between_two_steps() -> None:
    layers, model = 0, read(search_graph(exact=True))
    for operator in model.get_ordered_ops():
        weights = int8_weights(operator)
        if weights is None:
            continue
        step, scale = step_of(operator.input_value(0)), constant(weights, 1)
        assert step == round_digits(np.array(step), ACTIVATION_DIGITS)
        np.testing.assert_array_equal(scale, round_digits(scale, WEIGHT_DIGITS))
        (reader,) = operator.output(0).get_target_inputs()
        halves = 2 * constant(reader.get_node(), 1).ravel() / (step * scale.ravel())
        np.testing.assert_array_equal(halves % 2, 1)
        layers += 1
    products = (item for item in model.get_ordered_ops() if item.get_type_name() == "MatMul")
    (product,) = (item for item in products if not is_constant(item, 1))
    (reader,) = product.output(0).get_target_inputs()
    unit = step_of(product.input_value(0)) * step_of(product.input_value(1))
    np.testing.assert_array_equal(2 * constant(reader.get_node(), 1) / unit % 2, 1)
    assert layers == len(CONFIG.layers) + 1 + 2 * CONFIG.tower


@pytest.mark.parametrize(
    ("value", "digits", "nearest", "above"),
    [(6 / 255, 2, 3 / 128, 4 / 128), (1.0, 3, 1.0, 1.0), (0.99 * 6 / 255, 3, 3 / 128, 3 / 128), (1.06, 3, 1.0, 1.25)],
)
def test_digits_are_binary(value: float, digits: int, nearest: float, above: float) -> None:
    assert round_digits(np.array(value), digits) == nearest
    assert round_digits(np.array(value), digits, up=True) == above
