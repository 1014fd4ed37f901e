"""Puts crops into a model's input, in memory that is kept."""

import numpy as np

from siamedge.runtime.geometry import Image
from siamedge.runtime.tensors import Array, TensorSpec, encode_crop
from siamedge.runtime.tracking.crops import Square, crop_square


class InputWriter:
    """Cuts crops and writes them into one input; every type of input gets the same pixels.

    Args:
        spec: The input.
        memory: Its memory, as in spec.

    Attributes:
        picture: (S, S, 3) uint8, BGR; the input's own memory where that takes bytes. What is written there is a crop
            until `put` has encoded it.
    """

    def __init__(self, spec: TensorSpec, memory: Array) -> None:
        self._spec, self._memory = spec, memory
        side = spec.shape[1 if spec.layout == "NHWC" else 2]
        takes_bytes = spec.layout == "NHWC" and memory.itemsize == 1
        self._is_bound = takes_bytes and spec.dtype == "uint8"
        self.picture: Image = memory[0].view(np.uint8) if takes_bytes else np.empty((side, side, 3), np.uint8)
        self._planes = [np.empty((side, side), np.uint8) for _ in range(3)] if spec.layout == "NCHW" else None

    def write(self, frame: Image, square: Square, padding: tuple[float, ...], *, exact: bool = False) -> None:
        """Cut a square of a frame, resize it and write it into the input; arguments as in crop_square."""
        crop_square(frame, square, self.picture, padding, exact=exact)
        self.put(self.picture)

    def put(self, crop: Image) -> None:
        """Write a (S, S, 3) uint8 crop, BGR, into the input."""
        if crop is not self.picture or not self._is_bound:
            encode_crop(crop, self._spec, self._memory, self._planes)
