"""Fit what a network's raw score says about the presence of its target, and put it where exports find it.

python benchmarks/presence_fit.py BUNDLE --clips FOLDER [--precision fp32] [--write FILE]

FILE is export/families/weights/presence.json: exports of those weights carry the fit from then on. FOLDER holds
annotated clips (NAME/img, NAME/groundtruth.txt), none of them an evaluation sequence. Each gives scenes in which the
target is gone for a while, and scenes in which it is hard to see (benchmarks/presence_scenes.py). A logistic regression
of presence on score and change of score is fitted on all clips; the ROC-AUC that is printed is that of clips left out.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, cast

import cv2
import numpy as np
from presence_scenes import AWAY, HARD, Clip, load

from siamedge.runtime.backends.backend import Precision
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.bundles.picking import open_tracker, pick
from siamedge.runtime.geometry import Box, intersection_over_union
from siamedge.runtime.tracking.evidence import FIRST_FRAMES, PresenceFit, log_odds
from siamedge.runtime.tracking.looks import Searcher

ON_TARGET, FOLDS, RIDGE, BEFORE, SPAN = 0.3, 7, 1.0, 30, 50
STEADY = tuple(kind for kind, name in enumerate(HARD) if name in ("plain", "spin", "small"))
"""Scenes without jumps of the target or the camera."""


class Row(NamedTuple):
    """One followed frame: log-odds of its score, the usual, looks, overlap (nan: absent)."""

    clip: int
    kind: int
    x: float
    usual: float
    likeness: float
    overlap: float
    sameness: float


def shortened(clip: Clip) -> Clip:
    """The middle of a clip, where its target goes and comes back."""
    first = max(0, len(clip.images) // 2 - BEFORE)
    return Clip(clip.name, clip.images[first : first + SPAN + BEFORE], clip.boxes[first : first + SPAN + BEFORE])


def follow(searcher: Searcher, clip: Clip, number: int, kind: int) -> Iterator[Row]:
    """The rows of one scene, its tracker running on while the target is gone."""
    searcher.init(clip.images[0], Box(*clip.boxes[0]))
    first = searcher.signature(searcher.crop(clip.images[0], Box(*clip.boxes[0])))
    usual, usual_cosine, last = -np.inf, 0.1, first
    for k, (image, truth) in enumerate(zip(clip.images[1:], clip.boxes[1:], strict=True)):
        result = searcher.update(image)
        x, looked = log_odds(result.score), searcher.signature(searcher.crop(image, result.box))
        cosine, same, last = float(looked @ first), float(looked @ last), looked
        if k < FIRST_FRAMES:
            usual, usual_cosine = max(usual, x), max(usual_cosine, cosine)
        overlap = intersection_over_union(result.box, Box(*truth)) if not np.isnan(truth).any() else np.nan
        yield Row(number, kind, x, usual, cosine / usual_cosine, overlap, same)


def collect(searcher: Searcher, folders: list[Path]) -> np.ndarray:
    """Rows of all scenes, (N, 7)."""
    rows: list[Row] = []
    for number, folder in enumerate(folders):
        clip, other = load(folder), load(folders[(number + len(folders) // 2) % len(folders)])
        for kind, make in enumerate([*HARD.values(), *AWAY.values()]):
            made = make(clip if kind < len(HARD) else shortened(clip), other)
            rows += follow(searcher, made, number, kind)
    return np.array(rows)


def logistic(inputs: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted logistic regression with an intercept, by Newton's method."""
    columns = np.column_stack([np.ones(len(inputs)), inputs])
    found, ridge = np.zeros(columns.shape[1]), RIDGE * np.diag([1e-3, 1.0, 1.0])
    for _ in range(60):
        guess = 1 / (1 + np.exp(-columns @ found))
        curvature = columns.T @ (columns * (weights * guess * (1 - guess))[:, None]) + ridge
        found -= np.linalg.solve(curvature, columns.T @ (weights * (guess - truth)) + ridge @ found)
    return found


