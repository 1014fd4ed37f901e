"""Crops in a model's input against the crop of the plain form, in every type and layout that a model takes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siamedge.runtime.geometry import Image
from siamedge.runtime.tensors import Array, TensorSpec
from siamedge.runtime.tracking.crops import Square, crop_square
from siamedge.runtime.tracking.input_writer import InputWriter

PADDING = (10.4, 20.0, 199.6)
NOISE: Image = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
SIDE = 255
INPUTS = (
    TensorSpec("search", (1, SIDE, SIDE, 3), "float32", "NHWC"),
    TensorSpec("search", (1, 3, SIDE, SIDE), "float32", "NCHW"),
    TensorSpec("search", (1, SIDE, SIDE, 3), "uint8", "NHWC"),
    TensorSpec("search", (1, SIDE, SIDE, 3), "int8", "NHWC", zero_point=-128),
)


def levels(memory: Array, spec: TensorSpec) -> Array:
    """What an input means: (S, S, 3) grey levels."""
    stored = memory[0].transpose(1, 2, 0) if spec.layout == "NCHW" else memory[0]
    return stored.astype(np.float64) - spec.zero_point


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("spec", INPUTS, ids=lambda spec: f"{spec.dtype} {spec.layout}")
def test_a_crop_is_that_of_the_plain_form(spec: TensorSpec, exact: bool) -> None:
    memory = np.empty(spec.shape, spec.dtype)
    writer = InputWriter(spec, memory)
    crop = np.empty((SIDE, SIDE, 3), np.uint8)

    @settings(max_examples=25, deadline=None)
    @given(left=st.integers(-300, 850), top=st.integers(-300, 650), side=st.integers(1, 900))
    def is_the_same(left: int, top: int, side: int) -> None:
        square = Square(left, top, side)
        writer.write(NOISE, square, PADDING, exact=exact)
        crop_square(NOISE, square, crop, PADDING, exact=exact)
        assert np.array_equal(levels(memory, spec), crop)

    is_the_same()


def test_every_form_of_input_means_the_same_crop() -> None:
    square = Square(100, 100, 700)
    seen = []
    for spec in INPUTS:
        memory = np.empty(spec.shape, spec.dtype)
        InputWriter(spec, memory).write(NOISE, square, PADDING)
        seen.append(levels(memory, spec))
    assert all(np.array_equal(seen[0], other) for other in seen[1:])
