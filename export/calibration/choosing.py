"""Chooses the crops of an export: those that int8 is calibrated on, and others that everything is verified on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from siamedge.export.calibration.crop_sets import CalibrationSet
from siamedge.export.calibration.rollout import collect_crops, render_crops
from siamedge.export.checkpoints.reading import default_calibration
from siamedge.export.families.source import SourceNetwork
from siamedge.runtime.errors import ExportError
from siamedge.runtime.sources.source import kind_of_source

CALIBRATION_CROPS = 150
VERIFICATION_CROPS = 500
SYNTHETIC_VERIFICATION_CROPS = 48
SUFFIX = ".npz"
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Crops:
    """What int8 is calibrated on, what everything is verified on, and what the former was taken from."""

    calibration: CalibrationSet | None
    verification: CalibrationSet
    origin: str | None


def choose_crops(
    network: SourceNetwork, calibration: Sequence[str], verification: Sequence[str], progress: Progress, *, int8: bool
) -> Crops:
    """Take crops from the user's videos or sets, else from the scenes that come with siamedge.

    Args:
        network: Whose tracker is rolled out.
        calibration: Videos, folders, or one set that was saved.
        verification: The same, of other clips; none: other targets of the calibration's.
        progress: Told what is being done.
        int8: Whether there is something to calibrate.

    Raises:
        ExportError: A source cannot be read, or a set was cut for another network.
    """
    apart = read_crops(network, verification, VERIFICATION_CROPS, progress, "verification") if verification else None
    if calibration:
        wanted = CALIBRATION_CROPS + (0 if apart else VERIFICATION_CROPS)
        crops = read_crops(network, calibration, wanted, progress)
        names = ", ".join(map(name_of, calibration))
        origin = names if is_set(calibration) else f"rollout on {names}"
        return _crops(crops, apart, VERIFICATION_CROPS, origin, int8=int8)
    progress("rendering crops for the comparison")
    crops = render_crops(network, CALIBRATION_CROPS + SYNTHETIC_VERIFICATION_CROPS)
    chosen = _crops(crops, apart, SYNTHETIC_VERIFICATION_CROPS, "drawn scenes that come with siamedge", int8=int8)
    if chosen.calibration is None:
        return chosen
    return replace(chosen, calibration=chosen.calibration.joined(CalibrationSet.load(default_calibration())))


def name_of(address: str) -> str:
    """How a bundle calls where its crops are from: a file or folder by its name, an address by its kind alone."""
    kind = kind_of_source(address)
    return Path(address).name if kind in ("file", "folder") else f"a {kind}"


def set_beside(checkpoint: Path | None) -> tuple[str, ...]:
    """Give the calibration set that `siamedge train` left beside its weights, STEM.calibration.npz, if there is one."""
    beside = () if checkpoint is None else (checkpoint.with_suffix(f".calibration{SUFFIX}"),)
    return tuple(str(path) for path in beside if path.is_file())


def _crops(crops: CalibrationSet, apart: CalibrationSet | None, count: int, origin: str, *, int8: bool) -> Crops:
    rest, own = (crops, crops) if apart else split(crops, count)
    verification = apart or own
    return Crops(evenly(rest, CALIBRATION_CROPS), verification, origin) if int8 else Crops(None, verification, None)


def is_set(addresses: Sequence[str]) -> bool:
    """Whether a saved set is meant, not videos."""
    return any(address.endswith(SUFFIX) for address in addresses)


def read_crops(
    network: SourceNetwork, addresses: Sequence[str], count: int, progress: Progress, purpose: str = "calibration"
) -> CalibrationSet:
    """Read a saved set, or roll the tracker out.

    Args:
        network: Whose tracker is rolled out.
        addresses: Videos, folders, or one set that was saved.
        count: Crops to take from the former, at most.
        progress: Told what is being done.
        purpose: What the crops are for, as errors call it.

    Raises:
        ExportError: A source cannot be read, a set is mixed with others or was cut for another network.
    """
    if not is_set(addresses):
        progress(f"rolling the tracker out on {len(addresses)} source(s)")
        return collect_crops(network, addresses, count, purpose=purpose)
    if len(addresses) > 1:
        raise ExportError(
            f"{len(addresses)} {purpose} sources, one of them a set: {', '.join(addresses)}",
            hint="give one .npz set, or videos and folders only",
        )
    crops = CalibrationSet.load(Path(addresses[0]))
    crops.check_sizes(network.params.template_px, network.params.search_px)
    return crops


def split(crops: CalibrationSet, count: int) -> tuple[CalibrationSet, CalibrationSet]:
    """Set search crops apart, half of them at most: all crops of some targets, where there are four targets or more.

    Returns:
        What is left, and what was set apart; of a single crop both hold it.
    """
    total, targets = len(crops.searches), np.unique(crops.target_of_search)
    apart = min(count, total // 2)
    if apart == 0:
        return crops, crops
    if len(targets) < 4:
        chosen = set(_spread(total, apart))
    else:
        held = targets[_spread(len(targets), min(max(round(len(targets) * apart / total), 1), len(targets) - 1))]
        chosen = set(np.flatnonzero(np.isin(crops.target_of_search, held)).tolist())
    kept = [i for i in range(total) if i not in chosen]
    return crops.subset(kept), crops.subset(sorted(chosen))


def evenly(crops: CalibrationSet, count: int) -> CalibrationSet:
    """Keep an even choice of search crops."""
    total = len(crops.searches)
    return crops if total <= count else crops.subset(_spread(total, count))


def _spread(total: int, count: int) -> list[int]:
    return [int(i) for i in np.linspace(0, total - 1, count).round()]
