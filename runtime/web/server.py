"""The HTTP interface: the page, the verbs, and the stream of frames."""

import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from siamedge.runtime.errors import SiamedgeError
from siamedge.runtime.web.access import Access
from siamedge.runtime.web.engine import Engine
from siamedge.runtime.web.guard import STATIC, Guard, client_of, problem
from siamedge.runtime.web.openapi import document
from siamedge.runtime.web.streaming import Hub, full_state, serve_stream
from siamedge.runtime.web.verbs import VERBS

MOST_BODY_BYTES = 10_000


def make_app(engine: Engine, access: Access) -> ASGIApp:
    """The whole interface as an ASGI application; the engine must have been started, and is closed at its end.

    The end is the last moment for that: after SIGTERM, uvicorn lets the signal end the process when it is done.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.hub = Hub(engine)
        yield
        await run_in_threadpool(engine.close)

    async def openapi(request: Request) -> Response:
        return JSONResponse(document(VERBS))

    async def state(request: Request) -> Response:
        return JSONResponse(full_state(engine, engine.newest))

    async def picture(request: Request) -> Response:
        return await answer_of(run_in_threadpool(engine.picture))

    async def control(request: Request) -> Response:
        access.take_over(client_of(request))
        request.app.state.hub.tell()
        return JSONResponse({"is_controller": True})

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

    pages = StaticFiles(directory=STATIC, html=True, follow_symlink=True)  # links: an editable install consists of them
    routes = [
        Route("/api/openapi.json", openapi),
        Route("/api/state", state),
        Route("/api/snapshot.jpg", picture),
        Route("/api/control", control, methods=["POST"]),
        Route("/api/{verb}", verb, methods=["POST"]),
        WebSocketRoute("/api/stream", stream),
        Route("/", pages),
        Route("/{file}", pages),
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
        return Response(result, media_type="image/jpeg")
    return JSONResponse(result if result is not None else {})


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
