"""What goes into a model and comes out of it: named tensors with a fixed shape, type and layout."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

DType = Literal["float32", "uint8", "int8"]
Layout = Literal["NHWC", "NCHW", "NPC"]
Array = NDArray[Any]


class TensorSpec(NamedTuple):
    """One input or output of a model.

    Attributes:
        name: Name inside the model file; tensors are addressed by it, never by their order.
        shape: All dimensions fixed, batch first.
        dtype: Type of the elements.
        layout: NHWC or NCHW for pictures and maps; NPC for (batch, positions of the template or cells of
            the response, channels).
        scale: Real value of one step of an integer tensor: real = scale * (stored - zero_point).
        zero_point: The stored integer that means 0.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    layout: Layout
    scale: float = 1.0
    zero_point: int = 0


def encode_crop(
    crop: NDArray[np.uint8], spec: TensorSpec, out: Array, planes: Sequence[NDArray[np.uint8]] | None = None
) -> None:
    """Write a crop into an input tensor, in that tensor's type and layout.

    Args:
        crop: (H, W, 3) uint8, BGR, values 0..255.
        spec: The input; an int8 one must have scale 1 and zero point -128, so that stored = value - 128.
        out: The tensor's memory, shape and dtype as in spec; an int8 one may be the crop's own.
        planes: Memory for three (H, W) uint8 planes, to be used again; only for NCHW.
    """
    if spec.layout == "NHWC":
        store_levels(crop, spec, out[0])
        return
    import cv2  # not above: `siamedge --help` comes by here

    for plane, memory in zip(cv2.split(crop, planes), out[0], strict=True):
        store_levels(np.asarray(plane, np.uint8), spec, memory)


def store_levels(levels: NDArray[np.uint8], spec: TensorSpec, memory: Array) -> None:
    """Write grey levels, 0..255, into memory of an input's type; see encode_crop."""
    if spec.dtype == "int8":
        np.bitwise_xor(levels, np.uint8(0x80), out=memory.view(np.uint8))
    else:
        np.copyto(memory, levels, casting="unsafe")
