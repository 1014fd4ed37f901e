"""An int8 TFLite model reads its crop as it is: standardisation is the crop's scale and zero point."""

import numpy as np
import pytest
from small_network import make_calibration, make_network

pytest.importorskip("litert_torch")

from siamedge.export.formats.to_tflite import TfliteConverter
from siamedge.export.graphs.tflite_border import fold_standardisation, make_crop_int8
from siamedge.export.quantization import quantize_tflite
from siamedge.export.quantization.feeds import make_feeds
from siamedge.export.quantization.recipes import AEQ
from siamedge.runtime.backends.backend import Model
from siamedge.runtime.backends.litert_backend import LiteRTBackend
from siamedge.runtime.backends.tflite_file import operator_names, read_flatbuffer
from siamedge.runtime.tensors import TensorSpec


def quantized(converter: TfliteConverter) -> bytes:
    """The template graph in int8 with an int8 crop, as the quantizer leaves it."""
    feeds, _ = make_feeds(*converter.graphs, make_calibration())
    ranges = quantize_tflite.observe(converter.float_models[0], feeds, AEQ)
    content = make_crop_int8(quantize_tflite.quantize(converter.float_models[0], ranges, "template", AEQ), "template")
    assert content is not None
    return content


def run(content: bytes, converter: TfliteConverter) -> np.ndarray:
    crop = TensorSpec("template", (1, 32, 32, 3), "int8", "NHWC", 1.0, -128)
    model = Model("template.tflite", "int8", content, b"", (crop,), converter.graphs[0].outputs)
    session = LiteRTBackend().load(model, device="CPU", threads=1)
    picture = (make_calibration().templates[3].astype(np.int16) - 128).astype(np.int8)[None]
    return session.run({"template": picture})["matrix"]


def test_the_crop_carries_the_standardisation_and_the_outputs_stay() -> None:
    converter = TfliteConverter(make_network())
    plain = quantized(converter)
    folded = fold_standardisation(plain, "template")
    assert operator_names(plain)[:3] == ["SUB", "MUL", "PAD"]
    assert operator_names(folded) == operator_names(plain)[2:]
    model = read_flatbuffer(folded)
    (crop,) = (model.subgraphs[0].tensors[index] for index in model.subgraphs[0].inputs)
    assert float(crop.quantization.scale[0]) == pytest.approx(1 / 60)
    assert int(crop.quantization.zeroPoint[0]) == 114 - 128
    expected, found = run(plain, converter), run(folded, converter)
    assert np.abs(found - expected).max() <= 0.05 * np.abs(expected).max()
    assert np.ptp(expected) > 0


def test_a_mean_that_differs_between_channels_stays_in_the_graph() -> None:
    plain = quantized(TfliteConverter(make_network("BGR", (90.0, 114.0, 130.0))))
    assert fold_standardisation(plain, "template") == plain
