"""A drawn scene with a moving target whose box is known exactly: a source for first steps and tests."""

import math
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple
from urllib.parse import parse_qsl

import cv2
import numpy as np

from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Box, Image, Point
from siamedge.runtime.sources.recordings import Pacer
from siamedge.runtime.sources.source import Frame, SourceOptions, orient, orient_box
from siamedge.runtime.tensors import Array

MARGIN = 0.15
"""The background reaches this share of the frame's width beyond each side, room for the camera's pan."""
POLE_X, POLE_WIDTH = 0.56, 0.06
"""The pole that passes in front of the target, as shares of the frame's width, before the pan."""


class Pose(NamedTuple):
    """The target at one moment; positions as shares of the frame's size, scale 1 = a sixth of its height.

    Attributes:
        at: Share of the clip, 0..1.
        x: Of the centre, 0 left, 1 right.
        y: Of the centre, 0 top, 1 bottom.
        scale: Relative size.
        angle_deg: Turn, counter-clockwise.
        blur: Standard deviation of the blur, as a share of the target's height.
    """

    at: float
    x: float
    y: float
    scale: float
    angle_deg: float
    blur: float


SCRIPT: tuple[Pose, ...] = (
    Pose(0.00, 0.25, 0.55, 1.00, 0.0, 0.00),
    Pose(0.12, 0.32, 0.35, 1.00, 0.0, 0.00),
    Pose(0.25, 0.40, 0.45, 1.45, 0.0, 0.00),
    Pose(0.38, 0.46, 0.62, 1.25, 35.0, 0.00),
    Pose(0.50, 0.68, 0.58, 1.25, 0.0, 0.00),
    Pose(0.62, 0.80, 0.35, 1.00, -25.0, 0.06),
    Pose(0.72, 0.86, 0.42, 0.95, 0.0, 0.00),
    Pose(0.82, 0.985, 0.60, 1.10, 0.0, 0.00),
    Pose(0.92, 0.78, 0.70, 1.15, 10.0, 0.00),
    Pose(1.00, 0.62, 0.72, 0.90, 0.0, 0.00),
)
"""Motion, growth, turn, passing behind the pole, blur, leaving the frame by half and coming back."""


class SyntheticSource:
    """A patterned beetle that crosses a patterned scene; every pixel and box follows from the seed.

    Attributes:
        size: (width, height) of the scene, before frames are turned.
        frames: Length of the clip.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        frames: int = 150,
        size: tuple[int, int] = (640, 480),
        fps: float = 30.0,
        options: SourceOptions | None = None,
    ) -> None:
        self.size, self.frames = size, frames
        self._fps, self._options = fps, options or SourceOptions()
        random = np.random.default_rng(seed)
        width = round(size[0] * (1 + 2 * MARGIN))
        self._background = paint_ground(random, width, size[1])
        self._beetle = paint_beetle(random, round(size[1] / 3))

    @classmethod
    def from_address(cls, address: str, options: SourceOptions) -> "SyntheticSource":
        """Open `synthetic:?seed=0&frames=150&size=640x480&fps=30`; each setting may be left out.

        Raises:
            SourceError: A setting is unknown or out of range.
        """
        settings = dict(parse_qsl(address.partition(":")[2].lstrip("?"), keep_blank_values=True))
        if unknown := settings.keys() - {"seed", "frames", "size", "fps"}:
            raise SourceError(f"synthetic: unknown setting {min(unknown)!r}", hint="seed, frames, size, fps")
        width, _, height = settings.get("size", "640x480").partition("x")
        fps = number("fps", settings.get("fps", f"{options.fps:g}"), 1, 1000)
        return cls(
            seed=number("seed", settings.get("seed", "0"), 0, 2**32 - 1),
            frames=number("frames", settings.get("frames", "150"), 1, 1_000_000),
            size=(number("size width", width, 64, 7680), number("size height", height, 64, 4320)),
            fps=fps,
            options=options,
        )

    @property
    def fps(self) -> float:
        """Frames a second of the time stamps."""
        return self._fps

    def box_at(self, index: int) -> Box:
        """The exact box around the whole target in its frame, hidden parts and parts outside the frame included."""
        pose = self._pose(index)
        long, short = self._half_axes(pose)
        angle = math.radians(pose.angle_deg)
        half_w = math.hypot(long * math.cos(angle), short * math.sin(angle))
        half_h = math.hypot(long * math.sin(angle), short * math.cos(angle))
        return orient_box(Box.around(self._center(pose), 2 * half_w, 2 * half_h), self.size, self._options)

    def image_at(self, index: int) -> Image:
        """Draw a frame, turned and mirrored as the options say."""
        ground, pole = self.ground_at(index)
        pose = self._pose(index)
        ground = np.where(pole, ground, self._with_beetle(ground, pose))
        if pose.blur > 0.002:
            sigma_px = pose.blur * 2 * self._half_axes(pose)[1]
            ground = np.asarray(cv2.GaussianBlur(ground, (0, 0), sigma_px), np.uint8)
        return orient(ground, self._options)

    def ground_at(self, index: int) -> tuple[Image, Array]:
        """The scene before it is turned, without the target, and where the pole stands in front: (H, W, 1) bool."""
        width, height = self.size
        pan = self._pan_px(index)
        left = round(width * MARGIN + pan)
        ground = self._background[:, left : left + width].copy()
        pole = np.zeros((height, width, 1), bool)
        start, stop = round(width * POLE_X - pan), round(width * (POLE_X + POLE_WIDTH) - pan)
        pole[:, start:stop] = True
        shade = np.linspace(70, 150, stop - start, dtype=np.uint8)
        ground[:, start:stop] = np.stack([shade * 0.7, shade * 0.9, shade], axis=-1).astype(np.uint8)
        return ground, pole

    def __iter__(self) -> Iterator[Frame]:
        """The clip from its first frame."""
        pacer = Pacer(self._options.is_paced)
        for index in range(self.frames):
            image = self.image_at(index)
            pacer.wait_for(index / self._fps)
            yield Frame(image, index, index / self._fps)

    def __enter__(self) -> "SyntheticSource":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def _pose(self, index: int) -> Pose:
        """The script at a frame, eased between its entries."""
        at = index / max(1, self.frames - 1)
        after = next((k for k, pose in enumerate(SCRIPT) if pose.at >= at), len(SCRIPT) - 1)
        one, two = SCRIPT[max(0, after - 1)], SCRIPT[after]
        share = (at - one.at) / (two.at - one.at) if two.at > one.at else 1.0
        eased = share * share * (3 - 2 * share)
        return Pose(*(a + (b - a) * eased for a, b in zip(one, two, strict=True)))

    def _pan_px(self, index: int) -> float:
        return self.size[0] * MARGIN * 0.8 * math.sin(2 * math.pi * index / max(1, self.frames - 1))

    def _center(self, pose: Pose) -> Point:
        return Point(pose.x * self.size[0], pose.y * self.size[1])

    def _half_axes(self, pose: Pose) -> tuple[float, float]:
        """Half length and half height of the beetle's ellipse, pixels."""
        short = self.size[1] / 12 * pose.scale
        return short * 1.35, short

    def _with_beetle(self, ground: Image, pose: Pose) -> Image:
        """The scene with the whole target on it."""
        side = self._beetle.shape[0]
        long, short = self._half_axes(pose)
        center, angle = self._center(pose), math.radians(pose.angle_deg)
        cos, sin = math.cos(angle), math.sin(angle)
        stretch, lift = 2 * long / side, 2 * short / side
        turn = np.array([[cos * stretch, sin * lift], [-sin * stretch, cos * lift]])
        # OpenCV puts pixel centres at whole numbers; boxes here put them at halves.
        shift = np.array(center) - 0.5 - turn @ np.full(2, side / 2 - 0.5)
        layer = cv2.warpAffine(self._beetle, np.column_stack([turn, shift]), self.size, flags=cv2.INTER_AREA)
        alpha = layer[:, :, 3:].astype(np.float32) / 255
        mixed = ground * (1 - alpha) + layer[:, :, :3].astype(np.float32)
        return np.asarray(np.clip(mixed + 0.5, 0, 255), np.uint8)


