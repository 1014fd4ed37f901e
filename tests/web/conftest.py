"""An engine that plays a drawn scene, and a client of its server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="needs the extra [web]")
pytest.importorskip("httpx", reason="starlette's test client needs httpx")
pytest.importorskip("websockets", reason="needs the extra [web]")
from served import HOST, SCENE, make_engine, wait_for
from starlette.testclient import TestClient

from siamedge.runtime.web.access import Access
from siamedge.runtime.web.engine import Engine
from siamedge.runtime.web.server import make_app


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    running = make_engine(tmp_path, SCENE, "synthetic:?frames=5&size=64x64&fps=60", str(tmp_path / "gone.mp4"))
    running.start()
    wait_for(lambda: running.newest is not None)
    yield running
    running.close()


@pytest.fixture
def client(engine: Engine) -> Iterator[TestClient]:
    with TestClient(make_app(engine, Access("127.0.0.1")), base_url=HOST) as open_client:
        yield open_client
