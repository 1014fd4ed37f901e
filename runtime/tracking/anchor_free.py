"""The tracker of heads that give a score and four distances a cell: NanoTrack and Dart."""

import math
from collections.abc import Mapping

import numpy as np

from siamedge.runtime.backends.backend import Session
from siamedge.runtime.geometry import Box, FloatArray, Image, Point
from siamedge.runtime.tensors import Array, TensorSpec
from siamedge.runtime.tracking.crops import context_side, crop_square, mean_color
from siamedge.runtime.tracking.feeding import CropRunner
from siamedge.runtime.tracking.looks import Sighting
from siamedge.runtime.tracking.online import FEATURES, OnlineClassifier, mixed
from siamedge.runtime.tracking.params import AnchorFreeParams
from siamedge.runtime.tracking.response_grid import Peak, ResponseGrid
from siamedge.runtime.tracking.sizing import RememberedSize, SizeFit
from siamedge.runtime.tracking.trackers import TrackResult, check_init
from siamedge.runtime.tracking.turning import FirstLook, Turn, crop_with_room, room_px
from siamedge.runtime.tracking.views import Cut, View, published_view, true_view

BORDER_PX = 1.0
"""A box that is not farther than this from a side of the frame has reached it."""
MIN_SIDE_PX = 10.0
"""No box gets smaller than this (pysot)."""
FIT_VIEWS = (
    *((x, y, 1.0) for x in (-0.2, 0.2) for y in (-0.2, 0.2)),
    *((0.0, 0.0, scale) for scale in (0.85, 1.15)),
)
"""Crops of the first frame in which sizes are compared, besides the one around the target: context sides beside it, and
how much larger."""
LOOK = "look"
"""The template graph's output by which looks are compared; without one its kernels are."""


def flat_kernels(kernels: Mapping[str, Array], specs: Mapping[str, TensorSpec]) -> FloatArray:
    """Join kernels, each scaled to length 1, into one vector of length 1."""
    vectors = [(kernels[name].astype(np.float32) - specs[name].zero_point).ravel() for name in sorted(specs)]
    units = [vector / max(float(np.linalg.norm(vector)), 1e-12) for vector in vectors]
    joined: FloatArray = (np.concatenate(units) / math.sqrt(len(units))).astype(np.float32)
    return joined


def mixed_kernels(first: Array, newer: Array, share: float) -> Array:
    """(1 - share) * first + share * newer, rounded for integers: both have the same scale and zero point."""
    exact = mixed(first.astype(np.float32), newer.astype(np.float32), share)
    return (np.rint(exact) if np.issubdtype(first.dtype, np.integer) else exact).astype(first.dtype)


