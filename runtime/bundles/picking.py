"""Choosing a backend and precision: the choice, and the verdict on every candidate."""

import weakref
from typing import NamedTuple

from siamedge.runtime.backends.absence import remedy
from siamedge.runtime.backends.backend import (
    ALL_PRECISIONS,
    BACKENDS,
    Mode,
    Precision,
    Session,
    get_backend,
    reason_against,
    template_precision,
)
from siamedge.runtime.backends.cache import CachingBackend, CompiledCache
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.errors import BackendError
from siamedge.runtime.tracking.params import TrackerParams
from siamedge.runtime.tracking.tracker_table import make_tracker
from siamedge.runtime.tracking.trackers import Tracker


class Candidate(NamedTuple):
    """One way to run a bundle here.

    Attributes:
        backend: Name of the backend.
        precision: Which of the bundle's artifacts.
        device: The backend's name of the device.
        verdict: "chosen", "usable", "not tried", or why not.
        threads: Of the backend.
    """

    backend: str
    precision: Precision
    device: str
    verdict: str
    threads: int = 1


class Pick(NamedTuple):
    """A choice and what was thought of every candidate."""

    choice: Candidate
    candidates: tuple[Candidate, ...]


def pick(
    bundle: Bundle,
    *,
    backend: str | None = None,
    precision: Precision | None = None,
    device: str = "CPU",
    is_thorough: bool = False,
) -> Pick:
    """Choose how to run a bundle here, without loading a model.

    Trying a backend imports its library, which takes up to 0.1 s, so that those after the first usable one are left
    out.

    Args:
        bundle: Opened.
        backend: Only this one.
        precision: Only this one; otherwise the one that the bundle recommends for the backend's format.
        device: Only this device of a backend.
        is_thorough: Try all of them.

    Raises:
        BackendError: None fits; the message gives the verdict on every candidate.
    """
    names = [get_backend(backend).name] if backend else list(BACKENDS)
    candidates: list[Candidate] = []
    chosen: int | None = None
    for name in names:
        candidates.append(_judge(bundle, name, precision, device, is_tried=chosen is None or is_thorough))
        if chosen is None and candidates[-1].verdict == "usable":
            chosen = len(candidates) - 1
    if chosen is None:
        reasons = "; ".join(f"{c.backend}: {c.verdict}" for c in candidates)
        hint = "leave --backend away to choose another" if backend else remedy(c.verdict for c in candidates)
        raise BackendError(f"no backend can run {bundle.path.name} here: {reasons}", hint=hint)
    candidates[chosen] = candidates[chosen]._replace(verdict="chosen")
    return Pick(candidates[chosen], tuple(candidates))


def pick_or_cpu(
    bundle: Bundle,
    *,
    backend: str | None = None,
    precision: Precision | None = None,
    device: str = "CPU",
    is_thorough: bool = False,
) -> tuple[Pick, str | None]:
    """Choose as pick does and try to load the choice; where the device cannot run it, choose for the CPU.

    Returns:
        The choice, and why it is the CPU's if another device was asked for; arguments as in pick.

    Raises:
        BackendError: The CPU cannot run it either.
    """
    try:
        picked = pick(bundle, backend=backend, precision=precision, device=device, is_thorough=is_thorough)
        reason = refusal(bundle, picked.choice)
    except BackendError as error:
        if device == "CPU":
            raise
        reason = str(error)
    if reason is None:
        return picked, None
    return pick(bundle, backend=backend, precision=precision, is_thorough=is_thorough), reason


def refusal(bundle: Bundle, choice: Candidate) -> str | None:
    """Why the device of a choice cannot load it; None if it can, and for the CPU, on which nothing is tried."""
    if choice.device == "CPU":
        return None
    try:
        for session in load_sessions(bundle, choice):
            session.close()
    except BackendError as error:
        return str(error)
    return None


