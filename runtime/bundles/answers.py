"""What a bundle's models gave for a few crops where they were exported: does a device compute the same?

A library that loads a model and runs it may still compute something else than where the model was verified: sums that
saturate on an older processor, an operator that a driver gets wrong. The crops and the answers travel in the bundle.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from siamedge.runtime.backends.backend import Format, Precision, Session
from siamedge.runtime.bundles.bundle import AGAIN, Bundle
from siamedge.runtime.errors import BackendError, BundleError
from siamedge.runtime.geometry import FloatArray
from siamedge.runtime.tracking.online import FEATURES
from siamedge.runtime.tracking.params import AnchorFreeParams, TrackerParams
from siamedge.runtime.tracking.responses import Outputs, edges_apart, lost_at_peak, respond, score_map

ANSWERS = "answers.npz"
"""In a bundle, among its documents."""
CROPS = ("templates", "searches", "pairs")
NEAR_PEAK = 0.02
"""Two cells that were ranked so alike, as a share of the map's range, are one peak."""
EDGES_PX = 0.15
"""Mean distance of box edges, search-crop pixels. Equal arithmetic gives 0 to .01; docs/bundle.md has figures."""
FEATURES_APART = 0.1
"""Root mean square of a difference of features, over theirs. Equal arithmetic gives 0; int8 is .05 from fp32."""


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Crops, and what was given for them.

    Attributes:
        templates: (N, Z, Z, 3) uint8, BGR.
        searches: (M, X, X, 3) uint8, BGR.
        pairs: (M,) int64; the target in search i is that of template pairs[i].
        given: "FORMAT-PRECISION/OUTPUT" to (M, C, H, W) float32, in the order of the outputs; features, which are
            large, of the first search crop alone, (1, C, H, W).
    """

    templates: NDArray[np.uint8]
    searches: NDArray[np.uint8]
    pairs: NDArray[np.int64]
    given: Mapping[str, NDArray[np.float32]]

    def of(self, kind: tuple[Format, Precision]) -> tuple[Outputs, ...]:
        """What a format and precision gave for each search crop; nothing if it was not asked."""
        prefix = "-".join(kind) + "/"
        maps = {key.removeprefix(prefix): value for key, value in self.given.items() if key.startswith(prefix)}
        count = len(self.searches) if maps else 0
        return tuple({name: value[i] for name, value in maps.items() if i < len(value)} for i in range(count))

    @property
    def content(self) -> bytes:
        """As a file of a bundle."""
        file = io.BytesIO()
        crops = {name: getattr(self, name) for name in CROPS}
        np.savez_compressed(file, allow_pickle=False, **crops, **self.given)
        return file.getvalue()


def read_answers(bundle: Bundle) -> Answers | None:
    """Read a bundle's answers; None if it carries none.

    Raises:
        BundleError: The file is damaged, or holds something else.
    """
    content = bundle.document(ANSWERS)
    if content is None:
        return None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        templates, searches, pairs = (arrays.pop(name) for name in CROPS)
        return Answers(templates, searches, pairs, arrays)
    except (KeyError, OSError, ValueError, BadZipFile, EOFError) as error:
        raise BundleError(f"{bundle.path.name}: {ANSWERS} holds no answers ({error})", hint=AGAIN) from error


def as_given(kind: tuple[Format, Precision], outputs: Sequence[Outputs]) -> dict[str, NDArray[np.float32]]:
    """Name the outputs for each search crop as Answers.given does."""
    prefix = "-".join(kind)
    kept = {name: outputs[:1] if name == FEATURES else outputs for name in outputs[0]}
    return {f"{prefix}/{name}": np.stack([maps[name] for maps in of]).astype(np.float32) for name, of in kept.items()}


def check_answers(
    answers: Answers, kind: tuple[Format, Precision], sessions: tuple[Session, Session], params: TrackerParams
) -> None:
    """Refuse a pair of loaded models that gives something else than where it was exported.

    Args:
        answers: Of the bundle; those of a kind that it was not asked for are no reason.
        kind: Of the models.
        sessions: Template and search.
        params: Of the tracker.

    Raises:
        BackendError: Outputs are others, peaks or boxes elsewhere, or features others; the message says how many and
            how far.
    """
    given = answers.of(kind)
    if not given:
        return
    _, ours = respond(*sessions, answers)
    pairs = list(zip(ours, given, strict=True))
    if found := _other_shapes(pairs) or _other_values(pairs, params):
        raise BackendError(
            f"{'-'.join(kind)} computes something else here than where it was exported: {', '.join(found)}",
            hint="export the bundle again with this siamedge, or use another precision",
        )


def _other_shapes(pairs: Sequence[tuple[Outputs, Outputs]]) -> list[str]:
    found = dict[str, None]()
    for ours, given in pairs:
        for name in sorted(ours.keys() | given.keys()):
            here, there = (str(maps[name].shape) if name in maps else "missing" for maps in (ours, given))
            if here != there and not (name == FEATURES and name not in given):
                found[f"{name} is {here}, was {there}"] = None
    return list(found)


def _other_values(pairs: Sequence[tuple[Outputs, Outputs]], params: TrackerParams) -> list[str]:
    moved = sum(_is_elsewhere(a, b) for a, b in pairs)
    found = [f"the peak is elsewhere on {moved} of {len(pairs)} crops"] if moved else []
    if isinstance(params, AnchorFreeParams):
        apart = float(np.mean([edges_apart(a, b, params) for a, b in pairs]))
        found += [f"boxes are {apart:.2f} px off, allowed {EDGES_PX:g}"] if apart > EDGES_PX else []
    ours, given = pairs[0]
    if FEATURES in given and not (off := _relative(ours[FEATURES], given[FEATURES])) <= FEATURES_APART:
        found.append(f"features are {100 * off:.0f} % off, allowed {100 * FEATURES_APART:g} %")
    return found


def _is_elsewhere(ours: Outputs, given: Outputs) -> bool:
    return lost_at_peak(ours, given) > NEAR_PEAK * float(np.ptp(score_map(given)))


def _relative(ours: FloatArray, given: FloatArray) -> float:
    return float(np.linalg.norm(ours - given) / max(float(np.linalg.norm(given)), 1e-12))
