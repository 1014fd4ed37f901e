"""Drawn objects over drawn scenes, as crops with exact boxes: for the smoke recipe, tests and calibration."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.tracking.crops import context_side
from siamedge.training.crops.augmentation import Rng, affine_about
from siamedge.training.crops.folders import make_once, write_picture
from siamedge.training.crops.store import CONTEXT_PX, CROP_PX

_CANVAS_PX = 128


class Drawing(NamedTuple):
    """A crop, centred on its object.

    Args:
        image: (336, 336, 3) uint8, BGR.
        box: Bounds of the object's pixels.
    """

    image: Image
    box: Box


def paint_texture(rng: Rng, size_px: int, most_cells: int = 9) -> Image:
    """Paint a square with smooth colours, blocks or stripes."""
    cells = int(rng.integers(2, most_cells))
    seed = rng.integers(0, 256, (cells, cells if rng.random() < 0.7 else 1, 3), dtype=np.uint8)
    how = (cv2.INTER_CUBIC, cv2.INTER_LINEAR, cv2.INTER_NEAREST)[int(rng.integers(3))]
    picture = cv2.resize(seed, (size_px, size_px), interpolation=how)
    return picture.astype(np.uint8, copy=False)


def paint_object(rng: Rng) -> NDArray[np.uint8]:
    """Paint one to three convex parts on a transparent canvas, (128, 128, 4) uint8 BGRA."""
    canvas = np.zeros((_CANVAS_PX, _CANVAS_PX, 4), np.uint8)
    for part in range(int(rng.integers(1, 4))):
        reach = 44 if part == 0 else 26
        center = np.full(2, _CANVAS_PX / 2) + (rng.uniform(-28, 28, 2) if part else 0)
        points = (center + rng.uniform(-reach, reach, (9, 2))).astype(np.float32)
        mask = np.zeros(canvas.shape[:2], np.uint8)
        cv2.fillConvexPoly(mask, cv2.convexHull(points).astype(np.int32), 255)
        canvas[mask > 0, :3] = paint_texture(rng, _CANVAS_PX)[mask > 0]
        canvas[mask > 0, 3] = 255
    return canvas


def paint_scene(rng: Rng, size_px: int) -> Image:
    """Paint a background: a texture with clutter on it."""
    coarse, fine = paint_texture(rng, size_px), paint_texture(rng, size_px, 60)
    grey = paint_texture(rng, size_px, 30).mean(axis=2, keepdims=True)
    scene = (0.4 * coarse + 0.2 * fine + 0.4 * grey).astype(np.uint8)
    for _ in range(int(rng.integers(3, 12))):
        color = tuple(int(value) for value in rng.integers(0, 256, 3))
        points = (rng.uniform(0, size_px, 2) + rng.uniform(-60, 60, (5, 2))).astype(np.int32)
        cv2.fillConvexPoly(scene, cv2.convexHull(points), color)
    grain = rng.normal(0, 6, scene.shape)
    grained: Image = np.clip(scene + grain, 0, 255).astype(np.uint8)
    return grained


def draw_track(rng: Rng, frames: int) -> Iterator[Drawing]:
    """Draw one object at several times: it turns, stretches and changes its place before a moving scene."""
    thing, scene = paint_object(rng), paint_scene(rng, 2 * CROP_PX)
    angle, turn = rng.uniform(-40, 40), rng.uniform(-12, 12)
    for frame in range(frames):
        left, top = rng.integers(0, CROP_PX, 2)
        ground = scene[top : top + CROP_PX, left : left + CROP_PX]
        stretch = np.exp(rng.uniform(-0.15, 0.15))
        yield _lay(thing, ground, np.deg2rad(angle + turn * frame), stretch)


def write_synthetic(root: Path, *, tracks: int, frames: int, seed: int) -> None:
    """Draw a data set in the form that CropStore reads.

    Args:
        root: Folder to fill.
        tracks: Objects.
        frames: Crops of each.
        seed: Of everything.

    Raises:
        PlaceError: A picture cannot be written.
    """
    (root / "crops").mkdir(parents=True, exist_ok=True)
    rows = []
    for track in range(tracks):
        for frame, drawing in enumerate(draw_track(np.random.default_rng((seed, track)), frames)):
            name = f"crops/{track:04d}_{frame:02d}.png"
            write_picture(root / name, drawing.image)
            box, valid = [round(value, 2) for value in drawing.box], [0, 0, CROP_PX, CROP_PX]
            kind = {"source": "synthetic", "cls": "drawing", "track": f"synthetic_{track}", "frame": frame}
            rows.append(json.dumps({"image": name, **kind, "box": box, "valid": valid}))
    (root / "annotations.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def draw_once(root: Path, *, tracks: int, frames: int, seed: int) -> Path:
    """Draw a data set, unless the folder holds the same one already; arguments as of write_synthetic.

    Returns:
        root.

    Raises:
        PlaceError: It cannot be written.
    """
    made_of = f"{tracks} tracks, {frames} frames, seed {seed}"
    return make_once(root, made_of, partial(write_synthetic, tracks=tracks, frames=frames, seed=seed))


def _lay(thing: NDArray[np.uint8], ground: Image, angle: float, stretch: float) -> Drawing:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shape = turn @ np.diag([stretch, 1 / stretch])
    middle = np.full(2, CROP_PX / 2)
    bounds = _bounds(_warp(thing, shape, middle))
    scale = CONTEXT_PX / context_side(bounds.w, bounds.h, 0.5)
    layer = _warp(thing, scale * shape, middle - scale * (np.array(bounds.center) - middle))
    alpha = layer[..., 3:].astype(np.float32) / 255
    image = np.clip(ground * (1 - alpha) + layer[..., :3], 0, 255).astype(np.uint8)
    return Drawing(image, _bounds(layer))


def _warp(thing: NDArray[np.uint8], linear: NDArray[np.float64], middle: NDArray[np.float64]) -> NDArray[np.uint8]:
    source = np.full(2, _CANVAS_PX / 2, np.float32)
    affine = affine_about(linear, source, middle.astype(np.float32))
    layer: NDArray[np.uint8] = cv2.warpAffine(thing, affine, (CROP_PX, CROP_PX)).astype(np.uint8, copy=False)
    return layer


def _bounds(layer: NDArray[np.uint8]) -> Box:
    x, y, w, h = cv2.boundingRect((layer[..., 3] > 127).astype(np.uint8))
    return Box(float(x), float(y), float(w), float(h))
