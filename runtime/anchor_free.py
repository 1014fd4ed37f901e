"""The tracker of heads that give a score and four distances a cell: NanoTrack and Dart."""

import math
from collections.abc import Mapping

import numpy as np

from siamedge.runtime.backends import Session
from siamedge.runtime.crops import context_side, crop_around, mean_color
from siamedge.runtime.feeding import CropRunner, as_chw
from siamedge.runtime.geometry import Box, FloatArray, Image, Point
from siamedge.runtime.params import AnchorFreeParams
from siamedge.runtime.presence import Sighting
from siamedge.runtime.tensors import Array, TensorSpec
from siamedge.runtime.trackers import TrackResult, check_init

MIN_SIDE_PX = 10.0
"""No box gets smaller than this (pysot)."""


def cosine_window(params: AnchorFreeParams) -> FloatArray:
    """Give the (S*S,) window that pulls the peak towards the last position, 0..1."""
    size = params.response_size
    hann = np.hanning(size) if params.window == "hann" else np.hanning(size + 2)[1:-1]
    return np.outer(hann, hann).ravel().astype(np.float32)


def cell_centers(params: AnchorFreeParams) -> FloatArray:
    """Give (2, S*S) x and y of the cells relative to the search crop's centre, in crop pixels."""
    line = params.first_cell_px + params.stride * np.arange(params.response_size, dtype=np.float32)
    y, x = np.meshgrid(line, line, indexing="ij")
    return np.stack([x.ravel(), y.ravel()])


def target_scores(cls: FloatArray, kind: str) -> FloatArray:
    """Turn logits (C, S, S) into probabilities (S*S,) that the target is in a cell."""
    logits = cls.reshape(cls.shape[0], -1)
    margin = logits[1] - logits[0] if kind == "softmax" else logits[0]
    scores: FloatArray = 1.0 / (1.0 + np.exp(-margin))
    return scores


def decode_boxes(log_ltrb: FloatArray, centers: FloatArray, params: AnchorFreeParams) -> FloatArray:
    """Turn log distances (4, S, S) into boxes (4, S*S): centre x, y relative to the crop's centre, w, h; crop pixels.

    Source: Tian et al. 2019 (FCOS), distances left, top, right, bottom from a cell's centre.
    """
    clipped = np.minimum(log_ltrb.reshape(4, -1), params.max_log_distance)
    left, top, right, bottom = params.distance_scale * np.exp(clipped)
    boxes: FloatArray = np.stack(
        [centers[0] + (right - left) / 2, centers[1] + (bottom - top) / 2, left + right, top + bottom]
    )
    return boxes


def size_penalty(boxes: FloatArray, w: float, h: float, penalty_k: float) -> FloatArray:
    """Give the factor (S*S,), 0..1, that punishes boxes whose size or aspect differs from the last one.

    Args:
        boxes: From decode_boxes.
        w: Width of the last box in crop pixels.
        h: Its height.
        penalty_k: Strength.

    Source: Li et al. 2018 (SiamRPN), equation 13.
    """
    _, _, widths, heights = boxes
    padding = (widths + heights) / 2
    scale = np.sqrt((widths + padding) * (heights + padding)) / context_side(w, h, 0.5)
    aspect = (w / h) * (heights / widths)
    change = np.maximum(scale, 1 / scale) * np.maximum(aspect, 1 / aspect)
    penalty: FloatArray = np.exp(-(change - 1) * penalty_k)
    return penalty


def flat_kernels(kernels: Mapping[str, Array], specs: Mapping[str, TensorSpec]) -> FloatArray:
    """Join kernels, each scaled to length 1, into one vector of length 1."""
    vectors = [(kernels[name].astype(np.float32) - specs[name].zero_point).ravel() for name in sorted(specs)]
    units = [vector / max(float(np.linalg.norm(vector)), 1e-12) for vector in vectors]
    joined: FloatArray = (np.concatenate(units) / math.sqrt(len(units))).astype(np.float32)
    return joined


