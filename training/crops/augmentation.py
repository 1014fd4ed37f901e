"""Random changes of geometry and appearance, as small functions over BGR uint8 pictures."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from siamedge.runtime.geometry import Image

Points = NDArray[np.float32]
"""(K, 2) x, y."""
Matrix = NDArray[np.float64]
"""(2, 3) affine map, source to destination."""
Rng = np.random.Generator

OUTLINE_STEP_PX = 4.0
"""Between the points of an outline that is bent."""
_GRAIN = np.random.default_rng(0).standard_normal((512, 512, 3), np.float32)
"""Noise to cut pieces from; drawing it afresh would cost as much as everything else."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """Ranges of the geometric change from template to search.

    Args:
        shift_px: Largest shift of the target's centre, uniform in both directions, px of a search crop of 256
            px; in one of another size it is the same share of the side.
        far_shift_px: The same for the share `far` of the pairs.
        far: Share of pairs with a far shift.
        scale: Log-scale, uniform +-.
        aspect: Log of the change of aspect ratio, uniform +-.
        rotation_deg: Rotation, uniform +-.
        wild_rotation_deg: The same for the share `wild`.
        wild: Share of pairs with a wild rotation.
        shear: Uniform +-.
        flip: Share of pairs whose search crop is mirrored.
        bend: Share of pairs with a smooth random displacement (articulation).
        bend_px: Its standard deviation, search-crop px whatever the crop's size.
    """

    shift_px: float = 64.0
    far_shift_px: float = 92.0
    far: float = 0.2
    scale: float = 0.28
    aspect: float = 0.15
    rotation_deg: float = 10.0
    wild_rotation_deg: float = 40.0
    wild: float = 0.2
    shear: float = 0.1
    flip: float = 0.08
    bend: float = 0.2
    bend_px: float = 5.0


@dataclass(frozen=True, slots=True)
class Appearance:
    """Shares of pictures that get each change, and its strength."""

    gain: float = 0.3
    channel_gain: float = 0.08
    gamma: float = 0.35
    motion_blur: float = 0.2
    motion_px: int = 15
    low_resolution: float = 0.2
    noise: float = 0.15
    jpeg: float = 0.15
    sharp: float = 0.3


def random_linear(rng: Rng, geometry: Geometry) -> Matrix:
    """Draw the 2x2 part of a map: rotation, scale, aspect, shear and mirror, without a shift."""
    degrees = geometry.wild_rotation_deg if rng.random() < geometry.wild else geometry.rotation_deg
    angle = np.deg2rad(rng.uniform(-degrees, degrees))
    scale = np.exp(rng.uniform(-geometry.scale, geometry.scale))
    aspect = np.exp(rng.uniform(-geometry.aspect, geometry.aspect) / 2)
    shear = rng.uniform(-geometry.shear, geometry.shear)
    mirror = -1.0 if rng.random() < geometry.flip else 1.0
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear: Matrix = scale * rotation @ np.array([[aspect * mirror, shear], [0.0, 1 / aspect]])
    return linear


def random_shift(rng: Rng, geometry: Geometry) -> Points:
    """Draw the target's distance from the centre of the search crop, (2,) px of one of 256 px."""
    limit = geometry.far_shift_px if rng.random() < geometry.far else geometry.shift_px
    return rng.uniform(-limit, limit, 2).astype(np.float32)


def affine_about(linear: Matrix, source: Points, destination: Points) -> Matrix:
    """Join a linear map with the shift that takes one point to another."""
    return np.column_stack([linear, np.asarray(destination, float) - linear @ np.asarray(source, float)])


def transform(points: Points, affine: Matrix) -> Points:
    """Map (K, 2) points."""
    return (points @ affine[:, :2].T + affine[:, 2]).astype(np.float32)


def bend_field(rng: Rng, size_px: int, bend_px: float) -> NDArray[np.float32]:
    """Draw a smooth random displacement, (size_px, size_px, 2) px."""
    knots = rng.normal(0.0, bend_px, (6, 6, 2)).astype(np.float32)
    return cv2.resize(knots, (size_px, size_px), interpolation=cv2.INTER_CUBIC).astype(np.float32, copy=False)


def in_pixels(affine: Matrix) -> Matrix:
    """A map of points as OpenCV warps by it: points have the middle of a pixel at a half, OpenCV at a whole number."""
    linear = affine[:, :2]
    return np.column_stack([linear, affine[:, 2] + linear @ np.full(2, 0.5) - 0.5])


