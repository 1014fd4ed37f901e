"""float16 weights and static int8 for TFLite models, by ai-edge-quantizer."""

import copy
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from siamedge.export.quantization.feeds import Feeds
from siamedge.export.quantization.recipes import CalibrationMethod, Recipe
from siamedge.export.quiet import quiet
from siamedge.runtime.backends.tflite_file import operator_name, read_flatbuffer
from siamedge.runtime.errors import ExportError

PRODUCTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL")
STORABLE = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
"""Operators that stay float and still have their weights stored in int8."""
SIGNATURE = "serving_default"
METHODS: Mapping[CalibrationMethod, str] = {"minmax": "min_max_update", "moving_average": "moving_average_update"}
"""Name of the function in ai_edge_quantizer.utils.qsv_utils that updates ranges."""


def import_quantizer() -> Any:
    """Import ai-edge-quantizer.

    Raises:
        ExportError: It is not installed.
    """
    try:
        with quiet():
            import ai_edge_quantizer  # type: ignore[import-untyped]
            import ai_edge_quantizer.calibrator  # type: ignore[import-untyped]
            import ai_edge_quantizer.recipe_manager  # type: ignore[import-untyped]
            import ai_edge_quantizer.utils.qsv_utils  # type: ignore[import-untyped]
    except ImportError as error:
        raise ExportError(
            f"TFLite in fp16 or int8 needs {error.name}", hint="pip install 'siamedge[export-tflite]'"
        ) from error
    return ai_edge_quantizer


def store_half(content: bytes) -> bytes:
    """Store weights in float16; the runtime widens them when it loads the model."""
    aeq = import_quantizer()
    with quiet():
        quantizer = aeq.quantizer.Quantizer(content)
        quantizer.add_weight_only_config(
            ".*",
            aeq.qtyping.TFLOperationName.ALL_SUPPORTED,
            16,
            aeq.qtyping.QuantGranularity.TENSORWISE,
            aeq.algorithm_manager.AlgorithmName.FLOAT_CASTING,
        )
        return bytes(quantizer.quantize(enable_progress_report=False).quantized_model)


def store_int8(content: bytes) -> bytes:
    """Store weights in int8 a channel; the runtime computes in float."""
    aeq = import_quantizer()
    with quiet():
        quantizer = aeq.quantizer.Quantizer(content)
        quantizer.add_weight_only_config(
            ".*", aeq.qtyping.TFLOperationName.ALL_SUPPORTED, 8, aeq.qtyping.QuantGranularity.CHANNELWISE
        )
        return bytes(quantizer.quantize(enable_progress_report=False).quantized_model)


def observe(content: bytes, feeds: list[Feeds], recipe: Recipe) -> dict[str, Any]:
    """Take the ranges of all activations that a recipe may quantize, its excluded operators included.

    Args:
        content: fp32 model.
        feeds: Of the fp32 model.
        recipe: How ranges are taken.

    Raises:
        ExportError: The library is missing, or has no such calibration.
    """
    aeq = import_quantizer()
    if recipe.calibration not in METHODS:
        raise ExportError(f"TFLite has no calibration {recipe.calibration!r}", hint=f"one of {', '.join(METHODS)}")
    with quiet():
        manager = aeq.recipe_manager.RecipeManager()
        manager.load_quantization_recipe(make_rules(aeq, replace(recipe, exclude=()), []))
        calibrator = aeq.calibrator.Calibrator(
            content,
            num_threads=1,
            qsv_update_func=getattr(aeq.utils.qsv_utils, METHODS[recipe.calibration]),
        )
        calibrator.calibrate({SIGNATURE: feeds}, manager)
        ranges: dict[str, Any] = calibrator.get_model_qsvs()
    return ranges


def quantize(content: bytes, observed: dict[str, Any], crop: str, recipe: Recipe) -> bytes:
    """Quantize statically: int8 weights a channel, int8 activations a tensor, float32 kernels and outputs.

    Args:
        content: fp32 model.
        observed: What observe gave; it is left as it is.
        crop: Name of the input that takes the crop; it keeps the range 0..255, one step a grey level.
        recipe: How to quantize.

    Raises:
        ExportError: The library is missing, or cannot quantize so.
    """
    aeq = import_quantizer()
    ranges = copy.deepcopy(observed)
    with quiet():
        ends = end_tensors(content) if recipe.float_ends else []
        rules = make_rules(aeq, recipe, ends)
        fix_range(ranges, f"{SIGNATURE}_{crop}", 0.0, 255.0)
        quantizer = aeq.quantizer.Quantizer(content, quantization_recipe=rules)
        result = quantizer.quantize(ranges, enable_progress_report=False)
    return bytes(result.quantized_model)


def make_rules(aeq: Any, recipe: Recipe, ends: list[str]) -> list[dict[str, Any]]:
    """Express a recipe in ai-edge-quantizer's terms; later rules win over earlier ones.

    Args:
        aeq: The library.
        recipe: How to quantize.
        ends: Tensors whose operators stay float besides.
    """
    operation, none = aeq.qtyping.TFLOperationName, aeq.algorithm_manager.AlgorithmName.NO_QUANTIZE
    manager = aeq.recipe_manager.RecipeManager()
    manager.add_static_config(".*", operation.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8)
    for name in ("INPUT", "OUTPUT", *recipe.float_ops):
        manager.add_quantization_config(".*", operation[name], algorithm_key=none)
    for pattern in (*recipe.exclude, *(f"{re.escape(name)}(;|$)" for name in ends)):
        manager.add_quantization_config(f"^(?:{pattern})", operation.ALL_SUPPORTED, algorithm_key=none)
        for name in STORABLE:
            manager.add_weight_only_config(
                f"^(?:{pattern})", operation[name], 8, aeq.qtyping.QuantGranularity.CHANNELWISE
            )
    rules: list[dict[str, Any]] = manager.get_quantization_recipe()
    return rules


def end_tensors(content: bytes) -> list[str]:
    """Names of the tensors that the last convolution or product writes before each output that no operator reads."""
    model = read_flatbuffer(content)
    graph = model.subgraphs[0]
    producers = {int(output): op for op in graph.operators for output in op.outputs}
    read = {int(tensor) for op in graph.operators for tensor in op.inputs}
    ends = []
    for output in (int(output) for output in graph.outputs if int(output) not in read):
        index = output
        while operator_name(model, producers[index]) not in PRODUCTS and int(producers[index].inputs[0]) in producers:
            index = int(producers[index].inputs[0])
        ends.append(graph.tensors[index].name.decode())
    return ends


def fix_range(ranges: dict[str, Any], tensor: str, low: float, high: float) -> None:
    """Replace what was observed for a tensor by a known range; a tensor that stays float was not observed."""
    if tensor not in ranges:
        return
    shape = np.shape(ranges[tensor]["min"])
    ranges[tensor] = {"min": np.full(shape, low, np.float32), "max": np.full(shape, high, np.float32)}
