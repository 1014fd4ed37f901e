"""A scene with an exact answer, and trackers that need no network."""

from pathlib import Path

import cv2
import numpy as np

from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.tracking.trackers import TrackResult

LENGTH, WIDTH, HEIGHT = 12, 96, 64


def truth_box(frame: int) -> Box:
    """Where the target is, 0-based."""
    return Box(20 + 3 * frame, 18 + 2 * (frame % 3), 16, 12)


def write_scene(folder: Path, seed: int = 0, *, one_based: bool = False) -> Path:
    """Write img/ and groundtruth.txt of a textured patch that moves over noise."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(90, 120, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    patch = rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)
    (folder / "img").mkdir(parents=True)
    rows = []
    for frame in range(LENGTH):
        x, y, w, h = (int(number) for number in truth_box(frame))
        picture = ground.copy()
        picture[y : y + h, x : x + w] = patch
        cv2.imwrite(str(folder / "img" / f"{frame + 1:08d}.png"), picture)
        rows.append(f"{x + one_based},{y + one_based},{w},{h}")
    (folder / "groundtruth.txt").write_text("\n".join(rows) + "\n")
    return folder


class PatchTracker:
    """Finds the first patch again by normalised correlation over the whole frame; counts its updates."""

    def __init__(self) -> None:
        self.updates = 0
        self._patch: Image = np.zeros((1, 1, 3), np.uint8)

    def init(self, frame: Image, box: Box) -> None:
        """Keep the patch."""
        x, y, w, h = (int(number) for number in box)
        self._patch = frame[y : y + h, x : x + w]

    def update(self, frame: Image) -> TrackResult:
        """Give the place of the best match."""
        self.updates += 1
        response = cv2.matchTemplate(frame, self._patch, cv2.TM_CCOEFF_NORMED)
        _, score, _, (x, y) = cv2.minMaxLoc(response)
        height, width = self._patch.shape[:2]
        return TrackResult(Box(x, y, width, height), float(score), lost=score < 0.5)
