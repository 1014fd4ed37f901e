"""How well loss is noticed and undone: ROC-AUC of the state, false loss, re-acquisition, and the change in AUC.

python benchmarks/presence.py BUNDLE --sequences ../shared/sequences

Absent spans: those of the ground truth, and, in each sequence, 25 frames in the middle that are replaced by another
sequence's (scene), by black, or by the last frame before (frozen: the target stays visible, so it counts as present).
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from siamedge.runtime.bundle import Bundle
from siamedge.runtime.geometry import Box, Image, intersection_over_union
from siamedge.runtime.picking import open_tracker, pick
from siamedge.runtime.presence import PresenceTracker
from siamedge.runtime.recordings import list_images, read_image

SPAN = 25
THRESHOLDS = np.linspace(0, 1, 21)


@dataclass
class Run:
    """Per frame: was the target there, the probability given, the state, the overlap (nan: absent)."""

    present: np.ndarray
    probability: np.ndarray
    lost: np.ndarray
    overlap: np.ndarray


def load(folder: Path) -> tuple[list[Image], np.ndarray]:
    """Frames and (N, 4) boxes, 0-based, nan where absent."""
    boxes = np.genfromtxt(folder / "groundtruth.txt", delimiter=",")
    if not folder.name.startswith("DAVIS"):
        boxes[:, :2] -= 1
    return [read_image(path) for path in list_images(folder / "img")], boxes


def with_span(images: list[Image], boxes: np.ndarray, other: list[Image], kind: str) -> tuple[list[Image], np.ndarray]:
    """The sequence with its middle replaced."""
    if kind == "plain":
        return images, boxes
    images, boxes = list(images), boxes.copy()
    middle = len(images) // 2
    height, width = images[0].shape[:2]
    for k in range(middle, min(middle + SPAN, len(images))):
        if kind == "scene":
            images[k] = cv2.resize(other[k % len(other)], (width, height))
        elif kind == "black":
            images[k] = np.zeros_like(images[0])
        else:
            images[k] = images[middle - 1]
        boxes[k] = boxes[middle - 1] if kind == "frozen" else np.nan
    return images, boxes


def follow(tracker: object, images: list[Image], boxes: np.ndarray) -> Run:
    """One pass from the first box."""
    tracker.init(images[0], Box(*boxes[0]))
    rows = []
    for image, truth in zip(images[1:], boxes[1:], strict=True):
        result = tracker.update(image)
        there = not np.isnan(truth).any()
        overlap = intersection_over_union(result.box, Box(*truth)) if there else np.nan
        probability = tracker.probability if isinstance(tracker, PresenceTracker) else 1.0
        rows.append((there, probability, result.lost, overlap))
    columns = np.array(rows, float).T
    return Run(columns[0] == 1, columns[1], columns[2] == 1, columns[3])


def roc_auc(scores: np.ndarray, truth: np.ndarray) -> float:
    """Share of (present, absent) pairs in the right order, ties half."""
    wins = [(scores[truth] > s).mean() + 0.5 * (scores[truth] == s).mean() for s in scores[~truth]]
    return float(np.mean(wins)) if wins else float("nan")


def success_auc(overlap: np.ndarray) -> float:
    """Mean over 21 thresholds of the share of frames above, the first frame counted as 1 (OTB)."""
    whole = np.concatenate([[1.0], overlap[~np.isnan(overlap)]])
    return float(np.mean([(whole > t).mean() for t in THRESHOLDS]))


def returns(run: Run) -> list[int | None]:
    """For each return of a target that was reported lost: frames until it is followed again, None: never within 60."""
    found: list[int | None] = []
    for k in range(1, len(run.present)):
        if run.present[k] and not run.present[k - 1] and run.lost[k - 1]:
            after = range(k, min(k + 60, len(run.present)))
            found.append(next((j - k for j in after if not run.lost[j] and run.overlap[j] > 0.3), None))
    return found


def main() -> None:
    """Print a row a sequence and the totals."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--sequences", type=Path, required=True)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--backend", default="onnxruntime")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    bundle = Bundle.open(options.bundle)
    choice = pick(bundle, backend=options.backend, precision=options.precision).choice
    plain, watching = open_tracker(bundle, choice), PresenceTracker(open_tracker(bundle, choice))
    folders = sorted(folder for folder in options.sequences.iterdir() if folder.is_dir())
    totals: dict[str, list[Run]] = {}
    back: list[int | None] = []
    aucs = []
    for place, folder in enumerate(folders):
        images, boxes = load(folder)
        other, _ = load(folders[(place + 3) % len(folders)])
        for kind in ("plain", "scene", "black", "frozen"):
            run = follow(watching, *with_span(images, boxes, other, kind))
            totals.setdefault(kind, []).append(run)
            seen = returns(run)
            back += seen
            lost = f"lost when there {run.lost[run.present].mean():.3f}"
            gone = f"lost when away {run.lost[~run.present].mean():.3f}" if (~run.present).any() else ""
            print(f"{folder.name:20} {kind:7} {lost}  {gone}  back after {seen}")
        aucs.append((success_auc(follow(plain, images, boxes).overlap), success_auc(totals["plain"][-1].overlap)))
    always = [run for run in totals["plain"] if run.present.all()]
    false = np.concatenate([run.lost for run in always]).mean()
    every = [run for kind in ("plain", "scene", "black") for run in totals[kind]]
    auc = roc_auc(np.concatenate([r.probability for r in every]), np.concatenate([r.present for r in every]))
    before, after = np.mean(aucs, axis=0)
    quick = sum(1 for frames in back if frames is not None and frames <= 15)
    print(f"ROC-AUC {auc:.3f}; false lost {false:.4f} of frames; back within 15 frames {quick} of {len(back)}")
    print(f"success AUC plain {before:.4f}, watching {after:.4f}")


if __name__ == "__main__":
    main()