class AnchorFreeTracker:
    """Follows one target; the published algorithm of the SiamRPN line without anchors.

    What lies outside a frame is padded with the mean colour of the frame of init, as the published trackers do: an
    update does no work on the whole frame.

    With params.turn_step_deg a target that turns in the picture is followed, too: while the score is low, a further
    search looks for the first look turned by a step, which stays where it is clearer (turning.py). With
    params.size_fit it measures on the first frame by how much the network errs in this target's size; with
    params.size_pull its size returns, the more the lower the score, to that of surer frames (sizing.py). With
    params.online_share it learns while tracking what sets the target apart from what is around it (online.py), and with
    params.has_true_squares it counts places from where a search square lies (views.py). All five are ours.

    Args:
        template: Session of the template graph.
        search: Session of the search graph, outputs "cls", "log_ltrb" and with params.has_quality "quality",
            with params.online_share "features".
        params: From the bundle's manifest.

    Source: Li et al. 2018 (SiamRPN); Chen et al. 2020 (SiamBAN) for the anchor-free form.
    """

    def __init__(self, template: Session, search: Session, params: AnchorFreeParams) -> None:
        self._template, self._search, self._params = CropRunner(template), CropRunner(search), params
        self._grid, given = ResponseGrid(search.outputs, params), template.outputs
        self._kernels = tuple(name for name in given if name in search.inputs)
        self._look_specs = {LOOK: given[LOOK]} if LOOK in given else given
        self._feature_spec = search.outputs[FEATURES] if params.online_share else None
        self._cut: Cut = true_view if params.has_true_squares else published_view
        self._center, self._size = Point(0, 0), (0.0, 0.0)
        self._padding = (0.0, 0.0, 0.0)
        self._first: Mapping[str, Array] = {}
        self._turn: Turn | None = None
        self._fit: SizeFit | None = None
        self._usual_size: RememberedSize | None = None
        self._classifier: OnlineClassifier | None = None

    def init(self, frame: Image, box: Box) -> None:
        """Take the target to follow from a frame.

        Raises:
            SourceError: check_init refuses the box.
        """
        check_init(frame, box)
        params = self._params
        self.place(box)
        self._padding = mean_color(frame)
        self._search.hold(self._look_of(frame, box))
        self._first = self._search.held(self._kernels)
        self._turn = self._start_turn(frame, box) if params.turn_step_deg else None
        self._classifier = OnlineClassifier(self._feature_spec, params) if self._feature_spec else None
        self._fit, self._grid.size_factors = None, (1.0, 1.0)
        if self._classifier is not None or params.size_fit:
            self._learn_first(frame, box)

    def look(self, frame: Image, around: Box) -> Sighting:
        """Find the best match in the search crop around a box; the tracker's own place stays."""
        view = self._view(around.center, around.w, around.h)
        maps = self._see(frame, view)
        peak = self._grid.strongest(maps, *view.size(around.w, around.h), self._learnt(maps))
        w, h = max(peak.w * view.ratio, MIN_SIDE_PX), max(peak.h * view.ratio, MIN_SIDE_PX)
        return Sighting(Box.around(view.point(peak.dx, peak.dy), w, h), peak.confidence)

    def crop(self, frame: Image, box: Box) -> Image:
        """The template crop of a box, (template_px, template_px, 3) uint8, BGR, in memory of its own."""
        crop = np.empty((self._params.template_px, self._params.template_px, 3), np.uint8)
        crop_square(frame, self._template_view(box).square, crop, self._padding, exact=True)
        return crop

    def signature(self, crop: Image) -> FloatArray:
        """How the network sees a template crop: its look, or its template kernels, as one vector of length 1."""
        return flat_kernels(self._template.run(crop), self._look_specs)

    def blend(self, frame: Image, box: Box, share: float) -> None:
        """Search for the first template with so much of a newer look mixed in, 0..1; looks before it are forgotten."""
        turn = self._turn
        unmixed = self._first if turn is None else turn.look.kernels(turn.angle_deg)
        newer = self._look_of(frame, box)
        self._search.hold({name: mixed_kernels(first, newer[name], share) for name, first in unmixed.items()})

    def place(self, box: Box) -> None:
        """Go on from this box."""
        self._center, self._size = box.center, (box.w, box.h)
        pull = self._params.size_pull
        self._usual_size = RememberedSize(box.w, box.h, pull) if pull else None

    def update(self, frame: Image) -> TrackResult:
        """Find the target in the next frame."""
        view = self._view(self._center, *self._size)
        size = view.size(*self._size)
        maps = self._see(frame, view)
        online = self._learnt(maps)
        peak = self._grid.best(maps, *size, online)
        if self._turn is not None:
            peak = self._turned(self._turn, peak, size, online)
        result = self._move(frame, view, peak)
        if self._classifier is not None and self._classifier.is_due(peak.confidence):
            self._classifier.learn(view.place(self._center, *self._size))
        return result

    def _view(self, center: Point, w: float, h: float) -> View:
        params = self._params
        side = context_side(w, h, params.context) * params.search_px / params.template_px
        return self._cut(center, side, params.search_px)

    def _see(self, frame: Image, view: View) -> Mapping[str, Array]:
        return self._search.run_on(frame, view.square, self._padding)

    def _look_of(self, frame: Image, box: Box) -> Mapping[str, Array]:
        """Kernels of a box; once a target, so what it looks like is not approximated."""
        return self._template.run_on(frame, self._template_view(box).square, self._padding, exact=True)

    def _template_view(self, box: Box) -> View:
        return self._cut(box.center, context_side(box.w, box.h, self._params.context), self._params.template_px)

    def _learnt(self, maps: Mapping[str, Array]) -> FloatArray | None:
        return None if self._classifier is None else self._classifier.response(maps)

    def _learn_first(self, frame: Image, box: Box) -> None:
        """Learn from the first frame what sets the target apart from what is around it, and how the network errs."""
        view = self._view(box.center, box.w, box.h)
        maps = self._see(frame, view)
        if self._classifier is not None:
            self._classifier.start(maps, view.place(box.center, box.w, box.h))
        if not self._params.size_fit:
            return
        side, found = context_side(box.w, box.h, self._params.context), [self._size_found(maps, view, box)]
        for x, y, scale in FIT_VIEWS:
            center = Point(box.center.x + x * side, box.center.y + y * side)
            view = self._view(center, box.w * scale, box.h * scale)
            found.append(self._size_found(self._see(frame, view), view, box))
        self._fit = SizeFit(found, self._params.size_fit)
        self._fit_sizes(0.0)

    def _size_found(self, maps: Mapping[str, Array], view: View, box: Box) -> tuple[float, float]:
        """The network's width and height of a known box, over its own."""
        w, h = view.size(box.w, box.h)
        peak = self._grid.best(maps, w, h, self._learnt(maps))
        return peak.w / w, peak.h / h

    def _fit_sizes(self, angle_deg: float) -> None:
        if self._fit is not None:
            self._grid.size_factors = self._fit.factors(angle_deg)

    def _start_turn(self, frame: Image, box: Box) -> Turn:
        params, room = self._params, room_px(self._params.template_px)
        side = context_side(box.w, box.h, params.context) * room / params.template_px
        crop = crop_with_room(frame, self._cut(box.center, side, room).square, params.template_px, self._padding)
        look = FirstLook(crop, params.template_px, self._kernels_of, self._first)
        return Turn(look, params.turn_step_deg, params.turn_below)

    def _kernels_of(self, crop: Image) -> Mapping[str, Array]:
        kernels = self._template.run(crop)
        return {name: kernels[name].copy() for name in self._kernels}

    def _turned(self, turn: Turn, peak: Peak, size: tuple[float, float], online: FloatArray | None) -> Peak:
        """The same crop searched for a further angle, in doubt; the clearer peak of both. Arguments as in best."""
        angle = turn.further(peak.confidence)
        if angle is not None:
            before = self._search.held(self._kernels)
            self._search.hold(turn.look.kernels(angle))
            self._fit_sizes(angle)
            other = self._grid.best(self._search.again(), *size, online)
            if turn.is_taken(angle, other.confidence, peak.confidence):
                peak = other
            else:
                self._search.hold(before)
            self._fit_sizes(turn.angle_deg)
        turn.remember(peak.confidence)
        return peak

    def _move(self, frame: Image, view: View, peak: Peak) -> TrackResult:
        if not self._is_held(frame, peak.score):
            self._go_to(frame, view, peak)
        is_lost = peak.confidence < self._params.lost_below
        return TrackResult(Box.around(self._center, *self._size), peak.confidence, is_lost)

    def _is_held(self, frame: Image, score: float) -> bool:
        """Whether the box stays: one that has reached the border of the frame does so under a higher score."""
        params = self._params
        return score < params.hold_below or (score < params.edge_hold_below and self._is_at_border(frame))

    def _is_at_border(self, frame: Image) -> bool:
        height, width = frame.shape[:2]
        x, y, w, h = Box.around(self._center, *self._size)
        return bool(min(x, y, width - x - w, height - y - h) <= BORDER_PX)

    def _go_to(self, frame: Image, view: View, peak: Peak) -> None:
        (w, h), ratio, (height, width) = self._size, view.ratio, frame.shape[:2]
        rate = peak.penalty * peak.confidence * self._params.lr
        x, y = view.point(peak.dx, peak.dy)
        self._center = Point(min(max(x, 0.0), float(width)), min(max(y, 0.0), float(height)))
        w, h = w * (1 - rate) + peak.w * ratio * rate, h * (1 - rate) + peak.h * ratio * rate
        if self._usual_size is not None:
            w, h = self._usual_size.corrected(w, h, peak.confidence)
        self._size = min(max(w, MIN_SIDE_PX), float(width)), min(max(h, MIN_SIDE_PX), float(height))