def number(name: str, text: str, least: int, most: int) -> int:
    """A whole number of an address.

    Raises:
        SourceError: It is none, or out of range.
    """
    if not text.isdecimal() or not least <= int(text) <= most:
        raise SourceError(
            f"synthetic: {name}={text!r} is not a whole number from {least} to {most}",
            hint="for example synthetic:?seed=3&frames=300&size=640x480&fps=30",
        )
    return int(text)


def noise(random: np.random.Generator, width: int, height: int, cell_px: float) -> Array:
    """Smooth noise whose blobs are about cell_px wide: (height, width, 3) float32, 0..1 with ends up to .3 beyond."""
    grid = random.random((max(2, round(height / cell_px)), max(2, round(width / cell_px)), 3), np.float32)
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)


def paint_ground(random: np.random.Generator, width: int, height: int) -> Image:
    """Meadow with stones: clutter of the target's own size and below."""
    mixed = sum(
        weight * noise(random, width, height, height / cells) for cells, weight in ((4, 0.5), (16, 0.3), (70, 0.35))
    )
    ground = np.clip(np.array([60, 120, 95]) + (np.asarray(mixed) - 0.57) * np.array([70, 90, 80]), 0, 255).astype(
        np.uint8
    )
    for _ in range(22):
        center = (int(random.integers(0, width)), int(random.integers(0, height)))
        axes = (int(random.integers(height // 40, height // 12)), int(random.integers(height // 50, height // 16)))
        color = tuple(float(c) for c in random.integers(70, 170) + random.integers(-12, 12, 3))
        cv2.ellipse(ground, center, axes, float(random.integers(0, 180)), 0, 360, color, -1, cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(ground, (0, 0), 0.7), np.uint8)


def paint_beetle(random: np.random.Generator, side: int) -> Array:
    """The target in a square that it fills: (side, side, 4) uint8, BGR times alpha, and alpha.

    The outline is the square's inscribed ellipse, so that its box can be computed exactly.
    """
    grid = (np.arange(side) + 0.5) * 2 / side - 1
    x, y = np.meshgrid(grid, grid)
    shell = np.array([40, 60, 215]) + (noise(random, side, side, side / 8) - 0.5) * 70
    colored = np.where((x > 0.45)[..., None], (35, 35, 40), shell)
    colored = np.where((np.abs(y) < 0.045)[..., None], (25, 25, 30), colored)
    for spot_x, spot_y, radius in ((-0.55, 0.42, 0.17), (-0.1, 0.5, 0.2), (-0.62, -0.4, 0.15), (-0.12, -0.48, 0.22)):
        colored = np.where((np.hypot(x - spot_x, y - spot_y) < radius)[..., None], (30, 25, 30), colored)
    for eye_y in (-0.3, 0.3):
        colored = np.where((np.hypot(x - 0.72, y - eye_y) < 0.13)[..., None], (235, 240, 240), colored)
    light = np.clip(1.15 - 0.45 * (x * x + y * y) - 0.2 * y, 0.4, 1.2)[..., None]
    alpha = np.clip((1 - np.hypot(x, y)) * side / 2 + 0.5, 0, 1)[..., None]
    return np.concatenate([np.clip(colored * light, 0, 255) * alpha, alpha * 255], axis=-1).astype(np.uint8)
