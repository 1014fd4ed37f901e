"""Make clips harder: `roll`, the camera turns; `low`, a target of 24 px and an unsteady camera; `s4`, every 4th frame.

    python benchmarks/harder_scenes.py CLIPS OUT
    siamedge eval model.siamedge OUT/roll

CLIPS are folders with img/ and groundtruth.txt, nan where there is no box. Beyond the edges of a moved
picture it is mirrored. The box of a turned target is the bounds of the turned ellipse that fills its box.
"""

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from clips import Clip, asked, load, write
from pasted_scenes import ELLIPSE
from script import run

from siamedge.runtime.geometry import Image

Scene = list[tuple[Image, np.ndarray]]
ROLL_DEG, ROLL_PERIOD = (40, 70), (50, 90)
LOW_PX, SHAKE_PX, SHAKE_MEMORY = 24, 2.5, 0.6
FEWEST = 8
"""Frames with a box that a scene has at least."""
NOWHERE = np.full(4, np.nan)


def moved(image: Image, matrix: np.ndarray) -> Image:
    """Map a picture by a (2, 3) matrix, in its own size."""
    return np.asarray(cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=cv2.BORDER_REFLECT_101), np.uint8)


def roll(clip: Clip, random: np.random.Generator) -> Scene:
    """The camera turns to and fro about its axis, by 40 to 70 degrees in 50 to 90 frames."""
    most, period = random.uniform(*ROLL_DEG) * random.choice([-1, 1]), random.uniform(*ROLL_PERIOD)
    size = np.array(clip.images[0].shape[1::-1])
    scene = []
    for number, (image, box) in enumerate(zip(clip.images, clip.boxes, strict=True)):
        angle = most * np.sin(2 * np.pi * number / period)
        matrix = cv2.getRotationMatrix2D(tuple((size / 2).tolist()), angle, 1.0)
        scene.append((moved(image, matrix), turned_box(box, matrix, size)))
    return scene


def turned_box(box: np.ndarray, matrix: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Bounds within the picture of the mapped ellipse, x, y, w, h; nan where its middle is outside."""
    if np.isnan(box).any():
        return NOWHERE
    outline = cv2.transform((ELLIPSE * box[2:] + box[:2] + box[2:] / 2)[None], matrix)[0]
    low, high = outline.min(axis=0), outline.max(axis=0)
    middle = (low + high) / 2
    if (middle <= 0).any() or (middle >= size).any():
        return NOWHERE
    low, high = np.clip(low, 0, size), np.clip(high, 0, size)
    return np.array([*low, *(high - low)])


def low(clip: Clip, random: np.random.Generator) -> Scene:
    """The first box's side, the root of its area, becomes 24 px at most, and the camera shakes."""
    scale = min(1.0, LOW_PX / np.sqrt(clip.boxes[0, 2] * clip.boxes[0, 3]))
    size = np.array(clip.images[0].shape[1::-1])
    smaller = np.maximum(32, (size * scale).astype(int))
    shift, scene = np.zeros(2), []
    for image, box in zip(clip.images, clip.boxes, strict=True):
        shift = SHAKE_MEMORY * shift + random.normal(0.0, SHAKE_PX, 2)
        small = np.asarray(cv2.resize(image, tuple(smaller.tolist()), interpolation=cv2.INTER_AREA), np.uint8)
        place = np.concatenate([box[:2] * smaller / size + shift, box[2:] * smaller / size])
        scene.append((moved(small, np.column_stack([np.eye(2), shift])), place))
    return scene


def every_fourth(clip: Clip, _: np.random.Generator) -> Scene:
    """What a tracker sees that is four times too slow."""
    return list(zip(clip.images[::4], clip.boxes[::4], strict=True))


SUITES: Mapping[str, Callable[[Clip, np.random.Generator], Scene]] = {"roll": roll, "low": low, "s4": every_fourth}


def main() -> None:
    """Write the three suites, a scene for each clip."""
    names, out = asked(__doc__, tuple(SUITES))
    cv2.setNumThreads(1)
    left_out = []
    for number, name in enumerate(names):
        clip = load(name)
        for suite, make in SUITES.items():
            scene = make(clip, np.random.default_rng(number))
            seen = [not np.isnan(box).any() for _, box in scene]
            if seen[0] and sum(seen) >= FEWEST:
                write(out / suite / f"{number:03d}", scene)
            else:
                left_out.append(f"{suite} of {clip.name} ({sum(seen)})")
        print(f"{number + 1} of {len(names)}", flush=True)
    if left_out:
        print(f"no box in the first frame, or fewer than {FEWEST}, left out: {', '.join(left_out)}")


if __name__ == "__main__":
    run(main)
