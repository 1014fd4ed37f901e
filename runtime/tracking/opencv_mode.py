"""What cv2.TrackerNano of OpenCV 5.0 computes, its faults included; docs/opencv.md lists them with evidence.

For those who come from cv2.TrackerNano and want its boxes first. The order of float32 operations is kept, since its
boxes and crops are cut to whole pixels: a last bit can move a crop by a pixel.
"""

from collections.abc import Mapping

import cv2
import numpy as np

from siamedge.runtime.backends.backend import Session
from siamedge.runtime.errors import BackendError
from siamedge.runtime.geometry import Box, FloatArray, Image
from siamedge.runtime.tensors import Array
from siamedge.runtime.tracking.crops import Square, crop_square, mean_color
from siamedge.runtime.tracking.feeding import CropRunner, channels_first
from siamedge.runtime.tracking.params import AnchorFreeParams, TrackerParams
from siamedge.runtime.tracking.trackers import TrackResult, check_init

F = np.float32
WINDOW_INFLUENCE = F(0.455)
PENALTY_K = F(0.055)
RATE = F(0.37)
CONTEXT = F(0.5)
STRIDE = 16
CELLS = 16
"""One set of constants for all versions of NanoTrack, and one size of response."""
TEMPLATE_PX = 127
SEARCH_PX = 255
SEARCH_TO_TEMPLATE = F(SEARCH_PX // TEMPLATE_PX)
"""An integer division: 2 instead of 2.008."""
MIN_SIDE_PX = F(10)


def size_of(w: FloatArray, h: FloatArray) -> FloatArray:
    """sqrt((w + p)(h + p)) with p = (w + h) / 2."""
    pad = (w + h) * F(0.5)
    side: FloatArray = np.sqrt((w + pad) * (h + pad))
    return side


def at_least_one(change: FloatArray) -> FloatArray:
    """Give x or 1/x, whichever is larger."""
    largest: FloatArray = np.maximum(change, F(1) / change)
    return largest


def check_sizes(params: TrackerParams) -> None:
    """Refuse a network that cv2.TrackerNano could not run.

    Raises:
        BackendError: It is of another family, or has not the sizes that OpenCV has fixed.
    """
    hint = "leave --mode away: cv2.TrackerNano cannot run this network"
    if not isinstance(params, AnchorFreeParams) or params.score != "softmax" or params.has_quality:
        raise BackendError("mode opencv runs NanoTrack v1 and v2, this is another network", hint=hint)
    sizes = (params.template_px, params.search_px, params.response_size, params.stride)
    if sizes != (TEMPLATE_PX, SEARCH_PX, CELLS, STRIDE):
        raise BackendError(
            f"mode opencv: template, search, response and stride are {sizes}, "
            f"cv2.TrackerNano has {(TEMPLATE_PX, SEARCH_PX, CELLS, STRIDE)}",
            hint=hint,
        )


class OpenCVNanoTracker:
    """Follows one target with the boxes of cv2.TrackerNano 5.0.

    Args:
        template: Session of the template graph of NanoTrack v1 or v2.
        search: Session of its search graph, outputs "cls" and "log_ltrb" (or "ltrb", the distances themselves).
        params: From the bundle's manifest; only checked, OpenCV uses constants of its own.

    Raises:
        BackendError: The network has not the sizes that OpenCV has fixed.

    Source: read from the behaviour and the published source of OpenCV 5.0's TrackerNano; verified against it in
        tests/runtime/test_opencv_mode.py.
    """

    def __init__(self, template: Session, search: Session, params: TrackerParams) -> None:
        check_sizes(params)
        self._template, self._search = CropRunner(template), CropRunner(search)
        self._outputs = search.outputs
        self._window = cv2.createHanningWindow((CELLS, CELLS), cv2.CV_32F)
        line = (np.arange(CELLS, dtype=np.float32) - CELLS // 2) * STRIDE + SEARCH_PX // 2
        self._grid_x, self._grid_y = (np.ascontiguousarray(grid) for grid in np.meshgrid(line, line))
        self._x = self._y = self._w = self._h = F(0)
        self._limits = (F(0), F(0))

    def init(self, frame: Image, box: Box) -> None:
        """Take the target to follow from a frame; the box is cut to whole pixels, as OpenCV takes no others.

        Raises:
            SourceError: check_init refuses the box.
        """
        x, y, w, h = (F(int(side)) for side in box)
        check_init(frame, Box(float(x), float(y), float(w), float(h)))
        self._x, self._y, self._w, self._h = x + w * F(0.5), y + h * F(0.5), w, h
        self._limits = (F(frame.shape[1]), F(frame.shape[0]))
        margin = CONTEXT * (w + h)
        side = int(np.sqrt((w + margin) * (h + margin)))
        self._search.hold(self._run(self._template, frame, side))

    def update(self, frame: Image) -> TrackResult:
        """Find the target in the next frame; it is never lost."""
        margin = CONTEXT * F(int(self._w + self._h))
        side = np.sqrt((self._w + margin) * (self._h + margin))
        scale = F(TEMPLATE_PX) / side
        maps = self._run(self._search, frame, int(side * SEARCH_TO_TEMPLATE))
        return self._move(self._distances(maps), self._scores(maps), scale)

    def _run(self, runner: CropRunner, frame: Image, side: int) -> Mapping[str, Array]:
        """Cut a square around the target, turn it to RGB (NanoTrack was trained on BGR), and run it."""
        half = (side + 1) // 2
        square = Square(int(self._x) - half, int(self._y) - half, side)
        padding = (0.0, 0.0, 0.0) if square.is_inside(frame) else mean_color(frame)
        crop_square(frame, square, runner.picture, padding, exact=True)
        cv2.cvtColor(runner.picture, cv2.COLOR_BGR2RGB, runner.picture)
        return runner.run(runner.picture)

    def _scores(self, maps: Mapping[str, Array]) -> FloatArray:
        logits = np.ascontiguousarray(channels_first(maps["cls"], self._outputs["cls"]))
        parts = np.asarray(cv2.exp(logits - logits.max(axis=0)))
        scores: FloatArray = parts[1] / (parts[0] + parts[1])
        return scores

    def _distances(self, maps: Mapping[str, Array]) -> FloatArray:
        if "ltrb" in maps:
            return channels_first(maps["ltrb"], self._outputs["ltrb"])
        distances: FloatArray = np.exp(channels_first(maps["log_ltrb"], self._outputs["log_ltrb"]))
        return distances

    def _move(self, ltrb: FloatArray, scores: FloatArray, scale: np.float32) -> TrackResult:
        x1, y1, x2, y2 = self._grid_x - ltrb[0], self._grid_y - ltrb[1], self._grid_x + ltrb[2], self._grid_y + ltrb[3]
        w, h = x2 - x1, y2 - y1
        here = np.array((self._x, self._y))[:, None]
        change_of_size = at_least_one(size_of(w, h) / size_of(here[0], here[1]))  # of the position, not of the size
        aspect = (self._w * scale) / (self._h * scale)
        change = at_least_one(aspect / (w / h)) * change_of_size
        penalty = np.asarray(cv2.exp((change - F(1)) * -PENALTY_K))
        ranked = penalty * scores * (F(1) - WINDOW_INFLUENCE) + self._window * WINDOW_INFLUENCE
        cell = np.unravel_index(int(ranked.argmax()), ranked.shape)
        self._take((x1[cell], y1[cell], x2[cell], y2[cell]), scale, penalty[cell] * scores[cell] * RATE)
        return TrackResult(self._box(), float(ranked[cell]), lost=False)

    def _take(self, corners: tuple[np.float32, ...], scale: np.float32, rate: np.float32) -> None:
        """Move towards a box of the search crop."""
        (x1, y1, x2, y2), (width, height) = corners, self._limits
        middle = F(SEARCH_PX // 2)
        x, y = self._x + ((x1 + x2) / F(2) - middle) / scale, self._y + ((y1 + y2) / F(2) - middle) / scale
        w = (x2 - x1) / scale * rate + (F(1) - rate) * (self._w * scale / scale)
        h = (y2 - y1) / scale * rate + (F(1) - rate) * (self._h * scale / scale)
        self._x, self._y = max(F(0), min(width, x)), max(F(0), min(height, y))
        self._w, self._h = max(MIN_SIDE_PX, min(width, w)), max(MIN_SIDE_PX, min(height, h))

    def _box(self) -> Box:
        """The box, its sides cut towards zero to whole pixels."""
        left, top = self._x - self._w / F(2), self._y - self._h / F(2)
        return Box(*(float(int(side)) for side in (left, top, self._w, self._h)))
