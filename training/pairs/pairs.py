"""Training pairs: a template crop, a search crop and where the target is in it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from siamedge.runtime.geometry import Box, Image, Point, intersection_over_union
from siamedge.training.crops import augmentation as change
from siamedge.training.crops.augmentation import Appearance, Geometry, Matrix, Points, Rng
from siamedge.training.crops.cutouts import Outlines
from siamedge.training.crops.store import CONTEXT_PX, CROP_PX, Crop, CropStore
from siamedge.training.teaching.teacher import View


class Pair(NamedTuple):
    """What the network sees at once.

    Args:
        template: (Z, Z, 3) uint8, BGR.
        search: (X, X, 3) uint8, BGR.
        box: The target in the search crop, or None where it is absent.
    """

    template: Image
    search: Image
    box: Box | None


class Batch(NamedTuple):
    """Stacked pairs; `boxes` (N, 4) is centre x, centre y, width, height in search-crop px, nan where absent.

    `view` is a teacher's, if there is one.
    """

    templates: NDArray[np.uint8]
    searches: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    view: View | None = None


@dataclass(frozen=True, slots=True)
class Mixture:
    """Shares of pairs of each kind; each is drawn independently of the others unless said otherwise.

    Where crops show one object alone there is no other: no pair is negative, and nothing is laid beside, under or over
    the target.

    Args:
        tracks: Template and search from different times of one track; the rest are two views of one crop.
        negative: The target is absent from the search crop.
        paste: The object of a still is cut out and laid over another picture.
        own: The object is cut out and laid over its own surroundings, moved and turned against them, so that what the
            template shows beside the object is in the search crop too, but not with it. Of all pairs; `paste` is of
            the others.
        crowd: A further object lies under the edge of one that was laid over something (paste, own), as when a target
            passes in front of another; of the same class in `same_class` of them.
        smear: Such an object alone is smeared by motion, what is behind it is not.
        flat: Where the crop has no picture it gets the mean colour, as a tracker pads, instead of another picture.
        distractor: Another object is laid beside the target; of the same class in `same_class` of them.
        same_class: See distractor and negative.
        occluder: Another object covers a part of the target.
        grey: Both crops lose their colour.
        track_weights: Weight of tracks whose name starts with a prefix, first match, else 1; it multiplies the square
            root of the track's length.
    """

    tracks: float = 0.4
    negative: float = 0.1
    paste: float = 0.35
    own: float = 0.0
    crowd: float = 0.0
    smear: float = 0.0
    flat: float = 0.15
    distractor: float = 0.35
    same_class: float = 0.6
    occluder: float = 0.15
    grey: float = 0.1
    track_weights: tuple[tuple[str, float], ...] = ()


class PairMaker:
    """Draws pairs from a store; pair i depends on the seed, i and the store's content alone.

    Args:
        store: The crops.
        mixture: Kinds of pairs.
        still: Geometry for two views of one crop.
        track: Geometry for two times of one track.
        appearance: Changes of appearance.
        outlines: Of the objects, for pasting and for exact boxes after rotation.
        template_px: Side of the template crop.
        search_px: Side of the search crop.
        seed: Of every draw.
    """

    def __init__(
        self,
        store: CropStore,
        mixture: Mixture,
        still: Geometry,
        track: Geometry,
        appearance: Appearance,
        *,
        outlines: Outlines,
        template_px: int,
        search_px: int,
        seed: int,
    ) -> None:
        self._store, self._mixture, self._appearance = store, mixture, appearance
        self._still, self._track = still, track
        self._template_px, self._search_px, self._seed = template_px, search_px, seed
        self._zoom = template_px / CONTEXT_PX
        self._outlines = outlines
        self._tracks = [name for name, rows in store.tracks.items() if len(rows) > 1]
        weights = np.array([_track_weight(name, store, mixture) for name in self._tracks])
        self._track_odds = weights / weights.sum() if len(weights) else weights

    def pair(self, index: int) -> Pair:
        """Make pair number `index`."""
        rng = np.random.default_rng((self._seed, index))
        mixture = self._mixture
        template_row, search_row, geometry = self._choose(rng)
        blur = rng.uniform(1.3, 4.5) if rng.random() < self._appearance.low_resolution else 0.0
        template = self._template(rng, self._store.crops[template_row])
        other = self._other(rng, template_row, mixture.same_class) if rng.random() < mixture.negative else None
        if other is None:
            search, box = self._search(rng, search_row, geometry, can_paste=search_row == template_row)
        else:
            (search, _), box = self._search(rng, other, geometry), None
        if rng.random() < mixture.distractor:
            search = self._add_distractor(rng, search, template_row, box)
        if box is not None and rng.random() < mixture.occluder:
            search = self._add_occluder(rng, search, template_row, box)
        return Pair(*self._look(rng, template, search, blur), box)

    def batch(self, start: int, size: int) -> Batch:
        """Stack pairs start .. start + size - 1."""
        pairs = [self.pair(index) for index in range(start, start + size)]
        boxes = [(np.nan,) * 4 if p.box is None else (*p.box.center, p.box.w, p.box.h) for p in pairs]
        templates, searches = np.stack([p.template for p in pairs]), np.stack([p.search for p in pairs])
        return Batch(templates, searches, np.array(boxes, np.float32))

    def batches(self, starts: Sequence[int], size: int) -> Iterator[Batch]:
        """Stack one batch for each start."""
        return (self.batch(start, size) for start in starts)

    def _choose(self, rng: Rng) -> tuple[int, int, Geometry]:
        if self._tracks and rng.random() < self._mixture.tracks:
            rows = self._store.tracks[self._tracks[rng.choice(len(self._tracks), p=self._track_odds)]]
            first, second = rng.choice(len(rows), 2, replace=False)
            return rows[first], rows[second], self._track
        row = int(rng.integers(len(self._store.crops)))
        return row, row, self._still

    def _other(self, rng: Rng, row: int, same_class: float) -> int | None:
        """A crop of another object, in a share of one class with it; None where the store shows one object alone."""
        crop, crops = self._store.crops[row], self._store.crops
        same = self._store.classes[f"{crop.source}/{crop.cls}"]
        if len(crops) == (len(self._store.tracks[crop.track]) if crop.track else 1):
            return None
        while True:
            if same_class and crop.track == "" and len(same) > 1 and rng.random() < same_class:
                found = same[int(rng.integers(len(same)))]
            else:
                found = int(rng.integers(len(crops)))
            if found != row and (crop.track == "" or crops[found].track != crop.track):
                return found

    def _template(self, rng: Rng, crop: Crop) -> Image:
        size = self._template_px
        jitter = np.exp(rng.uniform(-0.06, 0.06))
        center = size / 2 + rng.uniform(-2.5, 2.5, 2).astype(np.float32)
        affine = change.affine_about(self._zoom * jitter * np.eye(2), np.array(crop.box.center), center)
        return self._fill(rng, change.warp(crop.image, affine, size), crop, affine)

    def _search(self, rng: Rng, row: int, geometry: Geometry, *, can_paste: bool = False) -> tuple[Image, Box]:
        crop, size = self._store.crops[row], self._search_px
        linear = self._zoom * change.random_linear(rng, geometry)
        center = np.float32(size / 2) + change.random_shift(rng, geometry) * np.float32(size / 256)
        affine = change.affine_about(linear, np.array(crop.box.center), center)
        field = change.bend_field(rng, size, geometry.bend_px) if rng.random() < geometry.bend else None
        image = change.warp(crop.image, affine, size, field)
        straight = change.transform(self._outlines.of(crop), affine)
        outline = straight if field is None else change.bent(straight, field)
        behind = self._behind(rng, crop, center, geometry, can_paste=can_paste)
        box = _bounds(outline)
        if behind is None:
            return self._fill(rng, image, crop, affine), box
        if self._mixture.crowd and rng.random() < self._mixture.crowd:
            behind = self._add_under(rng, behind, row, box)
        mask = change.polygon_mask(_grown(outline, rng.uniform(1.0, 1.2)), size, int(rng.integers(1, 8)))
        if self._mixture.smear and rng.random() < self._mixture.smear:
            image, mask = change.smeared(image, mask, change.motion_kernel(rng, self._appearance.motion_px))
        return change.blend(image, behind, mask), box

    def _behind(self, rng: Rng, crop: Crop, center: Points, geometry: Geometry, *, can_paste: bool) -> Image | None:
        """The picture to lay the object over; None: it stays in its own."""
        if self._mixture.own and rng.random() < self._mixture.own:
            return self._surroundings(rng, crop, center, geometry)
        if can_paste and rng.random() < self._mixture.paste:
            return self._background(rng, self._search_px)
        return None

    def _surroundings(self, rng: Rng, crop: Crop, center: Points, geometry: Geometry) -> Image:
        """What is around an object, up to one and a half of its sides away; another picture is where it was."""
        size, sides = self._search_px, self._zoom * np.array((crop.box.w, crop.box.h))
        away = center + (rng.uniform(-1.5, 1.5, 2) * sides * rng.random()).astype(np.float32)
        linear = self._zoom * change.random_linear(rng, replace(geometry, wild=0.0))
        affine = change.affine_about(linear, np.array(crop.box.center), away)
        picture = self._fill(rng, change.warp(crop.image, affine, size), crop, affine)
        place = _grown(change.transform(self._outlines.of(crop), affine), rng.uniform(1.0, 1.15))
        mask = change.polygon_mask(place, size, int(rng.integers(1, 8)))
        return change.blend(self._background(rng, size), picture, mask)

    def _fill(self, rng: Rng, image: Image, crop: Crop, affine: Matrix) -> Image:
        x0, y0, x1, y1 = crop.valid
        size = image.shape[0]
        ends = np.array([(0, 0), (size, 0), (size, size), (0, size)], np.float32)
        seen = change.transform(ends, cv2.invertAffineTransform(affine).astype(np.float64))
        if seen.min(axis=0)[0] >= x0 and seen.min(axis=0)[1] >= y0 and (seen.max(axis=0) <= (x1, y1)).all():
            return image
        corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float32)
        inner = _grown(corners, 1 - 6 / CROP_PX)
        mask = change.polygon_mask(change.transform(inner, affine), size, int(rng.integers(1, 8)))
        return change.blend(image, self._padding(rng, image, mask), mask)

    def _padding(self, rng: Rng, image: Image, mask: NDArray[np.float32]) -> Image:
        if rng.random() >= self._mixture.flat:
            return self._background(rng, image.shape[0])
        color = cv2.mean(image, (mask > 0.5).astype(np.uint8))[:3]
        return np.full_like(image, np.array(color, np.uint8))

    def _background(self, rng: Rng, size: int) -> Image:
        crop = self._store.crops[int(rng.integers(len(self._store.crops)))]
        x0, y0, x1, y1 = (int(value) for value in np.round(crop.valid))
        side = max(8, int(min(x1 - x0, y1 - y0) * rng.uniform(0.5, 1.0)))
        x = int(rng.integers(x0, max(x1 - side, x0) + 1))
        y = int(rng.integers(y0, max(y1 - side, y0) + 1))
        part = crop.image[y : y + side, x : x + side]
        return cv2.resize(part, (size, size), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)

    def _add_distractor(self, rng: Rng, search: Image, row: int, box: Box | None) -> Image:
        for _ in range(3):
            center = rng.uniform(0.08, 0.92, 2) * search.shape[0]
            other = self._other(rng, row, self._mixture.same_class)
            if other is None:
                return search
            layer, outline = self._object(rng, other, center, rng.uniform(-0.35, 0.35), search.shape[0])
            if box is None or intersection_over_union(_bounds(outline), box) < 0.05:
                return _laid(rng, layer, _grown(outline, 1.05), search)
        return search

    def _add_under(self, rng: Rng, behind: Image, row: int, box: Box) -> Image:
        """Lay another object, two thirds to twice as large, where the target's edge will cover a part of it."""
        center = _at_edge(rng, box, 0.3, 1.0)
        other = self._other(rng, row, self._mixture.same_class)
        if other is None:
            return behind
        layer, outline = self._object(rng, other, center, rng.uniform(-0.4, 0.7), behind.shape[0])
        return _laid(rng, layer, _grown(outline, 1.05), behind)

    def _add_occluder(self, rng: Rng, search: Image, row: int, box: Box) -> Image:
        center = _at_edge(rng, box, 0.4, 0.6)
        other = self._other(rng, row, same_class=0.0)
        if other is None:
            return search
        layer, outline = self._object(rng, other, center, rng.uniform(-0.9, -0.2), search.shape[0])
        return _laid(rng, layer, outline, search)

    def _object(self, rng: Rng, row: int, center: Points, log_scale: float, size: int) -> tuple[Image, Points]:
        crop = self._store.crops[row]
        linear = self._zoom * np.exp(log_scale) * change.random_linear(rng, self._still)
        affine = change.affine_about(linear, np.array(crop.box.center), center)
        return change.warp(crop.image, affine, size), change.transform(self._outlines.of(crop), affine)

    def _look(self, rng: Rng, template: Image, search: Image, blur: float) -> tuple[Image, Image]:
        look = self._appearance
        if blur:
            template = change.lower_resolution(template, blur)
            search = change.lower_resolution(search, blur * np.exp(rng.uniform(-0.2, 0.2)))
        elif rng.random() < look.sharp:
            amount = rng.uniform(0.5, 2.0)
            template, search = change.sharpen(template, amount), change.sharpen(search, amount)
        template = change.recolor(rng, template, look)
        search = change.recolor(rng, search, look)
        if rng.random() < self._mixture.grey:
            template, search = change.to_grey(template), change.to_grey(search)
        if rng.random() < 0.4:
            template = change.degrade(rng, template, look)
        return template, change.degrade(rng, search, look)


