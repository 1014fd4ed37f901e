"""OpenVINO IR: from the ONNX graphs, then compressed to float16 or quantized by NNCF."""

import re
import tempfile
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from siamedge.export.calibration.crop_sets import CalibrationSet
from siamedge.export.families.source import SourceNetwork
from siamedge.export.formats.assemble import convert_pair
from siamedge.export.formats.converters import Converted, ConvertedPair
from siamedge.export.formats.to_onnx import OnnxConverter
from siamedge.export.quantization import quantize_openvino
from siamedge.export.quantization.feeds import Feeds
from siamedge.export.quantization.preparation import Preparation
from siamedge.export.quantization.recipes import Operator, Recipe, recipe_for
from siamedge.export.quiet import quiet
from siamedge.runtime.backends.backend import Precision
from siamedge.runtime.backends.telemetry import telemetry_blocked
from siamedge.runtime.errors import ExportError

COUNTED_NAME = re.compile(r"[A-Z][A-Za-z]*_\d+")
"""Such as Reshape_35: a type of operator and a counter; names from the ONNX graph begin with a small letter."""
HINT_INSTALL = "pip install 'siamedge[export]'"


class OpenVINOConverter:
    """Converts one network to OpenVINO IR.

    Args:
        network: The network.
        preparation: What made it.
    """

    def __init__(self, network: SourceNetwork, preparation: Preparation | None = None) -> None:
        self._network = network
        self._onnx = OnnxConverter(network, preparation)

    @cached_property
    def sources(self) -> tuple[bytes, ...]:
        """Both graphs as ONNX files."""
        return tuple(model.SerializeToString(deterministic=True) for model in self._onnx.float_models)

    def convert(
        self, precision: Precision, calibration: CalibrationSet | None = None, recipe: Recipe | None = None
    ) -> ConvertedPair:
        """Convert both graphs.

        Raises:
            ExportError: A library is missing, int8 lacks its calibration set, or the conversion fails.
        """
        return convert_pair(
            self, self._onnx.graphs, precision, calibration, recipe or recipe_for("openvino", self._network.arch)
        )

    def operators(self) -> tuple[Operator, ...]:
        """Give the operators of the search graph in order of execution."""
        return tuple(
            Operator(name, name, operator.get_type_name() in quantize_openvino.PRODUCTS)
            for operator in read_onnx(self.sources[1]).get_ordered_ops()
            if operator.get_type_name() not in ("Parameter", "Constant", "Result")
            and (name := quantize_openvino.plain_name(operator))
        )

    def as_float(self, index: int, precision: Precision) -> Converted:
        """Graph 0 (template) or 1 (search) in fp32, or with its weights in fp16."""
        return self._finish(index, read_onnx(self.sources[index]), half=precision == "fp16")

    def as_int8(self, index: int, feeds: list[Feeds], recipe: Recipe) -> Converted:
        """Graph 0 (template) or 1 (search) in int8."""
        model = quantize_openvino.quantize(read_onnx(self.sources[index]), feeds, recipe)
        return self._finish(index, model, half=False)

    def _finish(self, index: int, model: Any, *, half: bool) -> Converted:
        graph = self._onnx.graphs[index]
        crop, *kernels = graph.inputs
        if not quantize_openvino.is_quantized_at(model, crop.name):
            feed_float(model, crop.name)
            crop = crop._replace(dtype="float32")
        content, weights = save_model(model, half=half)
        return Converted(content, weights, (crop, *kernels), graph.outputs)


def import_openvino() -> ModuleType:
    """Import OpenVINO.

    Raises:
        ExportError: It is not installed.
    """
    try:
        with telemetry_blocked():
            import openvino  # type: ignore[import-untyped]
            import openvino.passes  # type: ignore[import-untyped]
    except ImportError as error:
        raise ExportError(f"OpenVINO export needs {error.name}", hint=HINT_INSTALL) from error
    module: ModuleType = openvino
    return module


def read_onnx(content: bytes) -> Any:
    """Read an ONNX file as an OpenVINO model with its constant expressions computed.

    Weights of grouped convolutions otherwise stay behind a Reshape, in which NNCF does not store them in int8.

    Raises:
        ExportError: OpenVINO is missing or cannot read it.
    """
    openvino = import_openvino()
    try:
        model = openvino.Core().read_model(model=content)
        manager = openvino.passes.Manager()
        manager.register_pass(openvino.passes.ConstantFolding())
        manager.run_passes(model)
    except RuntimeError as error:
        raise ExportError(f"OpenVINO cannot read the ONNX graph: {error}") from error
    fuse_clamps(model)
    name_by_position(model)
    return model


def feed_float(model: Any, crop: str) -> None:
    """Take, in place, a crop in float32 instead of uint8.

    From float32 pixels OpenVINO's CPU computes at once; uint8 ones it transposes, converts and transposes back. The
    host converts in a fifth of that time.
    """
    openvino = import_openvino()
    model.input(crop).get_node().set_element_type(openvino.Type.f32)
    model.validate_nodes_and_infer_types()


def fuse_clamps(model: Any) -> None:
    """Put a Clamp where the reader of ONNX put Maximum and Minimum with constants, as for ReLU6.

    NNCF takes the range behind a Clamp, but in front of a Minimum, where what is cut off afterwards counts too.
    """
    from openvino import opset13

    for operator in model.get_ordered_ops():
        if operator.get_type_name() != "Minimum":
            continue
        upper, inner = bounded_by(operator, "Minimum")
        lower, value = bounded_by(inner.get_node(), "Maximum") if inner is not None else (None, None)
        if upper is not None and lower is not None:
            clamp = opset13.clamp(value, lower, upper)
            clamp.set_friendly_name(operator.get_friendly_name())
            operator.output(0).replace(clamp.output(0))


def bounded_by(operator: Any, kind: str) -> tuple[float | None, Any]:
    """Give the constant number and the other input of a Minimum or Maximum; None and None if it is not of that kind."""
    if operator.get_type_name() != kind:
        return None, None
    for value, other in (operator.input_values(), operator.input_values()[::-1]):
        node = other.get_node()
        if node.get_type_name() == "Constant" and node.data.size == 1:
            return float(node.data.item()), value
    return None, None


def name_by_position(model: Any) -> None:
    """Rename operators that OpenVINO named by a counter of the process, so that equal networks give equal bytes."""
    model.set_friendly_name("siamedge")
    for position, operator in enumerate(model.get_ordered_ops()):
        kind = operator.get_type_name()
        if kind != "Parameter" and COUNTED_NAME.fullmatch(operator.get_friendly_name()):
            operator.set_friendly_name(f"{kind}_{position}")


def save_model(model: Any, *, half: bool) -> tuple[bytes, bytes]:
    """Give the bytes of the .xml and the .bin file, the former without its indentation, a quarter of it.

    Args:
        model: An OpenVINO model.
        half: Store the weights in float16.
    """
    openvino = import_openvino()
    name_by_position(model)
    with quiet(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        openvino.save_model(model, path, compress_to_fp16=half)
        return b"".join(map(bytes.strip, path.read_bytes().splitlines())), path.with_suffix(".bin").read_bytes()
