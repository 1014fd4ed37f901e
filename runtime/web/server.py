"""The HTTP interface: the page, the verbs, and a stream of frames with their boxes."""

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Awaitable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from siamedge.runtime.errors import SiamedgeError
from siamedge.runtime.web.access import COOKIE, Access
from siamedge.runtime.web.engine import Engine
from siamedge.runtime.web.openapi import document
from siamedge.runtime.web.snapshot import Snapshot
from siamedge.runtime.web.telemetry import temperature_c
from siamedge.runtime.web.verbs import VERBS

STATIC = Path(__file__).parent / "static"
PAGES: Mapping[str, str] = {"/": "index.html", "/app.js": "app.js", "/style.css": "style.css", "/icon.svg": "icon.svg"}
HEADERS: Mapping[str, str] = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
MOST_BODY_BYTES = 10_000
T = TypeVar("T")


class Hub:
    """Lets every client wait for something newer than what it has; the tracking thread never waits for a client."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        engine.on_snapshot = self._notify

    def _notify(self) -> None:
        """Called from the tracking thread, also while the server is closing."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def newer_than(self, number: int) -> Snapshot:
        """The newest snapshot, once there is one with another number."""
        while (newest := self._engine.newest) is None or newest.number == number:
            await self._changed.wait()
        return newest


class Guard:
    """Refuses strangers before any route sees them, and sets the headers of every answer."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        asked = HTTPConnection(scope)
        if (refusal := self._refusal(asked)) is not None:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 4403})
            else:
                await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, asked: HTTPConnection) -> Response | None:
        headers = asked.headers
        if not self._access.is_own_page(headers.get("origin"), headers.get("host")):
            return problem(403, "this request comes from another site's page")
        linked = asked.query_params.get("token")
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if not self._access.is_known(linked or asked.cookies.get(COOKIE) or bearer):
            return problem(401, "open the link with the token that siamedge printed at its start")
        if linked and asked.scope["path"] == "/" and self._access.token:
            answer = RedirectResponse("/", headers=dict(HEADERS))
            answer.set_cookie(COOKIE, linked, httponly=True, samesite="strict")
            return answer
        return None


def problem(status: int, message: str, hint: str = "") -> JSONResponse:
    """An error as JSON."""
    return JSONResponse({"error": message, "hint": hint}, status, dict(HEADERS))


def make_app(engine: Engine, access: Access) -> ASGIApp:
    """The whole interface as an ASGI application; the engine must have been started, and is closed at its end.

    The end is the last moment for that: after SIGTERM, uvicorn lets the signal end the process when it is done.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.hub = Hub(engine)
        yield
        await run_in_threadpool(engine.close)

    async def page(request: Request) -> Response:
        return FileResponse(STATIC / PAGES[request.scope["path"]], headers=dict(HEADERS))

    async def openapi(request: Request) -> Response:
        return JSONResponse(document(VERBS), headers=dict(HEADERS))

    async def state(request: Request) -> Response:
        return JSONResponse(full_state(engine, engine.newest), headers=dict(HEADERS))

    async def picture(request: Request) -> Response:
        return await answer_of(run_in_threadpool(engine.picture))

    async def control(request: Request) -> Response:
        access.take_over(client_of(request))
        return JSONResponse({"is_controller": True}, headers=dict(HEADERS))

    async def verb(request: Request) -> Response:
        name = request.path_params["verb"]
        if name not in VERBS:
            return problem(404, f"no verb {name!r}; there are {', '.join(VERBS)}")
        if not access.may_steer(client_of(request)):
            return problem(423, "another page is in control", "POST /api/control takes it over")
        body = await read_body(request)
        if body is None:
            return problem(400, "the body must be a JSON object of at most 10000 bytes")
        return await answer_of(run_in_threadpool(VERBS[name], engine, body))

    async def stream(socket: WebSocket) -> None:
        await serve_stream(socket, engine, access)

    routes = [
        *(Route(path, page) for path in PAGES),
        Route("/api/openapi.json", openapi),
        Route("/api/state", state),
        Route("/api/snapshot.jpg", picture),
        Route("/api/control", control, methods=["POST"]),
        Route("/api/{verb}", verb, methods=["POST"]),
        WebSocketRoute("/api/stream", stream),
    ]
    return Guard(Starlette(routes=routes, lifespan=lifespan, exception_handlers={Exception: failed}), access)


async def failed(request: Request, error: Exception) -> Response:
    """The answer where there is a bug; uvicorn logs its traceback after it."""
    return problem(500, f"{type(error).__name__}: {error}")


async def answer_of(work: Awaitable[object]) -> Response:
    """The result of a verb as an answer; what the user can mend as an error of status 400."""
    try:
        result = await work
    except SiamedgeError as error:
        return problem(400, str(error), error.hint)
    if isinstance(result, bytes):
        return Response(result, media_type="image/jpeg", headers=dict(HEADERS))
    return JSONResponse(result if result is not None else {}, headers=dict(HEADERS))


async def read_body(request: Request) -> dict[str, Any] | None:
    """The JSON object that was sent, {} for an empty body; None if it is none or too long."""
    received = b""
    async for chunk in request.stream():
        received += chunk
        if len(received) > MOST_BODY_BYTES:
            return None
    try:
        body = json.loads(received or b"{}")
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def client_of(asked: HTTPConnection) -> str:
    """Who asks: the name that a page gives itself, or "api" for programs that give none."""
    return asked.headers.get("x-client") or asked.query_params.get("client") or "api"


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
    """Send a client the newest snapshot each time it has shown the one before.

    A message is: 4 bytes, big-endian, length of the JSON; the JSON; the JPEG. The client answers each with any text;
    so one that is slow gets fewer frames, never older ones, and nothing piles up here.
    """
    client, hub = client_of(socket), socket.app.state.hub
    await socket.accept()
    access.enter(client)
    number = -1
    answer = asyncio.ensure_future(socket.receive_text())
    try:
        while True:
            snapshot = await unless_done(answer, hub.newer_than(number))
            number = snapshot.number
            jpeg = await run_in_threadpool(snapshot.jpeg)
            state = full_state(engine, snapshot) | access.describe(client)
            del snapshot  # else its picture would be kept for as long as the client takes
            head = json.dumps(state, separators=(",", ":")).encode()
            await socket.send_bytes(struct.pack(">I", len(head)) + head + jpeg)
            await answer
            answer = asyncio.ensure_future(socket.receive_text())
    except (WebSocketDisconnect, RuntimeError, KeyError):
        return
    finally:
        answer.cancel()
        access.leave(client)
        await asyncio.gather(answer, return_exceptions=True)
        del answer  # its exception knows this frame: a circle that would keep all of it until the collector comes


async def unless_done(answer: asyncio.Future[str], waiting: Coroutine[None, None, T]) -> T:
    """Wait for something, but not beyond what the client says next: that it leaves, as nothing else is due.

    Raises:
        WebSocketDisconnect: The client has left, or sent what nobody asked for.
    """
    task = asyncio.ensure_future(waiting)
    await asyncio.wait([task, cast("asyncio.Future[Any]", answer)], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        return task.result()
    task.cancel()
    if isinstance(left := answer.exception(), WebSocketDisconnect):
        raise WebSocketDisconnect(left.code, left.reason)  # a new one: what the future holds would hold this frame
    raise WebSocketDisconnect(1002, "a message that answers no picture")