def fit(rows: np.ndarray) -> np.ndarray:
    """Offset, level, change; frames on which the tracker had lost a target that was there are left out.

    Where a loss of score would count for presence, the score alone is fitted.
    """
    here, away = rows[:, 5] > ON_TARGET, np.isnan(rows[:, 5])
    used = rows[here | away]
    truth = ~np.isnan(used[:, 5])
    weights = np.where(truth, 0.5 / truth.sum(), 0.5 / (~truth).sum()) * len(used)
    inputs = np.column_stack([used[:, 2], used[:, 2] - used[:, 3]])
    found = logistic(inputs, truth.astype(float), weights)
    if found[2] >= 0:
        return found
    return logistic(inputs * (1, 0), truth.astype(float), weights)  # the ridge holds the second weight at zero


def evidence(rows: np.ndarray, found: np.ndarray) -> np.ndarray:
    """As siamedge.runtime.tracking.evidence has it, without bounds."""
    return np.asarray(found[0] + found[1] * rows[:, 2] + found[2] * (rows[:, 2] - rows[:, 3]))


def roc_auc(high: np.ndarray, low: np.ndarray) -> float:
    """Share of pairs in the right order, ties half."""
    low = np.sort(low)
    return float(np.mean((np.searchsorted(low, high, "left") + np.searchsorted(low, high, "right")) / 2 / len(low)))


def left_out_auc(rows: np.ndarray) -> float:
    """ROC-AUC, present (followed or not) against absent, of the clips that a fit has not seen."""
    scores = np.zeros(len(rows))
    for fold in range(FOLDS):
        is_out = rows[:, 0] % FOLDS == fold
        if is_out.any():
            scores[is_out] = evidence(rows[is_out], fit(rows[~is_out]))
    away = np.isnan(rows[:, 5])
    return roc_auc(scores[~away], scores[away])


def fit_bundle(bundle: Bundle, precision: Precision, folders: list[Path]) -> PresenceFit:
    """Fit one precision, and print how well it tells."""
    tracker = open_tracker(bundle, pick(bundle, backend="onnxruntime", precision=precision).choice)
    rows = collect(cast(Searcher, tracker), folders)
    here, away = rows[:, 5] > ON_TARGET, np.isnan(rows[:, 5])
    offset, level, change = fit(rows)
    if level < 0 or change < 0:
        raise SystemExit(f"{precision}: weights {level:.2f} and {change:.2f}: these scores say nothing of presence")
    alike = float(np.nanquantile(rows[here, 4], 0.02))
    same = float(np.quantile(rows[here & np.isin(rows[:, 1], STEADY), 6], 0.003))
    kept = PresenceFit(*(round(float(value), 3) for value in (offset, level, change, alike, same)))
    strange = float(np.nanmean(rows[away, 4] >= kept.alike_above))
    print(f"{precision}: {kept}")
    print(
        f"  {here.sum()} frames on target, {away.sum()} without: ROC-AUC {left_out_auc(rows):.4f} on clips left out; "
        f"without a target {strange:.2f} of the boxes are as alike, "
        f"and {first_gone(rows, kept.same_above):.2f} of the first ones are the same"
    )
    return kept


def first_gone(rows: np.ndarray, same_above: float) -> float:
    """Share of the disappearances whose first frame shows no break."""
    away = np.isnan(rows[:, 5])
    onset = away & ~np.roll(away, 1)
    return float(np.mean(rows[onset, 6] >= same_above))


def main() -> None:
    """Fit each precision, and write the file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--precision", action="append")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    bundle = Bundle.open(options.bundle)
    folders = [folder for folder in sorted(options.clips.iterdir()) if (folder / "groundtruth.txt").is_file()]
    fits = {name: fit_bundle(bundle, name, folders)._asdict() for name in options.precision or ["fp32"]}
    if options.write:
        known = json.loads(options.write.read_text()) if options.write.is_file() else {}
        known.setdefault(bundle.manifest.provenance.checkpoint_sha256, {}).update(fits)
        options.write.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
