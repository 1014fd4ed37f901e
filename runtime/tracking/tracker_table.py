"""From a manifest's tracker entry to the tracker that runs it."""

from collections.abc import Mapping
from importlib import import_module
from typing import cast

from siamedge.runtime.backends.backend import Session
from siamedge.runtime.tracking.params import TrackerParams
from siamedge.runtime.tracking.trackers import Tracker

TRACKERS: Mapping[str, str] = {
    "anchor-free": "siamedge.runtime.tracking.anchor_free:AnchorFreeTracker",
    "siamfc": "siamedge.runtime.tracking.siamfc:SiamFCTracker",
    "opencv": "siamedge.runtime.tracking.opencv_mode:OpenCVNanoTracker",
}
"""Tracker family to implementation; "opencv" is a mode of anchor-free networks, not a family of its own."""


def make_tracker(family: str, template: Session, search: Session, params: TrackerParams) -> Tracker:
    """Build the tracker of a family over its two sessions."""
    module, attribute = TRACKERS[family].split(":")
    return cast(Tracker, getattr(import_module(module), attribute)(template, search, params))
