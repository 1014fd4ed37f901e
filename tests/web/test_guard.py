"""Who may ask the page's server, and what every answer carries."""

import pytest

pytest.importorskip("starlette", reason="needs the extra [web]")
pytest.importorskip("httpx", reason="starlette's test client needs httpx")
pytest.importorskip("websockets", reason="needs the extra [web]")
from served import OWN
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from siamedge.runtime.web.access import Access
from siamedge.runtime.web.engine import Engine
from siamedge.runtime.web.guard import HEADERS, STATIC
from siamedge.runtime.web.server import make_app


def test_page_and_its_files_are_served_with_a_strict_policy(client: TestClient) -> None:
    kinds = {".html": "text/html", ".js": "javascript", ".css": "text/css", ".svg": "svg"}
    files = [(f"/{path.name}", kinds[path.suffix]) for path in STATIC.iterdir()]
    for path, kind in [("/", "text/html"), *files]:
        answer = client.get(path)
        assert answer.status_code == 200
        assert kind in answer.headers["content-type"]
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        assert "http://" not in answer.text.replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in answer.text


def test_every_answer_has_the_headers(client: TestClient) -> None:
    refused = client.get("/", headers={"Host": "evil.example"})
    answers = [client.get("/nothing"), client.get("/api/pause"), client.get("/api/state"), refused]
    assert [answer.status_code for answer in answers] == [404, 405, 200, 403]
    for answer in answers:
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert HEADERS["cross-origin-resource-policy"] == "same-origin", "or any site may show the camera's picture"


def test_a_stream_that_is_not_there_is_refused(client: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/elsewhere", headers=OWN):
        pass


def test_bodies_that_are_no_json_or_too_long_are_refused(client: TestClient) -> None:
    for content in (b"{", b"[1]", b"[" * 9999, b"x" * 20_000):
        answer = client.post("/api/pause", content=content)
        assert answer.status_code == 400
        assert answer.json()["error"] == "the body must be a JSON object of at most 10000 bytes"


def test_foreign_origins_and_names_are_refused(client: TestClient) -> None:
    refused = client.post("/api/pause", headers={"Origin": "http://evil.example"})
    assert (refused.status_code, refused.json()["error"]) == (403, "this request comes from another site's page")
    for host in ("evil.example", "["):
        assert client.get("/api/state", headers={"Host": host}).status_code == 403
    assert client.get("/api/state", headers={"Origin": "http://["}).status_code == 403
    assert client.get("/", headers={"Host": "localhost/x"}).status_code == 200
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("/api/stream", headers={**OWN, "Origin": "http://evil.example"}),
    ):
        pass


def test_a_token_is_needed_off_loopback_and_the_link_brings_it(engine: Engine) -> None:
    access = Access.for_host("0.0.0.0")
    with TestClient(make_app(engine, access), base_url="http://board.local:8765") as client:
        for path in ("/", "/main.js", "/api/state", "/api/snapshot.jpg"):
            assert client.get(path).status_code == 401
        assert client.get("/api/state?token=wrong").json()["error"].startswith("open the link with the token")
        for_a_person = client.get("/?token=wrong")
        assert for_a_person.headers["content-type"].startswith("text/html")
        assert "open the link with the token" in for_a_person.text
        assert client.post("/api/pause").status_code == 401
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/api/stream"):
            pass
        bearer = {"Authorization": f"Bearer {access.token}"}
        assert client.get("/api/state", headers=bearer).status_code == 200
        opened = client.get(f"/?token={access.token}", follow_redirects=False)
        assert (opened.status_code, opened.headers["location"]) == (307, "/")
        assert "HttpOnly" in opened.headers["set-cookie"]
        assert "SameSite=lax" in opened.headers["set-cookie"]
        assert opened.headers["set-cookie"].startswith("siamedge-8765=")
        assert client.get("/").status_code == 200
