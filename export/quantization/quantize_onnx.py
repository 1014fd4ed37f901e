"""float16 weights and static int8 for ONNX models."""

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from siamedge.export.graphs.onnx_crop import CropChain, feed_integers, find_crop_chain
from siamedge.export.quantization.channel_steps import NARROW_STEPS, WIDE_STEPS, channel_steps, paired_steps
from siamedge.export.quantization.feeds import FeedReader, Feeds
from siamedge.export.quantization.recipes import CalibrationMethod, Recipe
from siamedge.export.quiet import quiet
from siamedge.runtime.errors import ExportError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

METHODS: Mapping[CalibrationMethod, str] = {
    "minmax": "MinMax",
    "moving_average": "MinMax",
    "percentile": "Percentile",
    "entropy": "Entropy",
}
"""Name in onnxruntime.quantization.CalibrationMethod."""
HISTOGRAMS = ("percentile", "entropy")
"""They are fed one crop at a time: ONNX Runtime otherwise keeps all tensors of all crops, which takes gigabytes."""
HALF_MAX = float(np.finfo(np.float16).max)
PRODUCTS = ("Conv", "MatMul", "Gemm")
MIN_HALF_ELEMENTS = 16
"""Tensors with fewer elements stay float32: they save nothing."""


def store_half(model: "ModelProto") -> "ModelProto":
    """Store weights in float16, each followed by a Cast to float32 that the runtime folds when it loads the model.

    ONNX Runtime's CPU kernels for float16 are few, so it would compute in float32 between casts all the same; this
    halves the file and costs nothing per frame. Weights beyond float16's range stay as they are.
    """
    from onnx import ModelProto, TensorProto, helper, numpy_helper

    result = ModelProto()
    result.CopyFrom(model)
    casts = []
    for tensor in result.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < MIN_HALF_ELEMENTS or np.abs(values).max() > HALF_MAX:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], f"{name}_cast", to=TensorProto.FLOAT))
    nodes = [*casts, *result.graph.node]
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result


def store_int8(model: "ModelProto") -> "ModelProto":
    """Store the float weights of convolutions and products in int8 a channel, each followed by a Cast and a Mul.

    ONNX Runtime computes these when it loads the model, so that a frame costs what it does in float; it would run a
    DequantizeLinear every time. Weights that are quantized already stay as they are.
    """
    from onnx import ModelProto, TensorProto, helper, numpy_helper

    result = ModelProto()
    result.CopyFrom(model)
    initializers = {tensor.name: tensor for tensor in result.graph.initializer}
    stored = []
    for node in result.graph.node:
        tensor = initializers.pop(node.input[1], None) if node.op_type in PRODUCTS else None
        if tensor is None or tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        name = tensor.name
        steps, scale = channel_steps(numpy_helper.to_array(tensor), (channel_axis(node),))
        tensor.CopyFrom(numpy_helper.from_array(steps, f"{name}_int8"))
        result.graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scale"))
        stored.append(
            helper.make_node("Cast", [f"{name}_int8"], [f"{name}_steps"], f"{name}_cast", to=TensorProto.FLOAT)
        )
        stored.append(helper.make_node("Mul", [f"{name}_steps", f"{name}_scale"], [name], f"{name}_scaled"))
    nodes = [*stored, *result.graph.node]
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result


def channel_axis(node: "NodeProto") -> int:
    """Axis of the output channels in the weights of a convolution, dense layer or product."""
    if node.op_type == "Conv":
        return 0
    is_transposed = any(item.name == "transB" and item.i == 1 for item in node.attribute)
    return 0 if is_transposed else 1


