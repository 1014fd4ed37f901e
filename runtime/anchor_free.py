"""The tracker of heads that give a score and four distances a cell: NanoTrack and Dart."""

import math
from collections.abc import Mapping

import numpy as np

from siamedge.runtime.backends import Session
from siamedge.runtime.crops import context_side, mean_color, square_around
from siamedge.runtime.feeding import CropRunner
from siamedge.runtime.geometry import Box, FloatArray, Image, Point
from siamedge.runtime.looks import Sighting
from siamedge.runtime.online import FEATURES, OnlineClassifier, Place
from siamedge.runtime.params import AnchorFreeParams
from siamedge.runtime.response_grid import Peak, ResponseGrid
from siamedge.runtime.sizing import RememberedSize
from siamedge.runtime.tensors import Array, TensorSpec
from siamedge.runtime.trackers import TrackResult, check_init
from siamedge.runtime.turning import FirstLook, Turn, crop_with_room

MIN_SIDE_PX = 10.0
"""No box gets smaller than this (pysot)."""


def flat_kernels(kernels: Mapping[str, Array], specs: Mapping[str, TensorSpec]) -> FloatArray:
    """Join kernels, each scaled to length 1, into one vector of length 1."""
    vectors = [(kernels[name].astype(np.float32) - specs[name].zero_point).ravel() for name in sorted(specs)]
    units = [vector / max(float(np.linalg.norm(vector)), 1e-12) for vector in vectors]
    joined: FloatArray = (np.concatenate(units) / math.sqrt(len(units))).astype(np.float32)
    return joined


def mixed(first: Array, newer: Array, share: float) -> Array:
    """(1 - share) * first + share * newer, rounded for integers: both have the same scale and zero point."""
    exact = (1 - share) * first.astype(np.float32) + share * newer.astype(np.float32)
    return (np.rint(exact) if np.issubdtype(first.dtype, np.integer) else exact).astype(first.dtype)


