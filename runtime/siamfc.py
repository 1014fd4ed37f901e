"""The tracker of the original SiamFC: a scale pyramid of search crops and the peak of the response."""

import cv2
import numpy as np

from siamedge.runtime.backends import Session
from siamedge.runtime.crops import Square, context_side, crop_square, mean_color
from siamedge.runtime.feeding import CropRunner, as_chw
from siamedge.runtime.geometry import Box, FloatArray, Image, Point
from siamedge.runtime.params import SiamFCParams
from siamedge.runtime.trackers import TrackResult, check_init


def scale_factors(params: SiamFCParams) -> FloatArray:
    """Give the (scale_num,) search scales around 1, ascending."""
    half = params.scale_num // 2
    return np.power(params.scale_step, np.linspace(-half, half, params.scale_num)).astype(np.float32)


def cosine_window(params: SiamFCParams) -> FloatArray:
    """Give the upsampled Hann window, sum 1."""
    hann = np.hanning(params.response_up * params.response_size)

    window: FloatArray = np.outer(hann, hann).astype(np.float32)
    return window / np.float32(window.sum())


def crop_instance(frame: Image, center: Point, side_px: float, out_px: int, padding: tuple[float, ...]) -> Image:
    """Cut a square around the middle of a pixel; center is 0-based, the middle of the first pixel is 0."""
    side = max(1, round(side_px))
    left, top = (round(value - (side - 1) / 2) for value in center)
    return crop_square(frame, Square(left, top, side), out_px, padding)


def locate_peak(responses: FloatArray, window: FloatArray, params: SiamFCParams) -> tuple[int, float, float]:
    """Find the winning scale and the peak in its response.

    Args:
        responses: (scale_num, S, S) raw.
        window: (S * response_up,) squared, sum 1.
        params: Of the tracker.

    Returns:
        Index of the scale; x and y of the peak relative to the response's centre, in upsampled cells.

    Source: Bertinetto et al. 2016, section 4.1 (tracking algorithm).
    """
    size = params.response_up * params.response_size
    upsampled = np.stack([cv2.resize(plane, (size, size), interpolation=cv2.INTER_CUBIC) for plane in responses])
    factors = np.full(params.scale_num, params.scale_penalty, np.float32)
    factors[params.scale_num // 2] = 1.0
    best = int(np.argmax(upsampled.max((1, 2)) * factors))
    response = upsampled[best] * factors[best]
    response -= response.min()
    response /= response.sum() + 1e-16
    blended = (1 - params.window_influence) * response + params.window_influence * window
    row, column = np.unravel_index(int(blended.argmax()), blended.shape)
    return best, float(column) - (size - 1) / 2, float(row) - (size - 1) / 2


class SiamFCTracker:
    """Follows one target at the best of a few scales.

    Args:
        template: Session of the template graph.
        search: Session of the search graph, output "response".
        params: From the bundle's manifest.

    Source: Bertinetto et al. 2016; post-processing as in the widely used PyTorch port.
    """

    def __init__(self, template: Session, search: Session, params: SiamFCParams) -> None:
        self._template, self._search, self._params = CropRunner(template), CropRunner(search), params
        self._response = search.outputs["response"]
        self._window, self._factors = cosine_window(params), scale_factors(params)
        self._center, self._size, self._template_side = Point(0, 0), (0.0, 0.0), 0.0
        self._padding = (0.0, 0.0, 0.0)

    def init(self, frame: Image, box: Box) -> None:
        """Take the target to follow from a frame.

        Raises:
            SourceError: The box is empty or has no part inside the frame.
        """
        check_init(frame, box)
        self._center, self._size = Point(box.center.x - 0.5, box.center.y - 0.5), (box.w, box.h)
        self._padding = mean_color(frame)
        self._template_side = context_side(box.w, box.h, self._params.context)
        crop = crop_instance(frame, self._center, self._template_side, self._params.template_px, self._padding)
        self._search.hold(self._template.run(crop))

    def update(self, frame: Image) -> TrackResult:
        """Find the target in the next frame."""
        params = self._params
        side = self._template_side * params.search_px / params.template_px
        responses = np.stack([self._respond(frame, side * float(factor)) for factor in self._factors])
        best, column, row = locate_peak(responses, self._window, params)
        factor = float(self._factors[best])
        image_px_per_cell = params.stride / params.response_up * side * factor / params.search_px
        self._center = self._clipped(frame, column * image_px_per_cell, row * image_px_per_cell)
        self._rescale(1 - params.scale_lr + params.scale_lr * factor)
        score = float(responses[best].max())
        is_lost = params.lost_below is not None and score < params.lost_below
        center = Point(self._center.x + 0.5, self._center.y + 0.5)
        return TrackResult(Box.around(center, *self._size), score, is_lost)

    def _respond(self, frame: Image, side_px: float) -> FloatArray:
        crop = crop_instance(frame, self._center, side_px, self._params.search_px, self._padding)
        response: FloatArray = as_chw(self._search.run(crop)["response"], self._response)[0]
        return response.copy()

    def _clipped(self, frame: Image, dx: float, dy: float) -> Point:
        height, width = frame.shape[:2]
        return Point(min(max(self._center.x + dx, 0.0), width - 1.0), min(max(self._center.y + dy, 0.0), height - 1.0))

    def _rescale(self, factor: float) -> None:
        self._size = (self._size[0] * factor, self._size[1] * factor)
        self._template_side *= factor
