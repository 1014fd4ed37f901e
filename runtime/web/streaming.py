"""The stream of frames with their boxes, for any number of clients, of which none holds another up."""

import asyncio
import json
import struct
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, cast

from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocket, WebSocketDisconnect

from siamedge.runtime.web.access import Access
from siamedge.runtime.web.engine import Engine
from siamedge.runtime.web.guard import client_of
from siamedge.runtime.web.snapshot import Snapshot
from siamedge.runtime.web.telemetry import temperature_c

QUIET_S = 1.0
"""A client that waits for news is told so often that there are none; the page takes a longer silence for trouble."""


class Hub:
    """Lets every client wait for news; the tracking thread never waits for a client."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._changed = asyncio.Event()
        self._changes = 0
        self._loop = asyncio.get_running_loop()
        engine.on_snapshot = self._notify

    def _notify(self) -> None:
        """Called from the tracking thread, also while the server is closing."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def tell(self) -> None:
        """Tell every client of a change that makes no snapshot."""
        self._changes += 1
        self._wake()

    @property
    def known(self) -> tuple[int, int]:
        """What a client knows that is told now."""
        newest = self._engine.newest
        return -1 if newest is None else newest.number, self._changes

    async def next_after(self, known: tuple[int, int]) -> None:
        """Wait for anything that a client does not know, but not longer than QUIET_S."""
        if self.known == known:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), QUIET_S)


def full_state(engine: Engine, snapshot: Snapshot | None) -> dict[str, object]:
    """What the page knows besides the picture."""
    state = engine.status() | {"sources": engine.sources, "models": engine.models, "temperature_c": temperature_c()}
    if snapshot is None:
        return state | {"frame": None, "targets": []}
    height, width = snapshot.frame.image.shape[:2]
    targets = [
        {"id": v.key, "box": list(v.box), "score": v.score, "state": v.state, "probability": v.probability}
        for v in snapshot.targets
    ]
    return state | {
        "frame": snapshot.frame.index,
        "time_s": snapshot.frame.time_s,
        "size": [width, height],
        "frame_latency_ms": snapshot.latency_ms,
        "targets": targets,
    }


async def serve_stream(socket: WebSocket, engine: Engine, access: Access) -> None:
    """Send a client the newest state each time it has shown the one before.

    A message is: 4 bytes, big-endian, length of the JSON; the JSON; the JPEG, empty where it has the picture. The
    client answers each with any text; so one that is slow gets fewer frames, never older ones, and nothing piles up.
    """
    client, hub = client_of(socket), socket.app.state.hub
    await socket.accept()
    access.enter(client)
    hub.tell()
    number = -1
    answer = asyncio.ensure_future(socket.receive_text())
    try:
        while True:
            known, snapshot, jpeg = hub.known, engine.newest, b""
            if snapshot and snapshot.number != number:
                jpeg, number = await run_in_threadpool(snapshot.jpeg), snapshot.number
            state = full_state(engine, snapshot) | access.describe(client)
            del snapshot  # else its picture would be kept for as long as the client takes
            head = json.dumps(state, separators=(",", ":")).encode()
            await socket.send_bytes(struct.pack(">I", len(head)) + head + jpeg)
            await answer
            answer = asyncio.ensure_future(socket.receive_text())
            await unless_done(answer, hub.next_after(known))
    except (WebSocketDisconnect, RuntimeError, KeyError):
        return
    finally:
        answer.cancel()
        access.leave(client)
        hub.tell()
        await asyncio.gather(answer, return_exceptions=True)
        del answer  # its exception knows this frame: a circle that would keep all of it until the collector comes


async def unless_done(answer: asyncio.Future[str], waiting: Coroutine[None, None, None]) -> None:
    """Wait for something, but not beyond what the client says next: that it leaves, as nothing else is due.

    Raises:
        WebSocketDisconnect: The client has left, or sent what nobody asked for.
    """
    task = asyncio.ensure_future(waiting)
    await asyncio.wait([task, cast("asyncio.Future[Any]", answer)], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        return
    task.cancel()
    if isinstance(left := answer.exception(), WebSocketDisconnect):
        raise WebSocketDisconnect(left.code, left.reason)  # a new one: what the future holds would hold this frame
    raise WebSocketDisconnect(1002, "a message that answers no picture")
