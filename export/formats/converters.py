"""The model formats and what a conversion gives; adding a format is a module and a row."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

from siamedge.export.calibration.crop_sets import CalibrationSet, require_calibration
from siamedge.export.families.source import SourceNetwork
from siamedge.export.quantization.preparation import Preparation
from siamedge.export.quantization.recipes import Operator, Recipe, recipe_for
from siamedge.runtime.backends.backend import Format, Model, Precision
from siamedge.runtime.tensors import TensorSpec


@dataclass(frozen=True, slots=True)
class Converted:
    """One graph in one format and precision.

    Attributes:
        content: Bytes of the model file (OpenVINO: the XML).
        weights: Bytes of OpenVINO's .bin, empty for the others.
        inputs: Its inputs.
        outputs: Its outputs.
        notes: What a reader of the manifest should know, such as operators left in float.
        lost_below: As in runtime.manifest.Artifact.
    """

    content: bytes
    weights: bytes
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    notes: tuple[str, ...] = ()
    lost_below: float | None = None

    def as_model(self, name: str, precision: Precision) -> Model:
        """The same, ready for a backend."""
        return Model(name, precision, self.content, self.weights, self.inputs, self.outputs)


@dataclass(frozen=True, slots=True)
class ConvertedPair:
    """Both graphs of a tracker; the template graph's outputs are the search graph's kernels."""

    template: Converted
    search: Converted


class Converter(Protocol):
    """Converts one network to one format; what the precisions share is computed once."""

    def convert(
        self, precision: Precision, calibration: CalibrationSet | None = None, recipe: Recipe | None = None
    ) -> ConvertedPair:
        """Convert both graphs.

        Args:
            precision: Of weights and, for int8, activations; crops and kernels keep their declared types.
            calibration: Needed for int8.
            recipe: How to quantize; the format's default if None.

        Raises:
            ExportError: A library is missing, int8 lacks its calibration set, or the conversion fails.
        """

    def operators(self) -> tuple[Operator, ...]:
        """Give the operators of the float search graph in order of execution.

        Raises:
            ExportError: A library is missing, or the conversion fails.
        """


SUFFIXES: Mapping[Format, tuple[str, ...]] = {"onnx": (".onnx",), "tflite": (".tflite",), "openvino": (".xml", ".bin")}
CONVERTERS: Mapping[Format, str] = {
    "onnx": "siamedge.export.formats.to_onnx:OnnxConverter",
    "tflite": "siamedge.export.formats.to_tflite:TfliteConverter",
    "openvino": "siamedge.export.formats.to_openvino:OpenVINOConverter",
}


def model_path(format_name: Format, precision: Precision, role: str, file: int) -> str:
    """Where a model file lies in a bundle; bf16 is a way to compute the fp32 file."""
    precision = "fp32" if precision == "bf16" else precision
    return f"models/{format_name}-{precision}/{role}{SUFFIXES[format_name][file]}"


def make_converter(format_name: Format, network: SourceNetwork, preparation: Preparation | None = None) -> Converter:
    """Give the converter of a network to a format; libraries are imported when it converts.

    Args:
        format_name: Which.
        network: Trained.
        preparation: Of this network, to share with other formats.
    """
    return PreparingConverter(format_name, preparation or Preparation(network))


class PreparingConverter:
    """Converts one network to one format; for int8 in the form that the recipe asks for.

    Args:
        format_name: Which.
        preparation: Of the network.
    """

    def __init__(self, format_name: Format, preparation: Preparation) -> None:
        self._format: Format = format_name
        self._preparation = preparation
        self._by_network: dict[int, Converter] = {}

    def convert(
        self, precision: Precision, calibration: CalibrationSet | None = None, recipe: Recipe | None = None
    ) -> ConvertedPair:
        """Convert both graphs.

        Raises:
            ExportError: A library is missing, int8 lacks its calibration set, or the conversion fails.
        """
        network = self._preparation.network
        if precision == "int8":
            recipe = recipe or recipe_for(self._format, network.arch)
            network = self._preparation.prepare(require_calibration(calibration), recipe)
        return self._converter(network).convert(precision, calibration, recipe)

    def operators(self) -> tuple[Operator, ...]:
        """Give the operators of the float search graph in order of execution; preparing renames none."""
        return self._converter(self._preparation.network).operators()

    def _converter(self, network: SourceNetwork) -> Converter:
        if id(network) not in self._by_network:
            module, attribute = CONVERTERS[self._format].split(":")
            converter = getattr(import_module(module), attribute)(network, self._preparation)
            self._by_network[id(network)] = cast(Converter, converter)
        return self._by_network[id(network)]
