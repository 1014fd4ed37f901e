"""The tracking thread behind the page: it owns source and trackers, and takes commands between frames."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from siamedge.runtime.errors import SiamedgeError, SourceError
from siamedge.runtime.geometry import Box
from siamedge.runtime.latency import LatencyMeter
from siamedge.runtime.outputs.overlay import draw_target, unit_of
from siamedge.runtime.outputs.recorder import Recorder
from siamedge.runtime.sources.live import LiveSource
from siamedge.runtime.sources.source import (
    Frame,
    FrameSource,
    SourceEvent,
    SourceOptions,
    open_source,
    without_password,
)
from siamedge.runtime.tracking.trackers import Tracker
from siamedge.runtime.web.commands import COMMAND_TIMEOUT_S, Commands
from siamedge.runtime.web.snapshot import Snapshot, as_line, encode
from siamedge.runtime.web.targets import Targets

T = TypeVar("T")
Mode = Literal["running", "paused", "ended", "failed"]
MOST_EVENTS = 50


@dataclass(frozen=True, slots=True)
class Setup:
    """What the page may choose from.

    Attributes:
        sources: Addresses; the first is opened at the start, and the page can open no others.
        models: Name (such as "tflite int8") to what opens a tracker of it; the first is used at the start.
        why: Why the first model was chosen, for a person.
        options: How to read sources.
        folder: Where recordings go.
    """

    sources: tuple[str, ...]
    models: Mapping[str, Callable[[], Tracker]]
    why: str
    options: SourceOptions
    folder: Path


class SourceLeftError(Exception):
    """Leaves the iteration over a source because another one is wanted."""


class Engine:
    """Runs one source and up to eight targets; every method but start and close may be called from any thread.

    Attributes:
        newest: What was shown last; None before the first frame.
        on_snapshot: Called from the tracking thread after each snapshot and each change.
    """

    def __init__(self, setup: Setup) -> None:
        self.newest: Snapshot | None = None
        self.on_snapshot: Callable[[], None] = lambda: None
        self._setup = setup
        self._address = setup.sources[0]
        self._options = setup.options._replace(is_paced=True, on_event=self._note, on_wait=self._serve)
        self._commands, self._targets = Commands(), Targets(setup.models)
        self._is_closing = self._is_leaving = False
        self._mode: Mode = "running"
        self._failure = ""
        self._steps = 0
        self._recorder: Recorder | None = None
        self._events: deque[SourceEvent] = deque(maxlen=MOST_EVENTS)
        self._meter, self._rate, self._last_s = LatencyMeter(), 0.0, 0.0
        self._source: FrameSource | None = None
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)

    def start(self) -> None:
        """Open the first source and begin.

        Raises:
            SourceError: It cannot be opened.
        """
        self._source = open_source(self._address, self._options)
        self._thread.start()

    @property
    def sources(self) -> list[str]:
        """Addresses that may be opened, passwords hidden."""
        return [without_password(address) for address in self._setup.sources]

    @property
    def models(self) -> list[str]:
        """Names of the models that may be used."""
        return list(self._setup.models)

    def close(self) -> None:
        """Stop, and finish a recording."""
        self._is_closing = True
        self._commands.wake()
        self._thread.join(COMMAND_TIMEOUT_S)

    def do(self, command: Callable[[], T]) -> T:
        """Run something between two frames and wait for its result; what it raises is raised here.

        Raises:
            SourceError: The tracking thread does not answer.
        """
        return self._commands.do(command)

    # The verbs; each runs in the tracking thread, through do().

    def set_target(self, box: Box, key: int | None = None) -> int:
        """Follow what is in a box of the newest frame, as a new target or in place of one.

        Raises:
            SourceError: There is no frame yet, the box is not in it, or no target can have this number.
        """
        if self.newest is None:
            raise SourceError("there is no frame yet")
        chosen = self._targets.put(self.newest.frame.image, box, key)
        self._publish(self.newest.frame, self.newest.latency_ms)
        return chosen

    def remove_target(self, key: int) -> None:
        """Follow one target no longer.

        Raises:
            KeyError: There is no such target.
        """
        self._targets.remove(key)
        self._refresh()

    def pause(self, is_paused: bool) -> None:
        """Hold or go on."""
        if self._mode in ("running", "paused"):
            self._mode = "paused" if is_paused else "running"
        self._refresh()

    def step(self) -> None:
        """While paused, follow one frame."""
        self._steps = 1

    def reset(self) -> None:
        """Forget all targets and begin the source again."""
        self._targets.clear()
        self.open(without_password(self._address))

    def open(self, name: str) -> None:
        """Change to another of the sources, by its address as in `sources`.

        Raises:
            SourceError: It is not one of them.
        """
        address = next((address for address in self._setup.sources if without_password(address) == name), None)
        if address is None:
            raise SourceError(f"{name!r} is not one of the sources that this page may open")
        if address != self._address:
            self._targets.clear()
        self._address, self._mode, self._failure = address, "running", ""
        self._is_leaving = True

    def use_model(self, name: str) -> None:
        """Change network or precision; targets are taken over where they are.

        Raises:
            SourceError: There is no such model.
        """
        self._targets.use_model(name, self.newest.frame.image if self.newest else None)
        self._meter = LatencyMeter()
        self._refresh()

    def record(self, is_on: bool) -> None:
        """Begin or end a recording; one that ended by a problem gives way to the next.

        Raises:
            SourceError: No source is open, or the folder cannot be written.
        """
        if self._recorder is not None and (not is_on or self._recorder.recording.problem):
            self._recorder.close()
            self._recorder = None
        if is_on and self._recorder is None:
            if self._source is None:
                raise SourceError("no source is open that could be recorded", hint="reset opens it again")
            is_live = isinstance(self._source, LiveSource)
            fps = round(self._rate) if is_live and self._rate >= 1 else self._source.fps
            self._recorder = Recorder(self._setup.folder, fps)
        self._refresh()

    def picture(self) -> bytes:
        """The newest frame in full size with its boxes, as JPEG.

        Raises:
            SourceError: There is none yet.
        """
        if self.newest is None:
            raise SourceError("there is no frame yet")
        image = self.newest.frame.image.copy()
        for view in self.newest.targets:
            draw_target(image, view.box, view.state, f"{view.key} {view.state} {view.score:.2f}", unit_of(image))
        return encode(image, 92)

    def status(self) -> dict[str, object]:
        """Everything but the frame, for JSON; may be called directly."""
        source = self._source
        recording = self._recorder.recording if self._recorder else None
        counters = source.counters if isinstance(source, LiveSource) else None
        times = self._meter.percentiles()
        return {
            "mode": self._mode,
            "failure": self._failure,
            "source": without_password(self._address),
            "source_state": source.state if isinstance(source, LiveSource) else "file",
            "dropped": counters.dropped if counters else 0,
            "reconnects": counters.reconnects if counters else 0,
            "model": self._targets.model,
            "why": self._setup.why,
            "fps": round(self._rate, 2),
            "latency_ms": [round(value, 3) for value in times] if self._meter.total else None,
            "recording": str(recording.video) if recording and not recording.problem else None,
            "recording_problem": recording.problem if recording else "",
            "recorded": recording.frames if recording else 0,
            "events": [{"time_s": e.time_s, "event": e.kind, "detail": e.detail} for e in list(self._events)[-5:]],
        }

    # The tracking thread.

    def _run(self) -> None:
        try:
            while not self._is_closing:
                self._follow_source()
                while not self._is_closing and self._mode in ("ended", "failed"):
                    self._commands.wait()
                    self._commands.run_all()
        finally:
            if self._recorder:
                self._recorder.close()

    def _follow_source(self) -> None:
        self._is_leaving = False
        try:
            source = self._source or open_source(self._address, self._options)
            self._source = source
            with source:
                for frame in source:
                    self._take(frame)
            self._mode = "ended"
        except SourceLeftError:
            self._mode = "running"
        except SiamedgeError as error:
            self._mode, self._failure = "failed", str(error)
        except Exception as error:
            # A bug, of which a page would never hear if this thread died of it: it would show "running" for ever.
            logging.getLogger(__name__).exception("following %s failed", without_password(self._address))
            self._mode, self._failure = "failed", f"{type(error).__name__}: {error}"
        self._source = None
        self._refresh()

    def _take(self, frame: Frame) -> None:
        """Follow the targets into a frame, then hold if paused."""
        self._serve()
        if self._is_held():
            # Paused while this frame was on its way: a file's is next, a camera's will be out of date.
            self._wait_until(lambda: not self._is_held())
            if isinstance(self._source, LiveSource):
                return
        start_s = time.monotonic()
        self._targets.update(frame.image)
        now_s = time.monotonic()
        latency_ms = 1000 * (now_s - (start_s if frame.captured_s is None else frame.captured_s))
        self._measure(now_s, latency_ms)
        self._publish(frame, latency_ms)
        if self._recorder and self.newest:
            self._recorder.add(frame.image, as_line(self.newest))
        self._steps = max(0, self._steps - 1)
        self._wait_until(lambda: not self._is_held())

    def _is_held(self) -> bool:
        return self._mode == "paused" and self._steps == 0

    def _measure(self, now_s: float, latency_ms: float) -> None:
        if self._targets:
            self._meter.add(latency_ms)
        gap_s, self._last_s = now_s - self._last_s, now_s
        if 0 < gap_s < 5:
            self._rate += (1 / gap_s - self._rate) * min(1.0, 2 * gap_s) if self._rate else 1 / gap_s

    def _publish(self, frame: Frame, latency_ms: float) -> None:
        number = self.newest.number + 1 if self.newest else 0
        self.newest = Snapshot(number, frame, self._targets.views(), latency_ms)
        self.on_snapshot()

    def _refresh(self) -> None:
        """Show a change without a new frame."""
        if self.newest:
            self._publish(self.newest.frame, self.newest.latency_ms)
        else:
            self.on_snapshot()

    def _note(self, event: SourceEvent) -> None:
        self._events.append(event)
        self._refresh()

    def _serve(self) -> None:
        """Run commands between frames, and while a live source waits for one; leave the source if asked to."""
        self._commands.run_all()
        if self._is_closing or self._is_leaving:
            raise SourceLeftError

    def _wait_until(self, is_met: Callable[[], bool]) -> None:
        while not is_met():
            self._commands.wait()
            self._serve()