def _judge(bundle: Bundle, name: str, precision: Precision | None, device: str, *, is_tried: bool) -> Candidate:
    backend = get_backend(name)
    recommended = bundle.manifest.recommended.get(backend.format)
    chosen = precision or (recommended.precision if recommended else "fp32")
    have = {a.precision for a in bundle.manifest.artifacts if a.format == backend.format and a.role == "search"}
    if not have:
        return Candidate(name, chosen, device, f"the bundle has no {backend.format} model")
    if chosen not in have:
        held = ", ".join(p for p in ALL_PRECISIONS if p in have)
        return Candidate(name, chosen, device, f"the bundle has {held} for {backend.format}, not {chosen}")
    if not is_tried:
        return Candidate(name, chosen, device, "not tried")
    return Candidate(name, chosen, device, reason_against(backend, chosen, device) or "usable")


def load_sessions(bundle: Bundle, choice: Candidate, cache: CompiledCache | None = None) -> tuple[Session, Session]:
    """Load the template and the search graph of a choice.

    Args:
        bundle: Opened.
        choice: What to load.
        cache: Where a backend that compiles may keep the result; None: nowhere.

    Raises:
        BackendError: The library refuses a model.
        BundleError: A model file changed since the bundle was opened.
    """
    backend = get_backend(choice.backend)
    if cache is not None and isinstance(backend, CachingBackend):
        backend = backend.with_cache(cache)
    template = bundle.load(bundle.find("template", backend.format, choice.precision))
    template = template._replace(precision=template_precision(choice.precision))
    search = bundle.load(bundle.find("search", backend.format, choice.precision))
    return (
        backend.load(template, device=choice.device, threads=choice.threads),
        backend.load(search, device=choice.device, threads=choice.threads),
    )


def open_tracker(
    bundle: Bundle, choice: Candidate, *, mode: Mode = "reference", cache: CompiledCache | None = None
) -> Tracker:
    """Load a choice and put a tracker on top.

    Args:
        bundle: Opened.
        choice: What to load.
        mode: "reference": the bundle's tracker as published; "opencv": what cv2.TrackerNano computes.
        cache: See load_sessions.

    Raises:
        BackendError: The library refuses a model, or the mode cannot run this network.
        BundleError: A model file changed since the bundle was opened.
    """
    family = "opencv" if mode == "opencv" else bundle.manifest.tracker.family
    return make_tracker(family, *load_sessions(bundle, choice, cache), params_of(bundle, choice))


def params_of(bundle: Bundle, choice: Candidate) -> TrackerParams:
    """Give the tracker's parameters, with the score threshold of the artifact that is chosen where it has its own."""
    found = bundle.find("search", get_backend(choice.backend).format, choice.precision).lost_below
    params = bundle.manifest.tracker.params
    return params if found is None else params._replace(lost_below=found)


class TrackerMaker:
    """Makes trackers of one choice; those that live at the same time share its loaded graphs.

    Trackers that share graphs must be used in one thread. The graphs are freed with the last of them.

    Args:
        bundle: Opened.
        choice: What to load; at the first call, not here.
        cache: See load_sessions.
    """

    def __init__(self, bundle: Bundle, choice: Candidate, cache: CompiledCache | None = None) -> None:
        self._bundle, self._choice, self._cache = bundle, choice, cache
        self._loaded: tuple[weakref.ref[Session], weakref.ref[Session]] | None = None

    def __call__(self) -> Tracker:
        """A tracker that follows nothing yet.

        Raises:
            BackendError: The library refuses a model.
            BundleError: A model file changed since the bundle was opened.
        """
        template, search = (held() for held in self._loaded) if self._loaded else (None, None)
        if template is None or search is None:
            template, search = load_sessions(self._bundle, self._choice, self._cache)
            self._loaded = weakref.ref(template), weakref.ref(search)
        family = self._bundle.manifest.tracker.family
        return make_tracker(family, template, search, params_of(self._bundle, self._choice))
