"""Scenes made from annotated clips: the target goes and comes back, or is there and hard to see."""

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from clips import Clip

from siamedge.runtime.geometry import Image

SPIN_DEG_A_FRAME = 4.0
SMALL_SIDE_PX = 14.0
HARD_FRAMES = 60


Maker = Callable[[Clip, Clip], Clip]


def replaced(clip: Clip, first: int, frames: int, make: Callable[[int], Image | None]) -> Clip:
    """A clip with a span of frames replaced; None leaves a frame as it is. The target is absent there."""
    images, boxes = list(clip.images), clip.boxes.copy()
    for k in range(first, min(first + frames, len(images))):
        made = make(k)
        images[k] = images[k] if made is None else made
        boxes[k] = np.nan
    return Clip(clip.name, images, boxes)


def scene_of(other: Clip, clip: Clip) -> Callable[[int], Image]:
    """Another clip's frames in the size of this one's."""
    height, width = clip.images[0].shape[:2]
    return lambda k: np.asarray(cv2.resize(other.images[k % len(other.images)], (width, height)), np.uint8)


def without_target(image: Image, box: np.ndarray) -> Image:
    """The frame with its target hidden under the scenery beside it, its edges feathered."""
    height, width = image.shape[:2]
    x, y, w, h = box
    x0, y0 = max(0, int(x - 0.15 * w)), max(0, int(y - 0.15 * h))
    x1, y1 = min(width, int(x + 1.15 * w)), min(height, int(y + 1.15 * h))
    w, h = x1 - x0, y1 - y0
    beside = [(x0 + w, y0), (x0 - w, y0), (x0, y0 + h), (x0, y0 - h)]
    free = [(u, v) for u, v in beside if 0 <= u <= width - w and 0 <= v <= height - h]
    out = image.copy()
    if min(w, h) < 4:
        return out
    patch = image[free[0][1] : free[0][1] + h, free[0][0] : free[0][0] + w] if free else np.full((h, w, 3), 127)
    edge = max(1, min(h, w) // 12)
    weight = np.zeros((h, w), np.float32)
    weight[edge:-edge, edge:-edge] = 1
    weight = cv2.blur(weight, (2 * edge + 1, 2 * edge + 1))[..., None]
    out[y0:y1, x0:x1] = (weight * patch + (1 - weight) * image[y0:y1, x0:x1]).astype(np.uint8)
    return out


def gone(clip: Clip, other: Clip) -> Clip:
    """Twenty frames in which the target is hidden."""
    first = len(clip.images) // 2
    return replaced(clip, first, 20, lambda k: without_target(clip.images[k], clip.boxes[k]))


def scene(clip: Clip, other: Clip) -> Clip:
    """Twenty frames of another clip."""
    return replaced(clip, len(clip.images) // 2, 20, scene_of(other, clip))


def black(clip: Clip, other: Clip) -> Clip:
    """Ten black frames."""
    return replaced(clip, len(clip.images) // 2, 10, lambda k: np.zeros_like(clip.images[0]))


def moved(clip: Clip, other: Clip) -> Clip:
    """Another clip's frames; then the target comes back one and a half of its sides away."""
    first = len(clip.images) // 2
    away = replaced(clip, first, 20, scene_of(other, clip))
    images, boxes = away.images, away.boxes
    height, width = images[0].shape[:2]
    angle = 2.4 * len(clip.name)
    reach = 1.5 * float(np.sqrt(boxes[first - 1][2] * boxes[first - 1][3]))
    shift = np.array([reach * np.cos(angle), reach * np.sin(angle)])
    for k in range(first + 20, len(images)):
        images[k] = shifted(images[k], shift)
        boxes[k, :2] += shift
        x, y = boxes[k, :2] + boxes[k, 2:] / 2
        if not (0 <= x < width and 0 <= y < height):
            boxes[k] = np.nan
    return away


def dusk(clip: Clip, other: Clip) -> Clip:
    """The light fades to a third while the target is followed, and stays so while it is away and when it is back."""
    images = []
    for k, image in enumerate(clip.images):
        light = max(0.33, 1 - 0.67 * k / max(1, len(clip.images) // 3))
        images.append(np.asarray(cv2.convertScaleAbs(image, alpha=light), np.uint8))
    return scene(Clip(clip.name, images, clip.boxes), other)


def shifted(image: Image, shift: np.ndarray) -> Image:
    """The frame moved, its border mirrored."""
    turn = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
    return np.asarray(cv2.warpAffine(image, turn, image.shape[1::-1], borderMode=cv2.BORDER_REFLECT), np.uint8)


def fast(clip: Clip, other: Clip) -> Clip:
    """Every fourth frame."""
    return Clip(clip.name, clip.images[::4], clip.boxes[::4])


def spin(clip: Clip, other: Clip) -> Clip:
    """The frame turns around the target."""
    images: list[Image] = []
    boxes = []
    for k, (image, (x, y, w, h)) in enumerate(zip(clip.images[:HARD_FRAMES], clip.boxes, strict=False)):
        angle, center = SPIN_DEG_A_FRAME * k, (x + w / 2, y + h / 2)
        turn = cv2.getRotationMatrix2D(center, angle, 1)
        turned = cv2.warpAffine(image, turn, image.shape[1::-1], borderMode=cv2.BORDER_REFLECT)
        images.append(np.asarray(turned, np.uint8))
        c, s = abs(np.cos(np.deg2rad(angle))), abs(np.sin(np.deg2rad(angle)))
        wide, high = w * c + h * s, w * s + h * c
        boxes.append((center[0] - wide / 2, center[1] - high / 2, wide, high))
    return Clip(clip.name, images, np.array(boxes))


def small(clip: Clip, other: Clip) -> Clip:
    """The clip shrunk until its target is SMALL_SIDE_PX wide."""
    scale = min(1.0, SMALL_SIDE_PX / float(np.sqrt(clip.boxes[0][2] * clip.boxes[0][3])))
    images = [
        np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        for image in clip.images[:HARD_FRAMES]
    ]
    return Clip(clip.name, images, clip.boxes[:HARD_FRAMES] * scale)


def shake(clip: Clip, other: Clip) -> Clip:
    """A camera in an unsteady hand: jumps of a third of the target's side, with the blur that they cause."""
    random = np.random.default_rng(len(clip.name))
    side = float(np.sqrt(clip.boxes[0][2] * clip.boxes[0][3]))
    images, boxes = [clip.images[0]], [clip.boxes[0]]
    for image, box in zip(clip.images[1:HARD_FRAMES], clip.boxes[1:], strict=False):
        shift = random.normal(0, 0.35 * side, 2)
        images.append(np.asarray(cv2.filter2D(shifted(image, shift), -1, motion_kernel(shift)), np.uint8))
        boxes.append(box + np.array([*shift, 0, 0]))
    return Clip(clip.name, images, np.array(boxes))


def motion_kernel(shift: np.ndarray) -> np.ndarray:
    """A line as long as six tenths of a shift, 3 to 41 pixels, sum 1."""
    length = int(max(3, min(41, 0.6 * np.hypot(*shift)))) | 1
    unit = shift / max(1e-6, np.hypot(*shift)) * (length // 2)
    middle, kernel = length // 2, np.zeros((length, length), np.float32)
    ends = [(round(middle + sign * unit[0]), round(middle + sign * unit[1])) for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], (1.0,))
    return np.asarray(kernel / kernel.sum())


AWAY: Mapping[str, Maker] = {"scene": scene, "black": black, "gone": gone, "moved": moved, "dusk": dusk}
HARD: Mapping[str, Maker] = {
    "plain": lambda clip, other: clip,
    "fast": fast,
    "spin": spin,
    "small": small,
    "shake": shake,
}