def _track_weight(name: str, store: CropStore, mixture: Mixture) -> float:
    weight = next((value for prefix, value in mixture.track_weights if name.startswith(prefix)), 1.0)
    return float(weight * np.sqrt(len(store.tracks[name])))


def _at_edge(rng: Rng, box: Box, nearest: float, farthest: float) -> Points:
    """A point so far from a box's centre, in any direction, as a share of its sides; 0.5 is the edge."""
    side = rng.uniform(-1, 1, 2)
    side /= np.abs(side).max()
    point: Points = np.array(box.center) + side * np.array([box.w, box.h]) * rng.uniform(nearest, farthest)
    return point


def _laid(rng: Rng, layer: Image, outline: Points, under: Image) -> Image:
    """Lay what is within an outline over a picture, its edge a little soft."""
    return change.blend(layer, under, change.polygon_mask(outline, under.shape[0], int(rng.integers(1, 6))))


def _grown(points: Points, factor: float) -> Points:
    center = points.mean(axis=0)
    grown: Points = ((points - center) * np.float32(factor) + center).astype(np.float32)
    return grown


def _bounds(points: Points) -> Box:
    low, high = points.min(axis=0), points.max(axis=0)
    center = Point(*((low + high) / 2).tolist())
    return Box.around(center, *np.maximum(high - low, 2.0).tolist())