class AnchorFreeTracker:
    """Follows one target; the published algorithm of the SiamRPN line without anchors.

    Args:
        template: Session of the template graph.
        search: Session of the search graph, outputs "cls", "log_ltrb" and with params.has_quality "quality".
        params: From the bundle's manifest.

    Source: Li et al. 2018 (SiamRPN); Chen et al. 2020 (SiamBAN) for the anchor-free form.
    """

    def __init__(self, template: Session, search: Session, params: AnchorFreeParams) -> None:
        self._template, self._search, self._params = CropRunner(template), CropRunner(search), params
        self._outputs, self._kernel_specs = search.outputs, template.outputs
        self._window = cosine_window(params)
        self._centers = cell_centers(params)
        self._center, self._size = Point(0, 0), (0.0, 0.0)
        self._padding = (0.0, 0.0, 0.0)

    def init(self, frame: Image, box: Box) -> None:
        """Take the target to follow from a frame.

        Raises:
            SourceError: The box is empty or has no part inside the frame.
        """
        check_init(frame, box)
        params = self._params
        self._center, self._size = box.center, (box.w, box.h)
        self._padding = mean_color(frame)
        side = context_side(box.w, box.h, params.context)
        crop = crop_around(frame, self._center, side, params.template_px, self._padding)
        self._search.hold(self._template.run(crop))

    def look(self, frame: Image, around: Box) -> Sighting:
        """Find the best match in the search crop around a box; the tracker's own place stays."""
        params = self._params
        template_side = context_side(around.w, around.h, params.context)
        side = template_side * params.search_px / params.template_px
        crop = crop_around(frame, around.center, side, params.search_px, self._padding)
        scores, boxes = self._decode(crop)
        best = int(scores.argmax())
        dx, dy, w, h = (float(value) * template_side / params.template_px for value in boxes[:, best])
        center = Point(around.center.x + dx, around.center.y + dy)
        return Sighting(Box.around(center, max(w, MIN_SIDE_PX), max(h, MIN_SIDE_PX)), float(scores[best]))

    def signature(self, frame: Image, box: Box) -> FloatArray:
        """How the network sees a box: its template kernels as one vector of length 1."""
        side = context_side(box.w, box.h, self._params.context)
        crop = crop_around(frame, box.center, side, self._params.template_px, self._padding)
        return flat_kernels(self._template.run(crop), self._kernel_specs)

    def place(self, box: Box) -> None:
        """Go on from this box."""
        self._center, self._size = box.center, (box.w, box.h)

    def update(self, frame: Image) -> TrackResult:
        """Find the target in the next frame."""
        params = self._params
        template_side = context_side(*self._size, params.context)
        side = template_side * params.search_px / params.template_px
        crop = crop_around(frame, self._center, side, params.search_px, self._padding)
        scores, boxes = self._decode(crop)
        return self._move(frame, scores, boxes, template_side / params.template_px)

    def _decode(self, crop: Image) -> tuple[FloatArray, FloatArray]:
        outputs = self._search.run(crop)
        maps = {name: as_chw(outputs[name], self._outputs[name]) for name in outputs}
        scores = target_scores(maps["cls"], self._params.score)
        if self._params.has_quality:
            scores = scores * target_scores(maps["quality"], "sigmoid")
        return scores, decode_boxes(maps["log_ltrb"], self._centers, self._params)

    def _move(self, frame: Image, scores: FloatArray, boxes: FloatArray, image_px_per_crop_px: float) -> TrackResult:
        params, ratio = self._params, image_px_per_crop_px
        (w, h), (height, width) = self._size, frame.shape[:2]
        penalty = size_penalty(boxes, w / ratio, h / ratio, params.penalty_k)
        ranked = penalty * scores * (1 - params.window_influence) + self._window * params.window_influence
        best = int(ranked.argmax())
        dx, dy, new_w, new_h = (float(value) * ratio for value in boxes[:, best])
        rate = float(penalty[best] * scores[best]) * params.lr
        self._center = Point(
            min(max(self._center.x + dx, 0.0), float(width)), min(max(self._center.y + dy, 0.0), float(height))
        )
        self._size = (
            min(max(w * (1 - rate) + new_w * rate, MIN_SIDE_PX), float(width)),
            min(max(h * (1 - rate) + new_h * rate, MIN_SIDE_PX), float(height)),
        )
        score = float(scores[best])
        return TrackResult(Box.around(self._center, *self._size), score, score < params.lost_below)
