"""Write scenes in which an object of one clip moves through another clip: `move`, and `turn`, where it turns as well.

    python benchmarks/pasted_scenes.py CLIPS OUT
    siamedge eval model.siamedge OUT/turn

CLIPS are folders with img/ and groundtruth.txt. From frame to frame the object is the one of its own
clip's frame, cut out along its outline (GrabCut; an ellipse where that fails), so that it changes its shape; it goes
its own way, smeared by its speed, grows and shrinks by a third. What is around it in the first frame is elsewhere soon,
and it passes in front of the other clip's objects. The truth is exact: the bounds of the outline.
"""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from clips import Clip, asked, load, write
from script import run

from siamedge.runtime.geometry import Box, Image
from siamedge.training.crops.cutouts import object_outline
from siamedge.training.crops.store import Crop

SUITES = ("move", "turn")
FRAMES = (50, 90)
"""Fewest and most of a scene."""
LONGEST_SIDE_PX = 480
CUT_PX = 180
"""Longer side of a cut-out with what is around it."""
ELLIPSE = np.stack([f(np.linspace(0, 2 * np.pi, 32, endpoint=False)) for f in (np.cos, np.sin)], axis=1) / 2


class Cutout(NamedTuple):
    """A part of a frame with an object: (K, 2) outline and box in its pixels."""

    image: Image
    outline: np.ndarray
    box: Box


class Path2D(NamedTuple):
    """How an object goes through a scene: px and radians a frame, degrees."""

    side: float
    reach: tuple[float, float]
    speed: tuple[float, float]
    phase: tuple[float, float]
    spin_deg: float
    swing_deg: float
    period: float

    def angle(self, frame: int) -> float:
        """Turned by so many degrees: on and on, or to and fro."""
        return self.spin_deg * frame or self.swing_deg * float(np.sin(2 * np.pi * frame / self.period))

    def place(self, frame: int) -> np.ndarray:
        """From the middle of the scene, (2,) px."""
        return np.array(self.reach) * np.sin(np.array(self.speed) * frame + self.phase)


def draw_path(random: np.random.Generator, size: tuple[int, int], *, is_turning: bool) -> Path2D:
    """A path through a picture of (width, height)."""
    side, speed, phase = random.uniform(28, 70), random.uniform(0.05, 0.16, 2), random.uniform(0, 2 * np.pi, 2)
    spin, swing = random.uniform(1, 7) * random.choice([-1, 1]), random.uniform(20, 180)
    turns = (spin, 0.0) if random.random() < 0.5 else (0.0, swing)
    spin_deg, swing_deg = turns if is_turning else (0.0, 0.0)
    reach = (0.33 * size[0], 0.3 * size[1])
    return Path2D(side, reach, tuple(speed), tuple(phase), spin_deg, swing_deg, random.uniform(30, 80))


def cut_out(frame: Image, box: np.ndarray) -> Cutout | None:
    """Cut an object out of a frame; None where its box is too small or outside."""
    (x, y, w, h), (height, width) = box, frame.shape[:2]
    margin = 0.35 * (w + h) / 2
    x0, y0 = max(0, int(x - margin)), max(0, int(y - margin))
    part = frame[y0 : min(height, int(y + h + margin)), x0 : min(width, int(x + w + margin))]
    if min(part.shape[:2]) < 12:
        return None
    scale = CUT_PX / max(part.shape[:2])
    part = np.asarray(cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    inner = Box((x - x0) * scale, (y - y0) * scale, w * scale, h * scale)
    outline = object_outline(Crop("", part, inner, (0, 0, part.shape[1], part.shape[0]), "", "", "", 0))
    if outline is None:
        outline = (ELLIPSE * (inner.w, inner.h) + inner.center).astype(np.float32)
    return Cutout(part, outline, inner)


def lay(cutout: Cutout, under: Image, matrix: np.ndarray, smear: np.ndarray) -> Image:
    """Lay an object over a picture, mapped by a (2, 3) matrix and smeared along a (2,) way in px."""
    size = under.shape[1::-1]
    mask = cv2.fillPoly(np.zeros(cutout.image.shape[:2], np.float32), [cutout.outline.round().astype(np.int32)], 1.0)
    cover = cv2.GaussianBlur(cv2.warpAffine(mask, matrix, size), (0, 0), 1.0)[..., None]
    layer = cv2.warpAffine(cutout.image, matrix, size) * cover
    reach = int(np.hypot(*smear))
    if reach >= 3:
        line = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
        start, end = ([int(value) for value in reach + sign * smear / 2] for sign in (-1, 1))
        cv2.line(line, start, end, (1.0,))
        line /= line.sum()
        layer = np.asarray(cv2.filter2D(layer, -1, line))
        cover = np.asarray(cv2.filter2D(cover, -1, line))[..., None]
    return np.clip(layer + under * (1 - cover), 0, 255).astype(np.uint8)


def scene(clip: Clip, behind: Clip, path: Path2D) -> Iterator[tuple[Image, np.ndarray]]:
    """Frames and boxes x, y, w, h: the object of one clip before another one, which runs at half speed, to and fro."""
    there_and_back = [*behind.images, *behind.images[-2:0:-1]]
    cutout = None
    for frame in range(min(FRAMES[1], len(clip.images), 2 * len(behind.images))):
        if not np.isnan(clip.boxes[frame]).any():
            cutout = cut_out(clip.images[frame], clip.boxes[frame]) or cutout
        if cutout is None:
            return
        under = shrunk(there_and_back[frame // 2 % len(there_and_back)])
        scale = path.side / np.sqrt(cutout.box.w * cutout.box.h) * np.exp(0.3 * np.sin(frame / 8.4))
        matrix = cv2.getRotationMatrix2D(tuple(cutout.box.center), path.angle(frame), scale)
        matrix[:, 2] += np.array(under.shape[1::-1]) / 2 + path.place(frame) - cutout.box.center
        low, high = (f(cv2.transform(cutout.outline[None], matrix)[0], axis=0) for f in (np.min, np.max))
        smear = (path.place(frame + 1) - path.place(frame)) / 2
        yield lay(cutout, under, matrix, smear), np.array([*low, *(high - low)])


def shrunk(image: Image) -> Image:
    """With no side longer than LONGEST_SIDE_PX."""
    scale = min(1.0, LONGEST_SIDE_PX / max(image.shape[:2]))
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def main() -> None:
    """Write both suites, one scene for each clip that is long enough."""
    names, out = asked(__doc__, SUITES)
    cv2.setNumThreads(1)
    short = []
    for number, name in enumerate(names):
        clip, behind = load(name), load(names[(number + len(names) // 2) % len(names)])
        size = shrunk(behind.images[0]).shape[1::-1]
        for suite in SUITES:
            path = draw_path(np.random.default_rng(number), size, is_turning=suite == "turn")
            frames = list(scene(clip, behind, path))
            if len(frames) >= FRAMES[0]:
                write(out / suite / f"{number:02d}", frames)
            else:
                short.append(f"{suite} of {name.name} ({len(frames)})")
        print(f"{number + 1} of {len(names)}", flush=True)
    if short:
        print(f"fewer than {FRAMES[0]} frames, left out: {', '.join(short)}")


if __name__ == "__main__":
    run(main)
