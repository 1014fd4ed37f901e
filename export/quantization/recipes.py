"""How each format is quantized: recipes as data, so that an accuracy gate can derive others from them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from siamedge.runtime.backends.backend import Format, Precision

CalibrationMethod = Literal["minmax", "moving_average", "percentile", "entropy", "mean_minmax", "default"]
Rounding = Literal["nearest", "compensated", "compensated in pairs"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Static quantization with int8 weights a channel and int8 activations a tensor.

    Attributes:
        name: As it is written into the manifest.
        template_precision: Precision of the template graph of an int8 pair. It runs once a target, so its cost does
            not count, while an error of the kernels spoils every frame. "int8 weights": they are stored in int8, and
            all is computed in float.
        calibration: How ranges of activations are taken from what was observed; "default" leaves it to the library,
            which may treat operators differently (NNCF does, and loses a quarter of what one rule for all loses).
        float_ops: Types of operators that stay float, in the names of the format.
        float_ends: The last convolution or product before each output stays float. It costs next to nothing; without it
            neighbouring cells often get the same score, and chance decides which of them wins.
        exclude: Regular expressions; an operator whose name matches one from its start stays float.
        rounding: How weights become int8: each to the nearest step, or so that the errors of a layer make up for each
            other on the calibration crops (weight_rounding.py), on the grid of 8 bits or with as many steps as leave
            the sum of two products in 16 bits (channel_steps.py).
        is_equalised: Neighbouring layers share their scale out before anything else (equalisation.py).
        weights: Type of the weights. In ONNX and OpenVINO those that are multiplied with integers take 7 of the 8 bits
            (channel_steps.py says why), or nearly all of them where they are rounded in pairs.
        has_exact_scales: OpenVINO's scales have few binary digits, so that processors without int8 kernels compute the
            same as those with them (exact_scales.py).
        activations: Type of the activations; NNCF's are symmetric in int8 and may begin anywhere in uint8. float: only
            the weights are stored in int8, and all computes in float.
    """

    name: str
    template_precision: Precision | Literal["int8 weights"] = "fp16"
    calibration: CalibrationMethod = "minmax"
    float_ops: tuple[str, ...] = ()
    float_ends: bool = True
    exclude: tuple[str, ...] = ()
    rounding: Rounding = "nearest"
    is_equalised: bool = False
    weights: Literal["int8"] = "int8"
    has_exact_scales: bool = False
    activations: Literal["int8", "uint8", "float"] = "int8"

    @property
    def label(self) -> str:
        """The name, and what was done to the network before."""
        rounded = "" if self.rounding == "nearest" else f"+{self.rounding.replace(' ', '_')}"
        return f"{self.name}{rounded}{'+equalised' if self.is_equalised else ''}"

    @property
    def in_pairs(self) -> bool:
        """Whether weights take the steps of paired_steps."""
        return self.rounding == "compensated in pairs"

    @property
    def rounds_template(self) -> bool:
        """Whether the template graph of an int8 pair has int8 weights too."""
        return self.template_precision in ("int8", "int8 weights")


class Option(NamedTuple):
    """A change of a recipe that an accuracy gate can try; None: as it was.

    Attributes:
        purpose: Why it is tried.
        calibration: As in Recipe.
        rounding: As in Recipe.
        is_equalised: As in Recipe.
        template_precision: As in Recipe.
    """

    purpose: Literal["calibration", "rounding", "equalisation", "template in fp16"]
    calibration: CalibrationMethod | None = None
    rounding: Literal["compensated"] | None = None
    is_equalised: Literal[True] | None = None
    template_precision: Literal["fp16"] | None = None

    def apply(self, recipe: Recipe) -> Recipe:
        """Give the changed recipe."""
        changes = {name: value for name, value in self._asdict().items() if name != "purpose" and value is not None}
        return replace(recipe, **changes)


class Operator(NamedTuple):
    """An operator of a float graph.

    Attributes:
        label: For a reader.
        name: What the patterns of Recipe.exclude are compared with; the same whatever the values of the weights.
        is_product: It multiplies: a convolution, a dense layer or a matrix product.
    """

    label: str
    name: str
    is_product: bool

    @property
    def pattern(self) -> str:
        """What Recipe.exclude takes to leave this one in float."""
        return f"{re.escape(self.name)}$"


ORT = Recipe("ort_static_qdq_u8s8", activations="uint8")
AEQ = Recipe("aeq_static_wi8_ai8", float_ops=("HARD_SWISH", "BATCH_MATMUL"))
NNCF = Recipe("nncf_static_i8", calibration="default")

RECIPES: Mapping[Format, Recipe] = {"onnx": ORT, "tflite": AEQ, "openvino": NNCF}
"""The default of each format."""


def first_convolutions(count: int) -> str:
    """Give the pattern of the first convolutions, as torch numbers them and OpenVINO takes their names over."""
    numbers = "|".join(str(i) for i in range(1, count))
    return rf"node_conv2d(_({numbers}))?$"


