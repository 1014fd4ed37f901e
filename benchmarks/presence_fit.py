"""Fit the two numbers that turn a relative score into the probability that the target is there.

python benchmarks/presence_fit.py BUNDLE --train ../shared/train

Pairs: the first crop of a track against later ones of the same track, and against crops of other sources. The usual
score of a target is the best of its second and third crop. Never uses the evaluation sequences.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from siamedge.runtime.bundle import Bundle
from siamedge.runtime.geometry import Box
from siamedge.runtime.picking import open_tracker, pick
from siamedge.runtime.presence import log_odds
from siamedge.runtime.recordings import read_image


def measure(searcher: object, root: Path, image: str, box: Box, first: np.ndarray) -> tuple[float, float]:
    """Log-odds of the best place and its cosine to the first template."""
    picture = read_image(root / image)
    seen = searcher.look(picture, box)
    return log_odds(seen.score), float(searcher.signature(picture, seen.box) @ first)


def pairs(searcher: object, root: Path, tracks: int) -> tuple[np.ndarray, np.ndarray]:
    """Relative log-odds and cosine, (N, 2): same object; other scenes."""
    rows = [json.loads(line) for line in (root / "annotations.jsonl").read_text().splitlines()]
    by_track = defaultdict(list)
    for row in rows:
        if row["track"]:
            by_track[row["track"]].append(row)
    keys = [key for key, crops in by_track.items() if len(crops) >= 5]
    random = np.random.default_rng(0)
    random.shuffle(keys)
    same, other = [], []
    for key in keys[:tracks]:
        crops = sorted(by_track[key], key=lambda row: row["frame"])
        box = Box(*crops[0]["box"])
        picture = read_image(root / crops[0]["image"])
        searcher.init(picture, box)
        first = searcher.signature(picture, box)
        early = np.array([measure(searcher, root, r["image"], Box(*r["box"]), first) for r in crops[1:3]])
        usual = np.maximum(early.max(0), (2.0, 0.1))
        for row in crops[3:9]:
            same.append(measure(searcher, root, row["image"], Box(*row["box"]), first) / usual)
            stranger = rows[random.integers(len(rows))]
            while stranger["source"] == row["source"]:
                stranger = rows[random.integers(len(rows))]
            other.append(measure(searcher, root, stranger["image"], box, first) / usual)
    return np.array(same), np.array(other)


def fit_logistic(same: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Offset and slope by Newton's method, ridge 0.5."""
    values = np.clip(np.concatenate([same, other]), -0.5, 1.3)
    inputs = np.column_stack([np.ones(len(values)), values])
    truth = np.arange(len(values)) < len(same)
    weights = np.zeros(2)
    for _ in range(100):
        guess = 1 / (1 + np.exp(-inputs @ weights))
        curvature = inputs.T @ (inputs * (guess * (1 - guess))[:, None]) + 0.5 * np.eye(2)
        weights -= np.linalg.solve(curvature, inputs.T @ (guess - truth) + 0.5 * weights)
    return weights


def main() -> None:
    """Print the fit and what the other thresholds mean on the same pairs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--tracks", type=int, default=220)
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    searcher = open_tracker(bundle, pick(bundle, backend="onnxruntime", precision=options.precision).choice)
    same, other = pairs(searcher, options.train, options.tracks)
    offset, slope = fit_logistic(same[:, 0], other[:, 0])
    print(f"{len(same)} + {len(other)} pairs: offset {offset:.2f}, slope {slope:.2f}")
    for score, likeness in ((0.31, 0.75), (0.5, 0.75)):
        gone = [((a[:, 0] < score) & (a[:, 1] < likeness)).mean() for a in (same, other)]
        there = [((a[:, 0] >= score) & (a[:, 1] >= likeness)).mean() for a in (same, other)]
        print(
            f"below {score} and {likeness}: same {gone[0]:.3f}, other {gone[1]:.3f}; "
            f"above both: same {there[0]:.3f}, other {there[1]:.3f}"
        )


if __name__ == "__main__":
    main()
