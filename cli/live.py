"""What `siamedge track` needs for live sources: their options, their events, and the page."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import typer

from siamedge.cli.choices import refuse

if TYPE_CHECKING:
    from siamedge.runtime.bundles.bundle import Bundle
    from siamedge.runtime.bundles.picking import Candidate, Pick
    from siamedge.runtime.sources.source import SourceEvent, SourceKind, SourceOptions
    from siamedge.runtime.tracking.trackers import Tracker

REACQUIRE = ("off", "near", "full-frame")
ROTATIONS = ("0", "90", "180", "270")
RECONNECT_S = 60.0
IDLE_OPTIONS: Mapping["SourceKind", tuple[tuple[str, ...], str]] = {
    "file": (("--size", "--fps", "--reconnect"), "does nothing with a video file"),
    "folder": (("--size", "--reconnect"), "does nothing with a folder of images"),
    "synthetic": (("--size", "--reconnect"), "does nothing with a drawn scene (synthetic:?size=640x480)"),
    "stream": (("--size", "--fps"), "does nothing with a stream: its sender decides"),
}
"""Options of a camera that have no effect on other kinds of sources, and what is said of them."""


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Read WIDTHxHEIGHT.

    Raises:
        typer.BadParameter: It is not two whole numbers above 0.
    """
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise typer.BadParameter(f"{text!r} is not WIDTHxHEIGHT, such as 1280x720", param_hint="'--size'")
    return int(width), int(height)


def refuse_idle(source: str, options: Mapping[str, object]) -> None:
    """Refuse options of a camera that a source of another kind would leave without effect.

    Args:
        source: Its address.
        options: By name; those that are set are truthy.

    Raises:
        SourceError: There is no such source.
        typer.BadParameter: One of them is set that does nothing there.
    """
    from siamedge.runtime.sources.source import kind_of_source

    idle, reason = IDLE_OPTIONS.get(kind_of_source(source), ((), ""))
    refuse({name: options[name] for name in idle}, reason, "--source")


def source_options(
    *,
    size: str | None,
    fps: float | None,
    rotate: str,
    is_mirrored: bool,
    is_paced: bool,
    reconnect_s: float,
    is_json: bool,
) -> "SourceOptions":
    """The options of a source from those of the command line; events are told as JSON or on standard error."""
    from siamedge.runtime.sources.source import SourceOptions

    return SourceOptions(
        size=parse_size(size),
        fps=fps or 30.0,
        rotate_deg=cast(Literal[0, 90, 180, 270], int(rotate)),
        is_mirrored=is_mirrored,
        is_paced=is_paced,
        reconnect_for_s=reconnect_s,
        on_event=tell_event_as_json if is_json else tell_event,
    )


def tell_event(event: "SourceEvent") -> None:
    """Tell a person what happened to the source."""
    clear = "\r\x1b[K" if sys.stderr.isatty() else ""
    sys.stderr.write(f"{clear}{event.time_s:8.1f} s  {event.kind}: {event.detail}\n")
    sys.stderr.flush()


def tell_event_as_json(event: "SourceEvent") -> None:
    """Tell a program, between the lines of the frames."""
    from siamedge.runtime.loop import as_event_line

    sys.stdout.write(as_event_line(event) + "\n")
    sys.stdout.flush()


def watched(
    tracker: "Tracker", bundle: "Bundle", choice: "Candidate", reacquire: str, *, is_updated: bool = False
) -> "Tracker":
    """The tracker, with a watch over the presence of its target unless that is off.

    Raises:
        typer.BadParameter: Its family cannot look beside its own place.
    """
    if reacquire == "off":
        return tracker
    from siamedge.runtime.watching import Reacquire, can_watch, watch

    if not can_watch(tracker):
        raise typer.BadParameter("this tracker family cannot search; leave it off", param_hint="'--reacquire'")
    return watch(tracker, bundle, choice, cast(Reacquire, reacquire), is_updated=is_updated)


def serve_page(
    bundle: "Bundle",
    picked: "Pick",
    *,
    source: str,
    options: "SourceOptions",
    address: str,
    reacquire: str,
    is_updated: bool,
) -> None:
    """Serve the page until Ctrl-C.

    Raises:
        SourceError: The source cannot be opened, or the address cannot be listened on.
        BackendError: The web libraries are not installed.
    """
    from siamedge.runtime.errors import BackendError

    try:
        from siamedge.runtime.web.engine import Setup
        from siamedge.runtime.web.serving import serve
    except ImportError as error:
        raise BackendError(f"--web needs {error.name}", hint="pip install 'siamedge[web]'") from error
    setup = Setup(
        sources=tuple(dict.fromkeys([source, *cameras_here(), "synthetic:"])),
        models=models_of(bundle, picked, reacquire, is_updated),
        why="; ".join(f"{c.backend} {c.precision} on {c.device}: {c.verdict}" for c in picked.candidates),
        options=options,
        folder=Path("recordings"),
    )
    serve(setup, address, tell_link)


def tell_link(link: str) -> None:
    """Say where the page is."""
    sys.stderr.write(f"open {link}\nCtrl-C stops\n")
    sys.stderr.flush()


def cameras_here(root: Path = Path("/")) -> list[str]:
    """Paths of this machine's video devices, in the order of their numbers."""
    found = [path for path in root.glob("dev/video*") if path.name[5:].isdecimal()]
    return [str(path) for path in sorted(found, key=lambda path: int(path.name[5:]))]


def models_of(bundle: "Bundle", picked: "Pick", reacquire: str, is_updated: bool) -> "dict[str, Callable[[], Tracker]]":
    """Every precision of the bundle on every backend that was tried and works here, the chosen one first."""
    from siamedge.runtime.backends.backend import PRECISIONS, get_backend

    choices = [picked.choice]
    for candidate in picked.candidates:
        if candidate.verdict in ("chosen", "usable"):
            format_ = get_backend(candidate.backend).format
            held = {a.precision for a in bundle.manifest.artifacts if a.format == format_ and a.role == "search"}
            choices += [candidate._replace(precision=p, verdict="usable") for p in PRECISIONS if p in held]
    return {f"{c.backend} {c.precision}": maker_of(bundle, c, reacquire, is_updated) for c in unique(choices)}


def unique(choices: "list[Candidate]") -> "list[Candidate]":
    """The choices in their order, the first of those that differ in the verdict alone."""
    found: dict[tuple[str, str, str], Candidate] = {}
    for choice in choices:
        found.setdefault((choice.backend, choice.precision, choice.device), choice)
    return list(found.values())


def maker_of(bundle: "Bundle", choice: "Candidate", reacquire: str, is_updated: bool) -> "Callable[[], Tracker]":
    """Give what makes a tracker for each target of the page, on one loaded network, watched where the family can."""
    from siamedge.runtime.bundles.picking import TrackerMaker
    from siamedge.runtime.watching import can_watch

    make = TrackerMaker(bundle, choice)

    def make_watched() -> "Tracker":
        tracker = make()
        return watched(tracker, bundle, choice, reacquire if can_watch(tracker) else "off", is_updated=is_updated)

    return make_watched