NANOTRACK_ORT = replace(
    ORT,
    name="ort_static_qdq_u8s8_float_backbone",
    template_precision="int8 weights",
    float_ops=("Gemm", "Mul", "Add", "Pad", "Slice", "HardSwish", "HardSigmoid", "Sigmoid", "ReduceMean", "Concat"),
    exclude=(first_convolutions(24),),
)
NANOTRACK_NNCF = replace(
    NNCF,
    name="nncf_static_i8_minmax_float_backbone",
    template_precision="int8 weights",
    calibration="minmax",
    float_ops=("GroupConvolution", "MatMul", "Multiply", "Add", "ReduceMean", "Sigmoid"),
    exclude=(first_convolutions(24),),
    activations="uint8",
)
NANOTRACK_AEQ = replace(
    AEQ,
    name="aeq_static_wi8_ai8_float_backbone",
    template_precision="int8 weights",
    exclude=(r".*Sequential_features/",),
)
V3_FLOAT_SCORES = (first_convolutions(33), r"node_conv2d_(39|4\d|50|51)$")
"""The backbone and the branch that gives scores; 33 to 38 and from 53 on are the branch that gives boxes."""
FAMILY_RECIPES: Mapping[tuple[Format, str], Recipe] = {
    ("onnx", "nanotrack"): NANOTRACK_ORT,
    ("onnx", "nanotrack-v3"): replace(
        NANOTRACK_ORT,
        name="ort_static_qdq_u8s8_int8_boxes",
        rounding="compensated",
        exclude=(*V3_FLOAT_SCORES, r"node_matmul$"),
    ),
    ("tflite", "nanotrack"): NANOTRACK_AEQ,
    ("tflite", "nanotrack-v3"): replace(
        NANOTRACK_AEQ,
        name="aeq_static_wi8_ai8_int8_boxes",
        rounding="compensated",
        exclude=(r".*Sequential_features/", r".*_cls(_tower)?/"),
    ),
    ("openvino", "nanotrack"): NANOTRACK_NNCF,
    ("openvino", "nanotrack-v3"): replace(
        NANOTRACK_NNCF,
        name="nncf_static_i8_minmax_int8_boxes",
        rounding="compensated",
        exclude=V3_FLOAT_SCORES,
    ),
    ("onnx", "dart"): replace(ORT, rounding="compensated in pairs", float_ops=("MatMul", "Add")),
    ("tflite", "dart"): replace(AEQ, rounding="compensated", float_ops=(*AEQ.float_ops, "ADD")),
    ("openvino", "dart"): replace(
        NNCF,
        name="nncf_static_i8_minmax_exact_scales",
        calibration="minmax",
        rounding="compensated in pairs",
        has_exact_scales=True,
    ),
    ("openvino", "siamfc"): replace(NNCF, name="nncf_static_i8_minmax", calibration="minmax"),
}
"""What does better for one architecture, or for a family of them by the first word of their name.

NanoTrack's backbone (depth-wise convolutions, hard-swish, squeeze-excite) has channels of very different ranges: it
computes in float, its weights stored in int8, and the head in int8. So do the sums and products between the head's
convolutions: each would be rounded once more. Of v3 only the branch that gives boxes computes in int8: an error of
the scores moves the target to another place, one of the boxes makes it a little too wide. Dart's dense convolutions
lose least with their errors made up for, on all of TFLite's grid and on what pairs of weights leave of it elsewhere;
the product with the template's matrix computes in float, except in OpenVINO, where exact scales keep it exact in int8.
SiamFC's features have long tails that averaged ranges clip.
"""


ROUNDING = Option("rounding", rounding="compensated")
EQUALISATION = Option("equalisation", is_equalised=True)
HALF_TEMPLATE = Option("template in fp16", template_precision="fp16")


def ranges(*methods: CalibrationMethod) -> tuple[Option, ...]:
    """Give the options of taking ranges in these ways."""
    return tuple(Option("calibration", calibration=method) for method in methods)


OPTIONS: Mapping[Format, tuple[Option, ...]] = {
    "onnx": (
        ROUNDING,
        *ranges("minmax", "moving_average"),
        EQUALISATION,
        HALF_TEMPLATE,
        *ranges("percentile", "entropy"),
    ),
    "tflite": (ROUNDING, *ranges("minmax", "moving_average"), EQUALISATION, HALF_TEMPLATE),
    "openvino": (ROUNDING, *ranges("mean_minmax", "minmax"), EQUALISATION, HALF_TEMPLATE, *ranges("percentile")),
}
"""What is tried before anything goes back to float, in this order: the cheapest, and those that help most, first.

ai-edge-quantizer has neither percentiles nor entropy; NNCF's percentile is the mean over the crops of each one's
quantile, and it has no entropy.
"""


def recipe_for(format_name: Format, arch: str) -> Recipe:
    """Give the default recipe of a format for an architecture."""
    family = FAMILY_RECIPES.get((format_name, arch.partition("-")[0]), RECIPES[format_name])
    return FAMILY_RECIPES.get((format_name, arch), family)