class AnchorFreeTracker:
    """Follows one target; the published algorithm of the SiamRPN line without anchors.

    What lies outside a frame is padded with the mean colour of the frame of init, as the published trackers do: an
    update does no work on the whole frame.

    With params.turn_step_deg a target that turns in the picture is followed, too: while the score is low, a further
    search looks for the first look turned by a step, which stays where it is clearer (turning.py). With
    params.size_pull its size returns, the more the lower the score, to that of surer frames (sizing.py). With
    params.online_share it learns while tracking what sets the target apart from what is around it (online.py). All
    three are ours.

    Args:
        template: Session of the template graph.
        search: Session of the search graph, outputs "cls", "log_ltrb" and with params.has_quality "quality",
            with params.online_share "features".
        params: From the bundle's manifest.

    Source: Li et al. 2018 (SiamRPN); Chen et al. 2020 (SiamBAN) for the anchor-free form.
    """

    def __init__(self, template: Session, search: Session, params: AnchorFreeParams) -> None:
        self._template, self._search, self._params = CropRunner(template), CropRunner(search), params
        self._grid, self._kernel_specs = ResponseGrid(search.outputs, params), template.outputs
        self._feature_spec = search.outputs[FEATURES] if params.online_share else None
        self._center, self._size = Point(0, 0), (0.0, 0.0)
        self._padding = (0.0, 0.0, 0.0)
        self._first: Mapping[str, Array] = {}
        self._turn: Turn | None = None
        self._usual_size: RememberedSize | None = None
        self._classifier: OnlineClassifier | None = None

    def init(self, frame: Image, box: Box) -> None:
        """Take the target to follow from a frame.

        Raises:
            SourceError: The box is empty or has no part inside the frame.
        """
        check_init(frame, box)
        self.place(box)
        self._padding = mean_color(frame)
        side = context_side(box.w, box.h, self._params.context)
        self._search.hold(self._run(self._template, frame, self._center, side))
        self._first = self._search.held(self._kernel_specs)
        self._turn = self._start_turn(frame, side) if self._params.turn_step_deg else None
        self._classifier = self._start_classifier(frame, side, self._feature_spec) if self._feature_spec else None

    def look(self, frame: Image, around: Box) -> Sighting:
        """Find the best match in the search crop around a box; the tracker's own place stays."""
        params, center = self._params, around.center
        template_side = context_side(around.w, around.h, params.context)
        ratio = template_side / params.template_px
        maps = self._run(self._search, frame, center, template_side * params.search_px / params.template_px)
        peak = self._grid.strongest(maps, around.w / ratio, around.h / ratio, self._learnt(maps))
        found = Point(center.x + peak.dx * ratio, center.y + peak.dy * ratio)
        w, h = max(peak.w * ratio, MIN_SIDE_PX), max(peak.h * ratio, MIN_SIDE_PX)
        return Sighting(Box.around(found, w, h), peak.confidence)

    def signature(self, frame: Image, box: Box) -> FloatArray:
        """How the network sees a box: its template kernels as one vector of length 1."""
        side = context_side(box.w, box.h, self._params.context)
        return flat_kernels(self._run(self._template, frame, box.center, side), self._kernel_specs)

    def blend(self, frame: Image, box: Box, share: float) -> None:
        """Search for the first template with so much of a newer look mixed in, 0..1; looks before it are forgotten."""
        turn = self._turn
        unmixed = self._first if turn is None else turn.look.kernels(turn.angle_deg)
        side = context_side(box.w, box.h, self._params.context)
        newer = self._run(self._template, frame, box.center, side)
        self._search.hold({name: mixed(first, newer[name], share) for name, first in unmixed.items()})

    def place(self, box: Box) -> None:
        """Go on from this box."""
        self._center, self._size = box.center, (box.w, box.h)
        pull = self._params.size_pull
        self._usual_size = RememberedSize(box.w, box.h, pull) if pull else None

    def update(self, frame: Image) -> TrackResult:
        """Find the target in the next frame."""
        params, (w, h) = self._params, self._size
        template_side = context_side(w, h, params.context)
        ratio = template_side / params.template_px
        maps = self._run(self._search, frame, self._center, template_side * params.search_px / params.template_px)
        online = self._learnt(maps)
        peak = self._grid.best(maps, w / ratio, h / ratio, online)
        if self._turn is not None:
            peak = self._turned(self._turn, peak, (w / ratio, h / ratio), online)
        before = self._center
        result = self._move(frame, peak, ratio)
        if self._classifier is not None:
            self._classifier.learn(self._place_from(before, ratio), peak.confidence)
        return result

    def _learnt(self, maps: Mapping[str, Array]) -> FloatArray | None:
        return None if self._classifier is None else self._classifier.response(maps)

    def _place_from(self, center: Point, ratio: float) -> Place:
        """Where the target is in a search crop around a point of the frame; ratio is frame px a crop px."""
        (x, y), (w, h) = self._center, self._size
        return Place((x - center.x) / ratio, (y - center.y) / ratio, w / ratio, h / ratio)

    def _start_classifier(self, frame: Image, side_px: float, features: TensorSpec) -> OnlineClassifier:
        params, classifier = self._params, OnlineClassifier(features, self._params)
        maps = self._run(self._search, frame, self._center, side_px * params.search_px / params.template_px)
        classifier.start(maps, self._place_from(self._center, side_px / params.template_px))
        return classifier

    def _start_turn(self, frame: Image, side_px: float) -> Turn:
        params = self._params
        crop = crop_with_room(frame, self._center, side_px, params.template_px, self._padding)
        look = FirstLook(crop, params.template_px, self._kernels_of, self._first)
        return Turn(look, params.turn_step_deg, params.turn_below)

    def _kernels_of(self, crop: Image) -> Mapping[str, Array]:
        kernels = self._template.run(crop)
        return {name: kernels[name].copy() for name in self._kernel_specs}

    def _turned(self, turn: Turn, peak: Peak, size: tuple[float, float], online: FloatArray | None) -> Peak:
        """The same crop searched for a further angle, in doubt; the clearer peak of both. Arguments as in best."""
        angle = turn.further(peak.confidence)
        if angle is not None:
            before = self._search.held(self._kernel_specs)
            self._search.hold(turn.look.kernels(angle))
            other = self._grid.best(self._search.again(), *size, online)
            if turn.is_taken(angle, other.confidence, peak.confidence):
                peak = other
            else:
                self._search.hold(before)
        turn.remember(peak.confidence)
        return peak

    def _run(self, runner: CropRunner, frame: Image, center: Point, side_px: float) -> Mapping[str, Array]:
        is_template = runner is self._template  # once a target: what it looks like is not approximated
        return runner.run_on(frame, square_around(center, side_px), self._padding, exact=is_template)

    def _move(self, frame: Image, peak: Peak, image_px_per_crop_px: float) -> TrackResult:
        if not peak.score < self._params.hold_below:
            self._go_to(peak, image_px_per_crop_px, frame)
        is_lost = peak.confidence < self._params.lost_below
        return TrackResult(Box.around(self._center, *self._size), peak.confidence, is_lost)

    def _go_to(self, peak: Peak, ratio: float, frame: Image) -> None:
        (x, y), (w, h), (height, width) = self._center, self._size, frame.shape[:2]
        rate = peak.penalty * peak.confidence * self._params.lr
        self._center = Point(
            min(max(x + peak.dx * ratio, 0.0), float(width)), min(max(y + peak.dy * ratio, 0.0), float(height))
        )
        w, h = w * (1 - rate) + peak.w * ratio * rate, h * (1 - rate) + peak.h * ratio * rate
        if self._usual_size is not None:
            w, h = self._usual_size.corrected(w, h, peak.confidence)
        self._size = min(max(w, MIN_SIDE_PX), float(width)), min(max(h, MIN_SIDE_PX), float(height))
