"""ONNX: the two graphs through torch.onnx, then float16 weights or ONNX Runtime's static quantization."""

from functools import cached_property
from typing import TYPE_CHECKING

from siamedge.export.calibration.crop_sets import CalibrationSet
from siamedge.export.families.source import SourceNetwork
from siamedge.export.formats.assemble import convert_pair
from siamedge.export.formats.converters import Converted, ConvertedPair
from siamedge.export.graphs.branches import ExportGraph, TensorStyle, make_graphs
from siamedge.export.graphs.onnx_border import fit_border
from siamedge.export.quantization import quantize_onnx
from siamedge.export.quantization.feeds import Feeds, digest
from siamedge.export.quantization.preparation import Preparation
from siamedge.export.quantization.recipes import Operator, Recipe, recipe_for
from siamedge.export.quiet import quiet
from siamedge.runtime.backends.backend import Precision
from siamedge.runtime.errors import ExportError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto
    from torch.onnx import ONNXProgram

STYLE = TensorStyle(crop_dtype="uint8", crop_layout="NHWC", map_layout="NCHW")
OPSET = 18
"""ONNX Runtime 1.23, the newest for some devices, takes opset 20 and IR 10 at most."""
HINT_INSTALL = "pip install 'siamedge[export]'"


class OnnxConverter:
    """Converts one network to ONNX.

    Args:
        network: The network.
        preparation: What made it; OpenVINO needs the same models.
    """

    def __init__(self, network: SourceNetwork, preparation: Preparation | None = None) -> None:
        self._network, self._preparation = network, preparation or Preparation(network)
        self._ranges: dict[object, bytes] = {}

    @cached_property
    def graphs(self) -> tuple[ExportGraph, ExportGraph]:
        """The wrapped template and search graph."""
        return make_graphs(self._network, STYLE)

    @cached_property
    def float_models(self) -> tuple["ModelProto", "ModelProto"]:
        """Both graphs in fp32."""
        template, search = self.graphs
        key = ("onnx", id(self._network))
        return self._preparation.once(key, lambda: (export_graph(template), export_graph(search)))

    def convert(
        self, precision: Precision, calibration: CalibrationSet | None = None, recipe: Recipe | None = None
    ) -> ConvertedPair:
        """Convert both graphs.

        Raises:
            ExportError: A library is missing, int8 lacks its calibration set, or the conversion fails.
        """
        return convert_pair(self, self.graphs, precision, calibration, recipe or recipe_for("onnx", self._network.arch))

    def operators(self) -> tuple[Operator, ...]:
        """Give the operators of the search graph in order of execution."""
        return tuple(
            Operator(node.name, node.name, node.op_type in quantize_onnx.PRODUCTS)
            for node in self.float_models[1].graph.node
        )

    def as_float(self, index: int, precision: Precision) -> Converted:
        """Graph 0 (template) or 1 (search) in fp32 or fp16."""
        model = self.float_models[index]
        return self._finish(index, quantize_onnx.store_half(model) if precision == "fp16" else model)

    def as_int8(self, index: int, feeds: list[Feeds], recipe: Recipe) -> Converted:
        """Graph 0 (template) or 1 (search) in int8."""
        if recipe.activations == "float":
            return self._finish(index, quantize_onnx.store_int8(self.float_models[index]))
        kind = (index, recipe.calibration, digest(feeds))
        crop = self.graphs[index].inputs[0].name
        model, self._ranges[kind] = quantize_onnx.quantize(
            self.float_models[index], feeds, crop, recipe, self._ranges.get(kind)
        )
        return self._finish(index, model)

    def _finish(self, index: int, model: "ModelProto") -> Converted:
        from onnx import ModelProto

        graph = self.graphs[index]
        result = ModelProto()
        result.CopyFrom(model)
        crop, *kernels = graph.inputs
        fitted = fit_border(result, crop)
        strip_model(result)
        return Converted(result.SerializeToString(deterministic=True), b"", (fitted, *kernels), graph.outputs)


def export_graph(graph: ExportGraph) -> "ModelProto":
    """Export one graph in fp32.

    Raises:
        ExportError: A library is missing, or torch cannot export the network.
    """
    try:
        import onnxscript  # noqa: F401  (torch's exporter needs it)
        import torch
    except ImportError as error:
        raise ExportError(f"ONNX export needs {error.name}", hint=HINT_INSTALL) from error
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                graph,
                (),
                kwargs=graph.sample(),
                input_names=[spec.name for spec in graph.inputs],
                output_names=[spec.name for spec in graph.outputs],
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
                optimize=False,
            )
    except (RuntimeError, ValueError, TypeError) as error:
        raise ExportError(f"{graph.role} graph: torch cannot export it to ONNX: {error}") from error
    if program is None:
        raise ExportError(f"{graph.role} graph: torch gave no ONNX program")
    optimize(program)
    model = program.model_proto
    strip_model(model)
    return model


def optimize(program: "ONNXProgram") -> None:
    """Simplify an exported graph, in place, its operators keeping the names that they had before.

    An operator that is replaced (a convolution whose bias is 0 by one without) would be named by a counter. What it is
    called would then depend on the weights, and a recipe's `exclude` would miss it once they were rounded.
    """
    names = {node.outputs[0].name: node.name for node in program.model.graph}
    with quiet():
        program.optimize()
    for node in program.model.graph:
        node.name = names.get(node.outputs[0].name, node.name)


def strip_model(model: "ModelProto") -> None:
    """Remove what says where and how a model was made, such as stack traces with paths.

    Equal networks then give equal bytes.
    """
    model.producer_name, model.producer_version, model.doc_string = "siamedge", "", ""
    model.ClearField("metadata_props")
    strip_graph(model.graph)


def strip_graph(graph: "GraphProto") -> None:
    """Remove documentation and metadata from a graph and everything in it."""
    graph.name, graph.doc_string = "siamedge", ""
    graph.ClearField("metadata_props")
    for items in (graph.node, graph.initializer, graph.value_info, graph.input, graph.output):
        for item in items:
            item.ClearField("doc_string")
            item.ClearField("metadata_props")
