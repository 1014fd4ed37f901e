"""Puts crops into a model's input in the way that takes the least time, in memory that is kept."""

import cv2
import numpy as np

from siamedge.runtime.crops import SHRUNK_FROM, Square, crop_square, keep, patch_of
from siamedge.runtime.geometry import Image
from siamedge.runtime.tensors import Array, TensorSpec, encode_crop, store_levels

WIDER_IS_FASTER = int(cv2.__version__.partition(".")[0]) >= 5 and cv2.ipp.useIPP()
"""Whether cv2.resize takes less time for uint16 pixels than for bytes.

Intel's library, which resizes in OpenCV 5 on x86, makes a 255 px crop of 250x250 pixels in 70 us from bytes, in 40 from
uint16; converting the pixels takes 6. Without it, as on ARM, and in OpenCV 4 with it (72 and 66), bytes are the
fastest.
"""
WIDE_UP_TO_PX = 400
"""Side from which it does not pay: converting takes longer, and the wide pixels push others out of the processor's own
cache."""


class InputWriter:
    """Cuts crops and writes them into one input.

    Args:
        spec: The input.
        memory: Its memory, as in spec.

    Attributes:
        picture: (S, S, 3) uint8, BGR; the input's own memory where it is of this kind.
        side: S.
    """

    def __init__(self, spec: TensorSpec, memory: Array) -> None:
        self._spec, self._memory = spec, memory
        self.side = side = spec.shape[1 if spec.layout == "NHWC" else 2]
        self._is_bound = spec.layout == "NHWC" and spec.dtype == "uint8"
        self.picture: Image = memory[0] if self._is_bound else np.empty((side, side, 3), np.uint8)
        self._planes = [np.empty((side, side), np.uint8) for _ in range(3)] if spec.layout == "NCHW" else None
        self._is_for_wide = WIDER_IS_FASTER and spec.dtype != "float32" and spec.layout == "NHWC"
        self._crop = np.empty((side, side, 3), np.uint16)
        self._patch = np.empty(3 * WIDE_UP_TO_PX**2, np.uint16)

    def write(self, frame: Image, square: Square, padding: tuple[float, ...], *, exact: bool = False) -> None:
        """Cut a square of a frame, resize it and write it into the input.

        Args:
            frame: (H, W, 3) uint8, BGR.
            square: What to cut.
            padding: BGR colour of what lies outside the frame.
            exact: The pixels are those of cv2.resize on bytes. Otherwise they may differ by one level in an int8 or
                uint8 input, as a ninth of them does (crop_square says what happens to large squares).
        """
        is_small = square.side < min(WIDE_UP_TO_PX, SHRUNK_FROM * self.side)
        if not exact and self._is_for_wide and is_small and square.side != self.side:
            self._write_wide(patch_of(frame, square, padding))
        else:
            crop_square(frame, square, self.picture, padding, exact=exact)
            self.put(self.picture)

    def put(self, crop: Image) -> None:
        """Write a (S, S, 3) uint8 crop, BGR, into the input."""
        if crop is not self.picture or not self._is_bound:
            encode_crop(crop, self._spec, self._memory, self._planes)

    def _write_wide(self, patch: Image) -> None:
        wide = self._patch[: patch.size].reshape(patch.shape)
        np.copyto(wide, patch)
        keep(cv2.resize(wide, (self.side, self.side), self._crop), self._crop)
        store_levels(self._crop, self._spec, self._memory[0])
