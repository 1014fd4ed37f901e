"""Fetching a file of known hash from a server on the loopback, with what goes wrong on networks."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from file_server import File, serving

from siamedge.export.checkpoints import download
from siamedge.export.checkpoints.download import Download, fetch
from siamedge.runtime.errors import ExportError

CONTENT = bytes(range(256)) * 1200
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[File]:
    with serving(CONTENT) as file:
        yield file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "zoo/weights.bin"


def wanted(server: File, sha256: str = SHA256, size: int = len(CONTENT)) -> Download:
    return Download("net", server.url, sha256, size)


def left_over(path: Path) -> list[str]:
    return [item.name for item in path.parent.iterdir()]


def how_to_help(path: Path) -> str:
    return f"again later, it goes on where it was; or put the file ({len(CONTENT)} bytes, sha256 {SHA256}) at {path}"


def test_a_file_is_fetched_whole_with_progress(server: File, path: Path) -> None:
    seen: list[tuple[int, int]] = []
    assert fetch(wanted(server), path, lambda done, total: seen.append((done, total))) == path
    assert path.read_bytes() == CONTENT
    assert left_over(path) == ["weights.bin"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)
    assert server.ranges == [""]


def test_a_second_use_opens_no_connection(server: File, path: Path) -> None:
    fetch(wanted(server), path)
    fetch(wanted(server), path)
    assert len(server.ranges) == 1


def test_a_broken_connection_is_taken_up_where_it_broke(server: File, path: Path) -> None:
    server.cut_after = 200_000
    fetch(wanted(server), path)
    assert path.read_bytes() == CONTENT
    assert server.ranges == ["", "bytes=200000-"]


def test_a_later_call_takes_up_what_an_earlier_one_left(server: File, path: Path) -> None:
    server.cut_after = 10_000
    with pytest.raises(ExportError) as refusal:
        fetch(wanted(server), path)
    assert str(refusal.value) == (
        f"net cannot be fetched from {server.url}: the connection was closed after 30000 of {len(CONTENT)} bytes"
    )
    assert refusal.value.hint == how_to_help(path)
    assert left_over(path) == ["weights.bin.part"]
    server.cut_after = 0
    fetch(wanted(server), path)
    assert path.read_bytes() == CONTENT
    assert server.ranges == ["", "bytes=10000-", "bytes=20000-", "bytes=30000-"]


def test_a_server_without_ranges_sends_all_again(server: File, path: Path) -> None:
    path.parent.mkdir()
    path.with_name("weights.bin.part").write_bytes(CONTENT[:5000])
    server.has_range = False
    fetch(wanted(server), path)
    assert path.read_bytes() == CONTENT
    assert server.ranges == ["bytes=5000-"]


def test_a_file_of_another_hash_is_not_kept(server: File, path: Path) -> None:
    server.content = CONTENT[::-1]
    found = hashlib.sha256(server.content).hexdigest()[:16]
    size = len(CONTENT)
    message = f"net: weights.bin.part has sha256 {found} and {size} bytes, expected {SHA256[:16]} and {size}"
    with pytest.raises(ExportError, match=f"^{re.escape(message)}$"):
        fetch(wanted(server), path)
    assert left_over(path) == []


def test_a_part_of_another_file_is_not_kept(server: File, path: Path) -> None:
    path.parent.mkdir()
    path.with_name("weights.bin.part").write_bytes(b"x" * 5000)
    with pytest.raises(ExportError, match="has sha256"):
        fetch(wanted(server), path)
    assert left_over(path) == []
    fetch(wanted(server), path)
    assert path.read_bytes() == CONTENT


def test_a_file_that_never_ends_is_given_up(server: File, path: Path) -> None:
    with pytest.raises(ExportError, match=r"^net: http://.*/weights\.bin gives more than 99999 bytes$"):
        fetch(wanted(server, size=99_999), path)
    assert left_over(path) == []


def test_a_part_beyond_the_servers_end_is_thrown_away(server: File, path: Path) -> None:
    path.parent.mkdir()
    path.with_name("weights.bin.part").write_bytes(CONTENT)
    with pytest.raises(ExportError, match="the server answered 416"):
        fetch(wanted(server, size=len(CONTENT) + 9), path)
    assert server.ranges == [f"bytes={len(CONTENT)}-", "", f"bytes={len(CONTENT)}-"]


def test_a_missing_file_is_asked_for_once(server: File, path: Path) -> None:
    server.status = 404
    with pytest.raises(ExportError, match=r"the server answered 404 Not Found$"):
        fetch(wanted(server), path)
    assert len(server.ranges) == 1


def test_a_server_that_is_down_is_told_with_what_to_do(path: Path) -> None:
    with serving(CONTENT) as server:
        pass
    with pytest.raises(ExportError, match=r"^net cannot be fetched from http://127\.0\.0\.1:\d+/.*refused") as refusal:
        fetch(wanted(server), path)
    assert refusal.value.hint == how_to_help(path)
    assert left_over(path) == []


def test_a_silent_server_is_given_up(server: File, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT_S", 0.2)
    server.is_stalled = True
    with pytest.raises(ExportError, match=r"weights\.bin: timed out$"):
        fetch(wanted(server), path)


def test_a_file_that_was_put_there_is_checked(server: File, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"other")
    with pytest.raises(ExportError, match=r"^net: weights\.bin has sha256 ") as refusal:
        fetch(wanted(server), path)
    assert refusal.value.hint == f"delete {path}; it is fetched again then"
    assert path.read_bytes() == b"other"
    assert server.ranges == []


def test_a_cache_that_cannot_be_written_is_told(server: File, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="cannot be written") as refusal:
        fetch(wanted(server), tmp_path / "file/weights.bin")
    assert refusal.value.hint == "set SIAMEDGE_CACHE to another folder"


def test_another_scheme_is_refused(path: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(CONTENT)
    with pytest.raises(ExportError, match="not a web address"):
        fetch(Download("net", (tmp_path / "secret").as_uri(), SHA256, len(CONTENT)), path)
