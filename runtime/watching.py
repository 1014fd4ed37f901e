"""Put a watch over the presence of a target on a tracker, with what its artifact says of scores."""

from typing import Literal, cast, get_args

from siamedge.runtime.backends.backend import get_backend
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.bundles.picking import Candidate
from siamedge.runtime.errors import SiamedgeError
from siamedge.runtime.tracking.looks import Searcher
from siamedge.runtime.tracking.presence import PresenceParams, PresenceTracker
from siamedge.runtime.tracking.trackers import Tracker

Reacquire = Literal["near", "full-frame"]
WIDEST_RINGS = 6
"""Rings around the last place with full-frame; the tiles reach what is beyond."""
UPDATE_AFTER_FRAMES = 60


def can_watch(tracker: Tracker) -> bool:
    """Whether a tracker's family can look beside its own place."""
    return hasattr(tracker, "look")


def watch(
    tracker: Tracker, bundle: Bundle, choice: Candidate, reacquire: Reacquire = "near", *, is_updated: bool = False
) -> PresenceTracker:
    """Watch over the target of a tracker that can look beside its own place.

    Args:
        tracker: One that can_watch tells to be able to.
        bundle: Where it comes from.
        choice: Which of the bundle's artifacts it runs.
        reacquire: How far a lost target is searched: near its last place, or over the whole frame.
        is_updated: Mix a new look of the target into the template after long certain presence.

    Raises:
        SiamedgeError: reacquire is neither, or the tracker cannot look.
    """
    if reacquire not in get_args(Reacquire):
        raise SiamedgeError(f"reacquire={reacquire!r} is unknown", hint=f"one of {', '.join(get_args(Reacquire))}")
    if not can_watch(tracker):
        family = bundle.manifest.tracker.family
        raise SiamedgeError(f"{family} cannot search for a target that it lost", hint="leave reacquire away")
    fit = bundle.find("search", get_backend(choice.backend).format, choice.precision).presence
    is_whole = reacquire == "full-frame"
    params = PresenceParams(
        max_rings=WIDEST_RINGS if is_whole else PresenceParams().max_rings,
        is_whole_frame=is_whole,
        update_after=UPDATE_AFTER_FRAMES if is_updated else None,
    )
    return PresenceTracker(cast(Searcher, tracker), fit, params)
