"""How a bundle is run: what the user asked for, else what was tuned here, else the default."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from siamedge.cli.progress import say
from siamedge.runtime.backends.backend import Mode, Precision

if TYPE_CHECKING:
    from siamedge.runtime.bundles.bundle import Bundle
    from siamedge.runtime.bundles.picking import Candidate, Pick
    from siamedge.runtime.tracking.trackers import Tracker


class Wanted(NamedTuple):
    """What the user asked for; None: not asked."""

    backend: str | None
    precision: Precision | None
    device: str
    threads: int | None
    may_fall_back: bool = False

    @property
    def is_open(self) -> bool:
        """The user left the choice to us."""
        return self.backend is None and self.precision is None and self.threads is None


def choose(bundle: "Bundle", wanted: Wanted, *, is_explained: bool) -> "Pick":
    """Give what the user asked for, else what `siamedge tune` chose for this device, else the default.

    Args:
        bundle: Opened.
        wanted: By the user; what was tuned for a device that cannot run it any more gives way if the CPU may take over.
        is_explained: Try every candidate, not only those up to the first usable one.
    """
    from siamedge.runtime.bundles.picking import Pick, pick, pick_or_cpu, refusal

    tuned = tuned_choice(bundle, wanted.device) if wanted.is_open else None
    if tuned is not None and not (wanted.may_fall_back and refusal(bundle, tuned)):
        return Pick(tuned, (tuned,))
    backend, precision, device = wanted[:3]
    if wanted.may_fall_back:
        picked, reason = pick_or_cpu(
            bundle, backend=backend, precision=precision, device=device, is_thorough=is_explained
        )
        tell_fallback(device, reason)
    else:
        picked = pick(bundle, backend=backend, precision=precision, device=device, is_thorough=is_explained)
    return Pick(picked.choice._replace(threads=wanted.threads or 1), picked.candidates)


def tell_fallback(device: str, reason: str | None) -> None:
    """Say that the CPU takes a device's place, and why; nothing if it does not."""
    if reason is not None:
        say(f"--allow-fallback: the CPU instead of {device}: {reason}\n")


def tuned_choice(bundle: "Bundle", device: str) -> "Candidate | None":
    """Give what was chosen by measuring here, tuning again if this device or its libraries changed since; else None."""
    from siamedge.runtime.backends.cache import cache_home

    if not os.access(cache_home() / "tuning", os.X_OK):
        return None
    from siamedge.cli.tune import tune_and_save
    from siamedge.runtime.errors import BackendError
    from siamedge.runtime.speed.tuning import Pace
    from siamedge.runtime.speed.tuning_record import bundle_sha256, differences, fingerprint, load_record, record_path

    tuning = load_record(record_path(bundle, device), bundle_sha256(bundle))
    if tuning is None:
        return None
    if changed := differences(tuning, fingerprint()):
        say(f"tuning again: {', '.join(changed)}\n")
        try:
            tuning = tune_and_save(bundle, device, Pace(fps=tuning.fps or None, device=device))
        except BackendError as error:
            say(f"{error}\n")
            return None
    say(f"tuned: {tuning.reason}\n")
    return tuning.choice


def make(bundle: "Bundle", choice: "Candidate", mode: Mode, opencv_models: str | None) -> "Tracker":
    """Load what was chosen."""
    from siamedge.runtime.backends.cache import default_cache
    from siamedge.runtime.bundles.picking import open_tracker

    if opencv_models is None:
        return open_tracker(bundle, choice, mode=mode, cache=default_cache())
    from siamedge.runtime.tracking.opencv_dnn import load_pair
    from siamedge.runtime.tracking.opencv_mode import OpenCVNanoTracker

    backbone, separator, head = opencv_models.partition(",")
    if not separator:
        raise typer.BadParameter("give two files: BACKBONE.onnx,HEAD.onnx", param_hint="'--opencv-models'")
    return OpenCVNanoTracker(*load_pair(Path(backbone), Path(head)), bundle.manifest.tracker.params)
