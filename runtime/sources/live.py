"""The newest frame of a live feed: never a queue, never a hang, and every trouble a state instead of an exception."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Image
from siamedge.runtime.sources.feed import Feed, Packet
from siamedge.runtime.sources.source import EventKind, Frame, SourceEvent, SourceOptions, orient

SourceState = Literal["live", "stalled", "frozen", "reconnecting", "ended"]
STALLED_AFTER_S = 1.0
"""A gap this long between frames is shown as stalled; the read time-out, which reconnects, is longer."""
FROZEN_AFTER_S = 2.0
"""A sensor is never twice the same; equal pictures for this long mean that a camera repeats its last one."""
JOIN_MARGIN_S = 2.0


@dataclass(slots=True)
class Counters:
    """What has happened since the source was opened.

    Attributes:
        captured: Frames that arrived.
        delivered: Frames that were given to the tracker; the others were dropped for newer ones.
        unreadable: Frames that could not be decoded.
        reconnects: Connections after the first one that delivered a frame.
    """

    captured: int = 0
    delivered: int = 0
    unreadable: int = 0
    reconnects: int = 0

    @property
    def dropped(self) -> int:
        """Frames that arrived and were overtaken before anybody asked for them."""
        return max(0, self.captured - self.delivered - self.unreadable)


class LiveSource:
    """Gives always the newest frame of a feed, decoding no other, and reconnects with back-off when it breaks.

    A thread reads the feed; everything else, decoding and the calls of `on_event` included, happens in the thread
    that iterates. The iteration ends when the feed stays away for longer than `reconnect_for_s`; one that lets itself
    be opened and delivers nothing is still away.

    Attributes:
        counters: See there.
        state: What the source is doing.
    """

    def __init__(self, name: str, open_feed: Callable[[], Feed], options: SourceOptions) -> None:
        self.counters = Counters()
        self.state: SourceState = "live"
        self._name, self._open_feed, self._options = name, open_feed, options
        self._feed = open_feed()
        self._fps = self._feed.fps
        self._start_s: float | None = None
        self._opened_s = time.monotonic()
        self._changed = threading.Condition()
        self._newest: Packet | None = None
        self._events: deque[tuple[int, SourceEvent]] = deque()
        self._is_closing = threading.Event()
        self._has_ended = False
        self._last_size: tuple[int, int] | None = None
        self._glance, self._whole, self._since_s = 0, 0, 0.0
        self._given_up_s: float | None = None
        self._backoff_s = options.first_backoff_s
        self._reader = threading.Thread(target=self._read_all, name=f"reader of {name}", daemon=True)
        self._reader.start()

    @property
    def fps(self) -> float:
        """What the feed claimed when it was opened."""
        return self._fps

    def __iter__(self) -> Iterator[Frame]:
        """The newest frame each time one is asked for, waiting for one that was not given yet.

        Raises:
            SourceError: The feed ended before its first frame, or all that it sends for `read_timeout_s` is damaged.
        """
        asked_s = time.monotonic()
        while (found := self._take(asked_s)) is not None:
            packet, index = found
            image = packet.decode()
            if image is None:
                self.counters.unreadable += 1
                self._tell("unreadable", f"frame {index} cannot be decoded")
                if self.counters.delivered == 0 and time.monotonic() - asked_s > self._options.read_timeout_s:
                    break
                continue
            self._start_s = packet.captured_s if self._start_s is None else self._start_s
            self._watch(packet, image)
            self.counters.delivered += 1
            time_s = packet.captured_s - self._start_s
            yield Frame(orient(image, self._options), index, time_s, packet.captured_s)
            asked_s = time.monotonic()
        if self.counters.delivered == 0 and not self._is_closing.is_set():
            raise SourceError(
                f"{self._name}: connected, but no readable frame came", hint="does another program use it?"
            )

    def __enter__(self) -> "LiveSource":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closing.set()
        self._feed.interrupt()
        self._reader.join(self._options.read_timeout_s + JOIN_MARGIN_S)

    def _take(self, asked_s: float) -> tuple[Packet, int] | None:
        """The newest frame not given yet and its number; None at the end. Events are told while waiting.

        Args:
            asked_s: Since when a readable frame is waited for, `time.monotonic()`.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._newest or self._events or self._has_ended, timeout=0.1)
                packet, index = self._newest, self.counters.captured - 1
                events = self._events_before(index if packet else self.counters.captured)
                self._newest = None
            for event in events:
                self._deliver(event)
            is_late = time.monotonic() - asked_s > STALLED_AFTER_S
            if is_late and not self._has_ended and self.state in ("live", "frozen"):
                self._tell("stalled", f"no frame for {STALLED_AFTER_S:g} s")
            if packet is not None:
                return packet, index
            if self._has_ended or self._is_closing.is_set():
                return None
            self._options.on_wait()

    def _events_before(self, index: int) -> list[SourceEvent]:
        """Take the events that happened before a frame arrived; the lock is held."""
        events: list[SourceEvent] = []
        while self._events and self._events[0][0] <= index:
            events.append(self._events.popleft()[1])
        return events

    def _watch(self, packet: Packet, image: Image) -> None:
        """Notice that frames came back, stopped changing, or changed their size."""
        is_repeated = self._is_repeated(packet)
        if not is_repeated:
            self._since_s = packet.captured_s
        elif packet.captured_s - self._since_s > FROZEN_AFTER_S and self.state != "frozen":
            self._tell("frozen", f"the same picture for {FROZEN_AFTER_S:g} s")
        if self.state != "live" and not (self.state == "frozen" and is_repeated):
            self._tell("resumed", f"after being {self.state}")
        size = (image.shape[1], image.shape[0])
        if self._last_size not in (None, size):
            self._tell("resized", "{}x{} to {}x{}".format(*(self._last_size or size), *size))
        self._last_size = size

    def _is_repeated(self, packet: Packet) -> bool:
        """Tell whether a frame is the one before, bit for bit; all of it is read where a glance shows no difference."""
        glance = hash(packet.glance)
        if glance != self._glance:
            self._glance, self._whole = glance, 0
            return False
        before, self._whole = self._whole, hash(packet.whole())
        return before == self._whole

    def _tell(self, kind: EventKind, detail: str) -> None:
        """Tell of something that happened now."""
        self._deliver(SourceEvent(kind, time.monotonic() - (self._start_s or self._opened_s), detail))

    def _deliver(self, event: SourceEvent) -> None:
        """Follow an event with the state, and hand it on."""
        states: dict[EventKind, SourceState] = {
            "stalled": "stalled",
            "frozen": "frozen",
            "resumed": "live",
            "reconnecting": "reconnecting",
            "ended": "ended",
        }
        self.state = states.get(event.kind, self.state)
        self._options.on_event(event)

    def _read_all(self) -> None:
        """The reader's thread: read, and reconnect until it is closed or gives up."""
        try:
            while not self._is_closing.is_set():
                reason = self._read_feed()
                self._feed.close()
                if self._is_closing.is_set() or not self._reconnect(reason):
                    break
        finally:
            self._feed.close()
            with self._changed:
                self._has_ended = True
                self._changed.notify()

    def _read_feed(self) -> str:
        """Keep the newest frame of the open feed until it breaks; give the reason."""
        while not self._is_closing.is_set():
            try:
                packet = self._feed.read()
            except SourceError as error:
                return str(error)
            if self._given_up_s is not None:
                self._given_up_s = None
                self.counters.reconnects += 1
                self._queue("reconnected", f"connection {self.counters.reconnects + 1}")
            with self._changed:
                self._newest = packet
                self.counters.captured += 1
                self._changed.notify()
        return "closed"

    def _reconnect(self, reason: str) -> bool:
        """Open the feed again, waiting longer after each try until a frame has come; tell whether it is open."""
        if self._given_up_s is None:
            self._given_up_s = time.monotonic() + self._options.reconnect_for_s
            self._backoff_s = self._options.first_backoff_s
        while time.monotonic() + self._backoff_s <= self._given_up_s:
            self._queue("reconnecting", f"{reason}; next try in {self._backoff_s:g} s")
            if self._is_closing.wait(self._backoff_s):
                return False
            self._backoff_s = min(max(0.25, 2 * self._backoff_s), self._options.longest_backoff_s)
            try:
                self._feed = self._open_feed()
            except SourceError as error:
                reason = str(error)
            else:
                return True
        self._queue("ended", reason)
        return False

    def _queue(self, kind: EventKind, detail: str) -> None:
        """Leave an event of the reader's thread for the thread that iterates."""
        with self._changed:
            event = SourceEvent(kind, time.monotonic() - (self._start_s or self._opened_s), detail)
            self._events.append((self.counters.captured, event))
            self._changed.notify()
