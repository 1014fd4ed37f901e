"""Fit what a network's raw score says about the presence of its target, and put it where exports find it.

python benchmarks/presence_fit.py BUNDLE --clips FOLDER [--precision fp32] [--write FILE]

FILE is export/families/weights/presence.json: exports of those weights carry the fit from then on. FOLDER holds
annotated clips (NAME/img, NAME/groundtruth.txt), none of them an evaluation sequence. Each gives scenes in which the
target is gone for a while, and scenes in which it is hard to see (benchmarks/presence_scenes.py). A logistic regression
of presence on score and change of score is fitted on all clips; the ROC-AUC that is printed is that of clips left out.
"""

import json
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, cast

import cv2
import numpy as np
from clips import Clip, folders_in, load
from presence_regression import ON_TARGET, fit, left_out_auc
from presence_scenes import AWAY, HARD
from script import parser, run

from siamedge.runtime.backends.backend import ALL_PRECISIONS, Precision
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.bundles.picking import open_tracker, pick
from siamedge.runtime.geometry import Box, intersection_over_union
from siamedge.runtime.places import write_whole
from siamedge.runtime.tracking.evidence import FIRST_FRAMES, PresenceFit, log_odds
from siamedge.runtime.tracking.looks import Searcher

BEFORE, SPAN = 30, 50
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


def arguments() -> Namespace:
    found = parser(__doc__)
    found.add_argument("bundle", type=Path)
    found.add_argument("--clips", type=Path, required=True)
    found.add_argument("--precision", action="append", choices=ALL_PRECISIONS, help="default: fp32")
    found.add_argument("--write", type=Path)
    return found.parse_args()


def main() -> None:
    """Fit each precision, and write the file."""
    options = arguments()
    cv2.setNumThreads(1)
    bundle = Bundle.open(options.bundle)
    folders = folders_in(options.clips)
    fits = {name: fit_bundle(bundle, name, folders)._asdict() for name in options.precision or ["fp32"]}
    if options.write:
        known = json.loads(options.write.read_text()) if options.write.is_file() else {}
        known.setdefault(bundle.manifest.provenance.checkpoint_sha256, {}).update(fits)
        write_whole(options.write, (json.dumps(known, indent=1, sort_keys=True) + "\n").encode())


if __name__ == "__main__":
    run(main)
