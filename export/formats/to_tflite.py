"""TFLite: the two graphs through litert-torch, then ai-edge-quantizer."""

import tempfile
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from siamedge.export.calibration.crop_sets import CalibrationSet
from siamedge.export.families.source import SourceNetwork
from siamedge.export.formats.assemble import convert_pair
from siamedge.export.formats.converters import Converted, ConvertedPair
from siamedge.export.graphs.branches import ExportGraph, TensorStyle, make_graphs
from siamedge.export.graphs.tflite_border import fold_standardisation, make_crop_int8
from siamedge.export.quantization import quantize_tflite
from siamedge.export.quantization.feeds import Feeds, digest
from siamedge.export.quantization.preparation import Preparation
from siamedge.export.quantization.recipes import Operator, Recipe, recipe_for
from siamedge.export.quiet import quiet
from siamedge.runtime.backends.backend import Precision
from siamedge.runtime.backends.tflite_file import (
    operator_label,
    operator_name,
    operator_scope,
    read_flatbuffer,
)
from siamedge.runtime.errors import ExportError

STYLE = TensorStyle(crop_dtype="float32", crop_layout="NHWC", map_layout="NHWC")
HINT_INSTALL = "pip install 'siamedge[export-tflite]'"


class TfliteConverter:
    """Converts one network to TFLite.

    Args:
        network: The network.
        preparation: What made it; its models are of no use to another format.
    """

    def __init__(self, network: SourceNetwork, preparation: Preparation | None = None) -> None:
        self._network = network
        self._ranges: dict[object, dict[str, Any]] = {}

    @cached_property
    def graphs(self) -> tuple[ExportGraph, ExportGraph]:
        """The wrapped template and search graph."""
        return make_graphs(self._network, STYLE)

    @cached_property
    def float_models(self) -> tuple[bytes, bytes]:
        """Both graphs in fp32."""
        template, search = self.graphs
        return export_graph(template), export_graph(search)

    def convert(
        self, precision: Precision, calibration: CalibrationSet | None = None, recipe: Recipe | None = None
    ) -> ConvertedPair:
        """Convert both graphs.

        Raises:
            ExportError: A library is missing, int8 lacks its calibration set, or the conversion fails.
        """
        return convert_pair(
            self, self.graphs, precision, calibration, recipe or recipe_for("tflite", self._network.arch)
        )

    def operators(self) -> tuple[Operator, ...]:
        """Give the operators of the search graph in order of execution."""
        model = read_flatbuffer(self.float_models[1])
        return tuple(
            Operator(
                operator_label(model, operator),
                operator_scope(model, operator),
                operator_name(model, operator) in quantize_tflite.PRODUCTS,
            )
            for operator in model.subgraphs[0].operators
        )

    def as_float(self, index: int, precision: Precision) -> Converted:
        """Graph 0 (template) or 1 (search) in fp32, or with its weights in fp16."""
        graph, content = self.graphs[index], self.float_models[index]
        if precision == "fp16":
            content = quantize_tflite.store_half(content)
        return Converted(content, b"", graph.inputs, graph.outputs)

    def as_int8(self, index: int, feeds: list[Feeds], recipe: Recipe) -> Converted:
        """Graph 0 (template) or 1 (search) in int8.

        The crop is stored as value - 128, or as float32 where the recipe leaves the first layer in float.
        """
        graph = self.graphs[index]
        if recipe.activations == "float":
            content = quantize_tflite.store_int8(self.float_models[index])
            return Converted(content, b"", graph.inputs, graph.outputs)
        crop, *kernels = graph.inputs
        kind = (index, recipe.calibration, recipe.float_ops, digest(feeds))
        if kind not in self._ranges:
            self._ranges[kind] = quantize_tflite.observe(self.float_models[index], feeds, recipe)
        content = quantize_tflite.quantize(self.float_models[index], self._ranges[kind], crop.name, recipe)
        edited = make_crop_int8(content, crop.name)
        if edited is None:
            return Converted(content, b"", graph.inputs, graph.outputs)
        stored = crop._replace(dtype="int8", scale=1.0, zero_point=-128)
        return Converted(fold_standardisation(edited, crop.name), b"", (stored, *kernels), graph.outputs)


def import_litert_torch() -> ModuleType:
    """Import the converter, which takes seconds and writes to the terminal.

    Raises:
        ExportError: It is not installed.
    """
    try:
        with quiet():
            import litert_torch  # type: ignore[import-untyped]
    except ImportError as error:
        raise ExportError(f"TFLite export needs {error.name}", hint=HINT_INSTALL) from error
    module: ModuleType = litert_torch
    return module


def export_graph(graph: ExportGraph) -> bytes:
    """Export one graph in fp32.

    Raises:
        ExportError: A library is missing, or litert-torch cannot convert the network.
    """
    litert_torch = import_litert_torch()
    try:
        with quiet(), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.tflite"
            litert_torch.convert(graph, sample_kwargs=graph.sample()).export(str(path))
            return path.read_bytes()
    except (RuntimeError, ValueError, TypeError) as error:
        raise ExportError(f"{graph.role} graph: litert-torch cannot convert it: {error}") from error