def quantize(
    model: "ModelProto", feeds: list[Feeds], crop: str, recipe: Recipe, ranges: bytes | None = None
) -> "tuple[ModelProto, bytes]":
    """Quantize statically: QDQ, int8 weights a channel, also of what stays float, activations a tensor.

    Weights that are multiplied with integers take NARROW_STEPS or paired_steps, those that are only stored all of int8.

    Args:
        model: fp32; not changed.
        feeds: Its inputs, once for each calibration pair.
        crop: Name of the input that takes the crop.
        recipe: How to quantize.
        ranges: What was observed before on the same feeds with the same calibration, to spare doing it again.

    Returns:
        The quantized model, and what was observed.

    Raises:
        ExportError: ONNX Runtime is missing or cannot quantize the model.
    """
    try:
        from onnx import ModelProto
        from onnxruntime import quantization  # type: ignore[import-untyped]
    except ImportError as error:
        raise ExportError(f"int8 for ONNX needs {error.name}", hint="pip install 'siamedge[export]'") from error
    if recipe.calibration not in METHODS:
        raise ExportError(
            f"ONNX Runtime has no calibration {recipe.calibration!r}", hint=f"one of {', '.join(METHODS)}"
        )
    chain = find_crop_chain(model, crop) if recipe.activations == "uint8" else None
    source, result = ModelProto(), ModelProto()
    source.CopyFrom(model)
    with quiet(), tempfile.TemporaryDirectory() as folder:
        path, cache = Path(folder) / "model.onnx", Path(folder) / "ranges.json"
        if ranges is not None:
            cache.write_bytes(ranges)
        quantization.quantize_static(
            source, str(path), FeedReader(feeds), **options(quantization, model, chain, recipe, cache)
        )
        result.ParseFromString(path.read_bytes())
        observed = cache.read_bytes()
    if chain is not None:
        feed_integers(result, crop, chain)
    return store_int8(result), observed


def options(
    quantization: ModuleType, model: "ModelProto", chain: CropChain | None, recipe: Recipe, cache: Path
) -> dict[str, Any]:
    """Express a recipe in ONNX Runtime's terms."""
    types, method = quantization.QuantType, METHODS[recipe.calibration]
    return {
        "quant_format": quantization.QuantFormat.QDQ,
        "per_channel": True,
        "weight_type": types.QInt8,
        "activation_type": types.QUInt8 if recipe.activations == "uint8" else types.QInt8,
        "nodes_to_exclude": [*float_nodes(model, recipe), *(chain.nodes if chain else ())],
        "calibrate_method": getattr(quantization.CalibrationMethod, method),
        "calibration_cache_path": cache,
        "extra_options": {
            "CalibMovingAverage": recipe.calibration == "moving_average",
            "TensorQuantOverrides": {**weight_ranges(model, recipe), **(chain.override(quantization) if chain else {})},
            **({"CalibStridedMinMax": 1} if recipe.calibration in HISTOGRAMS else {}),
        },
    }


def weight_ranges(model: "ModelProto", recipe: Recipe) -> dict[str, list[dict[str, Any]]]:
    """Ranges that leave each channel's weights NARROW_STEPS or paired_steps, as ONNX Runtime's TensorQuantOverrides.

    It divides what it is given as the range by WIDE_STEPS; those of operators that stay float it never asks for.
    """
    from onnx import numpy_helper

    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    overrides: dict[str, list[dict[str, Any]]] = {}
    for node in model.graph.node:
        tensor = initializers.get(node.input[1]) if node.op_type in PRODUCTS else None
        if tensor is None or len(tensor.dims) < 2:
            continue
        values, axis = numpy_helper.to_array(tensor), channel_axis(node)
        is_paired = recipe.in_pairs and node.op_type == "Conv"
        steps = paired_steps(values) if is_paired else np.full(values.shape[axis], NARROW_STEPS)
        largest = np.abs(values).max(tuple(i for i in range(values.ndim) if i != axis)) * (WIDE_STEPS / steps)
        overrides[tensor.name] = [{"axis": axis, "rmin": -value, "rmax": value} for value in largest]
    return overrides


def float_nodes(model: "ModelProto", recipe: Recipe) -> list[str]:
    """Names of the operators that a recipe leaves in float."""
    ends = set(end_nodes(model)) if recipe.float_ends else set()
    return [
        node.name
        for node in model.graph.node
        if node.op_type in recipe.float_ops
        or node.name in ends
        or any(re.match(pattern, node.name) for pattern in recipe.exclude)
    ]


def end_nodes(model: "ModelProto") -> list[str]:
    """Names of the last convolution or product before each output that no other operator reads."""
    producers = {output: node for node in model.graph.node for output in node.output}
    read = {name for node in model.graph.node for name in node.input}
    ends = []
    for output in (output for output in model.graph.output if output.name not in read):
        node = producers[output.name]
        while node.op_type not in PRODUCTS and node.input[0] in producers:
            node = producers[node.input[0]]
        ends.append(node.name)
    return ends
