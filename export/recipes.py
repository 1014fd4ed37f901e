"""How each format is quantized: recipes as data, so that an accuracy gate can derive others from them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from siamedge.runtime.backends import Format, Precision

CalibrationMethod = Literal["minmax", "moving_average", "percentile", "entropy", "mean_minmax", "default"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Static quantization with int8 weights a channel and int8 activations a tensor.

    Attributes:
        name: As it is written into the manifest.
        template_precision: Precision of the template graph of an int8 pair. It runs once a target, so its cost does
            not count, while an error of the kernels spoils every frame.
        calibration: How ranges of activations are taken from what was observed; "default" leaves it to the library,
            which may treat operators differently (NNCF does, and loses a quarter of what one rule for all loses).
        float_ops: Types of operators that stay float, in the names of the format.
        float_ends: The last convolution or product before each output stays float. It costs next to nothing; without it
            neighbouring cells often get the same score, and chance decides which of them wins.
        exclude: Regular expressions; an operator whose name matches one from its start stays float.
        weights: Type of the weights.
        activations: Type of the activations; float: only the weights are stored in int8, and all computes in float.
    """

    name: str
    template_precision: Precision = "fp16"
    calibration: CalibrationMethod = "minmax"
    float_ops: tuple[str, ...] = ()
    float_ends: bool = True
    exclude: tuple[str, ...] = ()
    weights: Literal["int8"] = "int8"
    activations: Literal["int8", "uint8", "float"] = "int8"


class Operator(NamedTuple):
    """An operator of a float graph.

    Attributes:
        label: For a reader.
        pattern: What Recipe.exclude takes to leave it in float.
        is_product: It multiplies: a convolution, a dense layer or a matrix product.
    """

    label: str
    pattern: str
    is_product: bool


ORT = Recipe("ort_static_qdq_u8s8", activations="uint8")
AEQ = Recipe("aeq_static_wi8_ai8", float_ops=("HARD_SWISH", "BATCH_MATMUL"))
NNCF = Recipe("nncf_static_i8", calibration="default")

RECIPES: Mapping[Format, Recipe] = {"onnx": ORT, "tflite": AEQ, "openvino": NNCF}
"""The default of each format."""

FAMILY_RECIPES: Mapping[tuple[Format, str], Recipe] = {
    ("onnx", "nanotrack"): replace(
        ORT, name="ort_static_qdq_u8s8_float_stem", calibration="moving_average", exclude=(r"node_conv2d(_[1-5])?$",)
    ),
    ("tflite", "nanotrack"): replace(
        AEQ,
        name="aeq_static_wi8_ai8_float_stem",
        calibration="moving_average",
        exclude=(r".*Sequential_features/[\w.]+_0/", r".*InvertedResidual_1[/;]"),
    ),
    ("openvino", "nanotrack"): replace(NNCF, name="nncf_static_i8_minmax", calibration="minmax"),
    ("openvino", "siamfc"): replace(NNCF, name="nncf_static_i8_minmax", calibration="minmax"),
}
"""What does better for one family of architectures, by the first word of their name.

NanoTrack's first layers have few channels, large maps and depth-wise convolutions with very different ranges: in float
they cost no time and most of the error is gone. SiamFC's features have long tails that averaged ranges clip.
"""


OTHER_CALIBRATIONS: Mapping[Format, tuple[CalibrationMethod, ...]] = {
    "onnx": ("minmax", "moving_average"),
    "tflite": ("minmax", "moving_average"),
    "openvino": ("mean_minmax", "minmax"),
}
"""Ways to take ranges that are as cheap as the default."""


def recipe_for(format_name: Format, arch: str) -> Recipe:
    """Give the default recipe of a format for an architecture."""
    return FAMILY_RECIPES.get((format_name, arch.partition("-")[0]), RECIPES[format_name])
