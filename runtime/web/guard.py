"""Who is let in over HTTP, and the headers of every answer."""

from collections.abc import Mapping
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from siamedge.runtime.web.access import Access, cookie_for

STATIC = Path(__file__).parent / "static"
HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
UNKNOWN = "open the link with the token that siamedge printed at its start"


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
                await refusal(scope, receive, with_headers(send))
            return
        await self._app(scope, receive, with_headers(send))

    def _refusal(self, asked: HTTPConnection) -> Response | None:
        headers = asked.headers
        if not self._access.is_own_page(headers.get("origin"), headers.get("host")):
            return problem(403, "this request comes from another site's page")
        linked, cookie = asked.query_params.get("token"), cookie_for(headers.get("host"))
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if not self._access.is_known(linked or asked.cookies.get(cookie) or bearer):
            is_page = asked.scope["path"] == "/"
            return HTMLResponse((STATIC / "refused.html").read_text(), 401) if is_page else problem(401, UNKNOWN)
        if linked and asked.scope["path"] == "/" and self._access.token:
            answer = RedirectResponse("/")
            # Lax: with "strict", a browser that follows a link on another site's page would not send it with "/".
            answer.set_cookie(cookie, linked, httponly=True, samesite="lax")
            return answer
        return None


def with_headers(send: Send) -> Send:
    """Send, with HEADERS in every answer over HTTP."""

    async def send_with(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(HEADERS)
        await send(message)

    return send_with


def problem(status: int, message: str, hint: str = "") -> JSONResponse:
    """An error as JSON."""
    return JSONResponse({"error": message, "hint": hint}, status)


def client_of(asked: HTTPConnection) -> str:
    """Who asks: the name that a page gives itself, or "api" for programs that give none."""
    return asked.headers.get("x-client") or asked.query_params.get("client") or "api"