def warp(image: Image, affine: Matrix, size_px: int, field: NDArray[np.float32] | None = None) -> Image:
    """Map a picture as its points (`transform`) into a square of size_px; a field says how far off each pixel looks."""
    pixels = in_pixels(affine)
    if field is None:
        warped = cv2.warpAffine(image, pixels, (size_px, size_px), borderMode=cv2.BORDER_REPLICATE)
        return warped.astype(np.uint8, copy=False)
    inverse = cv2.invertAffineTransform(pixels).astype(np.float32)
    ramp = np.arange(size_px, dtype=np.float32)
    x, y = ramp[None, :] + field[..., 0], ramp[:, None] + field[..., 1]
    map_x = inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2]
    map_y = inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2]
    bent = cv2.remap(image, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return bent.astype(np.uint8, copy=False)


def bent(outline: Points, field: NDArray[np.float32]) -> Points:
    """Where an outline lies in a picture that `warp` bends, with points every OUTLINE_STEP_PX.

    A pixel p shows what was at p + field(p), so that a point q comes to the p that is q - field(p), which is searched
    from q on.

    Args:
        outline: (K, 2) in the picture as it would be without the field, closed.
        field: (S, S, 2) from bend_field.
    """
    points = _between_corners(outline)
    places, last = points, field.shape[0] - 1
    for _ in range(5):
        columns, rows = np.clip(np.floor(places).astype(int), 0, last).T
        places = (points - field[rows, columns]).astype(np.float32)
    return places


def _between_corners(outline: Points) -> Points:
    """An outline with further points on its sides, so that those bend, too."""
    sides = np.roll(outline, -1, axis=0) - outline
    counts = np.ceil(np.hypot(*sides.T) / OUTLINE_STEP_PX).astype(int).clip(min=1)
    shares = np.concatenate([np.arange(count) / count for count in counts])[:, None]
    points: Points = np.repeat(outline, counts, axis=0) + shares * np.repeat(sides, counts, axis=0)
    return points.astype(np.float32)


def polygon_mask(points: Points, size_px: int, feather_px: int) -> NDArray[np.float32]:
    """Fill a polygon, (size_px, size_px) 0..1, with a soft edge."""
    mask = np.zeros((size_px, size_px), np.uint8)
    cv2.fillPoly(mask, [np.round(points * 8).astype(np.int32)], 255, shift=3)
    if feather_px > 1:
        mask = cv2.blur(mask, (feather_px, feather_px)).astype(np.uint8, copy=False)
    return mask.astype(np.float32) * np.float32(1 / 255)


def blend(over: Image, under: Image, mask: NDArray[np.float32]) -> Image:
    """Lay one picture over another where the mask is 1."""
    blended = cv2.blendLinear(over, under, mask, np.float32(1) - mask)
    return blended.astype(np.uint8, copy=False)


def recolor(rng: Rng, image: Image, appearance: Appearance) -> Image:
    """Change gain, gamma and white balance through one look-up table."""
    ramp = np.linspace(0.0, 1.0, 256)[:, None] ** np.exp(rng.uniform(-appearance.gamma, appearance.gamma))
    gain = np.exp(rng.uniform(-appearance.gain, appearance.gain))
    gains = gain * np.exp(rng.uniform(-appearance.channel_gain, appearance.channel_gain, 3))
    table = np.clip(255 * ramp * gains + rng.uniform(-15, 15), 0, 255).astype(np.uint8)
    return cv2.LUT(image, table.reshape(1, 256, 3)).astype(np.uint8, copy=False)


def to_grey(image: Image) -> Image:
    """Drop the colour, keeping three channels."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return grey.astype(np.uint8, copy=False)


def motion_blur(rng: Rng, image: Image, longest_px: int) -> Image:
    """Smear along a random direction."""
    return cv2.filter2D(image, -1, motion_kernel(rng, longest_px)).astype(np.uint8, copy=False)


def smeared(image: Image, mask: NDArray[np.float32], kernel: NDArray[np.float32]) -> tuple[Image, NDArray[np.float32]]:
    """Smear a picture and the mask of an object in it alike."""
    picture, cover = cv2.filter2D(image, -1, kernel), cv2.filter2D(mask, -1, kernel)
    return picture.astype(np.uint8, copy=False), cover.astype(np.float32, copy=False)


def motion_kernel(rng: Rng, longest_px: int) -> NDArray[np.float32]:
    """Draw a line of 3 to longest_px px in a random direction, as a kernel whose sum is 1."""
    length = int(rng.integers(3, longest_px + 1))
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, np.pi)
    reach = (length - 1) / 2 * np.array([np.cos(angle), np.sin(angle)])
    centre = (length - 1) / 2
    start, end = np.round(centre - reach).astype(int), np.round(centre + reach).astype(int)
    cv2.line(kernel, (int(start[0]), int(start[1])), (int(end[0]), int(end[1])), 1.0)
    kernel /= kernel.sum()
    return kernel


def lower_resolution(image: Image, factor: float) -> Image:
    """Shrink by a factor and grow again, as a small target looks in its crop."""
    size = image.shape[0]
    small_px = max(8, int(size / factor))
    small = cv2.resize(image, (small_px, small_px), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def sharpen(image: Image, amount: float) -> Image:
    """Raise fine detail; crops in store are a little soft, crops of large targets in a video are not."""
    soft = cv2.GaussianBlur(image, (3, 3), 0)
    return cv2.addWeighted(image, 1 + amount, soft, -amount, 0).astype(np.uint8, copy=False)


def compress(image: Image, quality: int) -> Image:
    """Encode and decode as JPEG."""
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR).astype(np.uint8, copy=False)  # type: ignore[union-attr]


def add_noise(rng: Rng, image: Image, deviation: float) -> Image:
    """Add normal noise."""
    size = image.shape[0]
    x, y = rng.integers(0, _GRAIN.shape[0] - size + 1, 2)
    noise = _GRAIN[y : y + size, x : x + size] * np.float32(deviation)
    return cv2.add(image, noise, dtype=cv2.CV_8U).astype(np.uint8, copy=False)


def degrade(rng: Rng, image: Image, appearance: Appearance) -> Image:
    """Apply blur, noise and compression, each to its share of pictures."""
    if rng.random() < appearance.motion_blur:
        image = motion_blur(rng, image, appearance.motion_px)
    if rng.random() < appearance.noise:
        image = add_noise(rng, image, rng.uniform(2, 12))
    if rng.random() < appearance.jpeg:
        image = compress(image, int(rng.integers(20, 70)))
    return image
