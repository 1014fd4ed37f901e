"""The tracker of the original SiamFC: a scale pyramid of search crops and the peak of the response."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np

from siamedge.runtime.backends.backend import Session
from siamedge.runtime.geometry import Box, FloatArray, Image, Point
from siamedge.runtime.tensors import Array
from siamedge.runtime.tracking.crops import Square, context_side, mean_color
from siamedge.runtime.tracking.feeding import CropRunner, channels_first
from siamedge.runtime.tracking.params import SiamFCParams
from siamedge.runtime.tracking.trackers import TrackResult, check_init


def scale_factors(params: SiamFCParams) -> FloatArray:
    """Give the (scale_num,) search scales around 1, ascending."""
    half = params.scale_num // 2
    return np.power(params.scale_step, np.linspace(-half, half, params.scale_num)).astype(np.float32)


def cosine_window(params: SiamFCParams) -> FloatArray:
    """Give the upsampled Hann window, sum 1."""
    hann = np.hanning(params.response_up * params.response_size)
    window: FloatArray = np.outer(hann, hann).astype(np.float32)
    return window / np.float32(window.sum())


def instance_square(center: Point, side_px: float) -> Square:
    """The whole-pixel square around the middle of a pixel; center is 0-based, the middle of the first pixel is 0."""
    side = max(1, round(side_px))
    left, top = (round(value - (side - 1) / 2) for value in center)
    return Square(left, top, side)


class PyramidPeak(NamedTuple):
    """The winner of a scale pyramid.

    Attributes:
        scale: Index of the winning scale.
        x: Peak relative to the response's centre, upsampled cells.
        y: See x.
    """

    scale: int
    x: float
    y: float


class ResponsePyramid:
    """Finds the winning scale and the peak in its response, in memory that is kept.

    Args:
        params: Of the tracker.

    Source: Bertinetto et al. 2016, section 4.1 (tracking algorithm).
    """

    def __init__(self, params: SiamFCParams) -> None:
        self._params = params
        side = params.response_up * params.response_size
        self._upsampled = np.empty((params.scale_num, side, side), np.float32)
        self._window = cosine_window(params) * np.float32(params.window_influence)

    def add(self, scale: int, response: FloatArray) -> None:
        """Take the raw (S, S) response of one scale."""
        plane = self._upsampled[scale]
        cv2.resize(np.ascontiguousarray(response), plane.shape[::-1], plane, interpolation=cv2.INTER_CUBIC)

    def best(self) -> PyramidPeak:
        """Compare the scales; the response of the winner is blended with the window."""
        params, middle = self._params, self._params.scale_num // 2
        factors = [1.0 if scale == middle else params.scale_penalty for scale in range(params.scale_num)]
        peaks = [cv2.minMaxLoc(plane)[1] * factor for plane, factor in zip(self._upsampled, factors, strict=True)]
        scale = peaks.index(max(peaks))
        response = self._upsampled[scale]
        np.multiply(response, np.float32(factors[scale]), out=response)
        np.subtract(response, response.min(), out=response)
        share = (1 - params.window_influence) / (float(response.sum()) + 1e-16)
        np.multiply(response, np.float32(share), out=response)
        np.add(response, self._window, out=response)
        row, column = divmod(int(response.argmax()), response.shape[1])
        middle_cell = (response.shape[0] - 1) / 2
        return PyramidPeak(scale, column - middle_cell, row - middle_cell)


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
        self._pyramid, self._factors = ResponsePyramid(params), scale_factors(params)
        self._center, self._size, self._template_side = Point(0, 0), (0.0, 0.0), 0.0
        self._padding = (0.0, 0.0, 0.0)

    def init(self, frame: Image, box: Box) -> None:
        """Take the target to follow from a frame.

        Raises:
            SourceError: check_init refuses the box.
        """
        check_init(frame, box)
        self._center, self._size = Point(box.center.x - 0.5, box.center.y - 0.5), (box.w, box.h)
        self._padding = mean_color(frame)
        self._template_side = context_side(box.w, box.h, self._params.context)
        self._search.hold(self._run(self._template, frame, self._template_side))

    def update(self, frame: Image) -> TrackResult:
        """Find the target in the next frame; a response with a NaN or infinity keeps the box and scores 0."""
        params = self._params
        side = self._template_side * params.search_px / params.template_px
        scores = [self._respond(frame, i, side * float(factor)) for i, factor in enumerate(self._factors)]
        if not all(map(math.isfinite, scores)):
            return self._result(0.0, is_lost=True)
        peak = self._pyramid.best()
        factor = float(self._factors[peak.scale])
        image_px_per_cell = params.stride / params.response_up * side * factor / params.search_px
        self._center = self._clipped(frame, peak.x * image_px_per_cell, peak.y * image_px_per_cell)
        self._rescale(1 - params.scale_lr + params.scale_lr * factor)
        score = scores[peak.scale]
        return self._result(score, is_lost=params.lost_below is not None and score < params.lost_below)

    def _result(self, score: float, *, is_lost: bool) -> TrackResult:
        center = Point(self._center.x + 0.5, self._center.y + 0.5)
        return TrackResult(Box.around(center, *self._size), score, is_lost)

    def _respond(self, frame: Image, scale: int, side_px: float) -> float:
        """Put the response of one scale into the pyramid; give its highest raw value, NaN if any is not finite."""
        response = channels_first(self._run(self._search, frame, side_px)["response"], self._response)[0]
        self._pyramid.add(scale, response)
        return float(response.max()) if np.isfinite(response).all() else math.nan

    def _run(self, runner: CropRunner, frame: Image, side_px: float) -> Mapping[str, Array]:
        is_template = runner is self._template  # once a target: what it looks like is not approximated
        return runner.run_on(frame, instance_square(self._center, side_px), self._padding, exact=is_template)

    def _clipped(self, frame: Image, dx: float, dy: float) -> Point:
        height, width = frame.shape[:2]
        return Point(min(max(self._center.x + dx, 0.0), width - 1.0), min(max(self._center.y + dy, 0.0), height - 1.0))

    def _rescale(self, factor: float) -> None:
        self._size = (self._size[0] * factor, self._size[1] * factor)
        self._template_side *= factor
