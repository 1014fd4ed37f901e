"""How well loss is noticed and undone: ROC-AUC of the state, false loss, re-acquisition, and the change in AUC.

python benchmarks/presence.py BUNDLE --sequences ../shared/sequences

Absent spans: those of the ground truth, and, in each sequence, 25 frames in the middle that are replaced by another
sequence's (scene), by black, or by the last frame before (frozen: the target stays visible, so it counts as present).
"""

from argparse import ArgumentTypeError, Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from clips import Clip, folders_in, load
from presence_regression import roc_auc
from presence_scenes import HARD, Maker, dusk, moved, replaced, scene_of
from script import at_least, parser, run, some_of

from siamedge.runtime.backends.backend import ALL_PRECISIONS, BACKENDS
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.bundles.picking import open_tracker, pick
from siamedge.runtime.geometry import Box, intersection_over_union
from siamedge.runtime.tracking.presence import PresenceTracker
from siamedge.runtime.tracking.trackers import Tracker
from siamedge.runtime.watching import watch

SPAN = 25
THRESHOLDS = np.linspace(0, 1, 21)


@dataclass
class Run:
    """Per frame: was the target there, the probability given, the state, the overlap (nan: absent)."""

    present: np.ndarray
    probability: np.ndarray
    lost: np.ndarray
    overlap: np.ndarray


def scene(clip: Clip, other: Clip) -> Clip:
    """The middle replaced by another clip."""
    return replaced(clip, len(clip.images) // 2, SPAN, scene_of(other, clip))


def black(clip: Clip, other: Clip) -> Clip:
    """The middle black."""
    return replaced(clip, len(clip.images) // 2, SPAN, lambda k: np.zeros_like(clip.images[0]))


def frozen(clip: Clip, other: Clip) -> Clip:
    """The middle a repeated frame, in which the target stays where it was."""
    middle = len(clip.images) // 2
    still = replaced(clip, middle, SPAN, lambda k: clip.images[middle - 1])
    still.boxes[middle : middle + SPAN] = still.boxes[middle - 1]
    return still


KINDS: Mapping[str, Maker] = {**HARD, "scene": scene, "black": black, "frozen": frozen, "moved": moved, "dusk": dusk}
SPLICED = ("plain", "scene", "black", "frozen")


def follow(tracker: Tracker, clip: Clip) -> Run:
    """One pass from the first box."""
    tracker.init(clip.images[0], Box(*clip.boxes[0]))
    rows = []
    for image, truth in zip(clip.images[1:], clip.boxes[1:], strict=True):
        result = tracker.update(image)
        there = not np.isnan(truth).any()
        overlap = intersection_over_union(result.box, Box(*truth)) if there else np.nan
        probability = tracker.probability if isinstance(tracker, PresenceTracker) else 1.0
        rows.append((there, probability, result.lost, overlap))
    columns = np.array(rows, float).T
    return Run(columns[0] == 1, columns[1], columns[2] == 1, columns[3])


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


def tell(name: str, kind: str, run: Run) -> list[int | None]:
    """Print a row; give its returns."""
    seen = returns(run)
    gone = f"lost when away {run.lost[~run.present].mean():.3f}" if (~run.present).any() else ""
    there = run.present
    seen_as = (
        f"overlap {run.overlap[there].mean():.3f} lost when there {run.lost[there].mean():.3f}" if there.any() else ""
    )
    print(
        f"{name[:28]:28} {kind:7} {seen_as}  {gone}",
        end="",
    )
    print(f"  back after {seen}" if seen else "", flush=True)
    return seen


def kinds(text: str) -> list[str]:
    """The type of --kinds: the totals are of plain sequences, so that these are always among them."""
    if "plain" not in (found := some_of(KINDS)(text)):
        raise ArgumentTypeError(f"{text!r} lacks plain, of which the totals are")
    return found


def arguments() -> Namespace:
    found = parser(__doc__)
    found.add_argument("bundle", type=Path)
    found.add_argument("--sequences", type=Path, required=True)
    found.add_argument("--precision", choices=ALL_PRECISIONS, default="fp32")
    found.add_argument("--backend", choices=list(BACKENDS), default="onnxruntime")
    found.add_argument("--kinds", type=kinds, default=",".join(SPLICED), help=f"some of {','.join(KINDS)}")
    found.add_argument("--every", type=at_least(1), default=1, help="only each n-th folder")
    return found.parse_args()


def main() -> None:
    """Print a row a sequence and the totals."""
    options = arguments()
    cv2.setNumThreads(1)
    bundle = Bundle.open(options.bundle)
    choice = pick(bundle, backend=options.backend, precision=options.precision).choice
    plain, watching = open_tracker(bundle, choice), watch(open_tracker(bundle, choice), bundle, choice)
    folders = folders_in(options.sequences)
    totals: dict[str, list[Run]] = {}
    back: list[int | None] = []
    pairs: list[tuple[float, float]] = []
    for place in range(0, len(folders), options.every):
        clip, other = load(folders[place]), load(folders[(place + 3) % len(folders)])
        for kind in options.kinds:
            run = follow(watching, KINDS[kind](clip, other))
            totals.setdefault(kind, []).append(run)
            back += tell(clip.name, kind, run)
        last = totals["plain"][-1]
        if last.present.all():
            # The same frames with the same boxes unless the target was lost once.
            alone = follow(plain, clip) if last.lost.any() else last
            pairs.append((success_auc(alone.overlap), success_auc(last.overlap)))
    summarise(totals, back, pairs)


def summarise(totals: dict[str, list[Run]], back: list[int | None], pairs: list[tuple[float, float]]) -> None:
    """Print the four figures; nan where no sequence tells."""
    always = [run.lost for run in totals["plain"] if run.present.all()]
    false = np.concatenate(always).mean() if always else np.nan
    every = [run for kind, runs in totals.items() if kind != "frozen" for run in runs]
    probability, present = (np.concatenate([getattr(r, name) for r in every]) for name in ("probability", "present"))
    auc = roc_auc(probability[present], probability[~present])
    quick = sum(1 for frames in back if frames is not None and frames <= 15)
    print(f"ROC-AUC {auc:.3f}; false lost {false:.4f} of frames; back within 15 frames {quick} of {len(back)}")
    before, after = np.mean(pairs, axis=0) if pairs else (np.nan, np.nan)
    print(f"success AUC of {len(pairs)} always-present sequences: plain {before:.4f}, watching {after:.4f}")


if __name__ == "__main__":
    run(main)
