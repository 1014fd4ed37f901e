"""The cache of compiled models: what is another's, cut short or damaged is compiled again, and never an error."""

import pwd
from pathlib import Path

import pytest

from siamedge.runtime.backends.cache import CacheKey, CompiledCache, cache_home, write_atomically
from siamedge.runtime.errors import PlaceError

KEY = CacheKey("ab" * 32, "openvino 2026.4.1", "CPU AMD EPYC x86_64", '{"INFERENCE_NUM_THREADS": 1}')


@pytest.fixture
def cache(tmp_path: Path) -> CompiledCache:
    return CompiledCache(tmp_path / "compiled")


def test_what_was_written_is_read(cache: CompiledCache) -> None:
    assert cache.read(KEY) is None
    cache.write(KEY, b"blob")
    assert cache.read(KEY) == b"blob"
    cache.write(KEY, b"another")
    assert cache.read(KEY) == b"another"


@pytest.mark.parametrize(
    "other",
    [
        KEY._replace(model_sha256="cd" * 32),
        KEY._replace(library="openvino 2026.5.0"),
        KEY._replace(device="CPU Intel x86_64"),
        KEY._replace(options="{}"),
    ],
    ids=["model", "library version", "device", "options"],
)
def test_another_key_finds_nothing_even_under_the_same_file_name(cache: CompiledCache, other: CacheKey) -> None:
    cache.write(KEY, b"blob")
    assert cache.read(other) is None
    (cache.folder / KEY.name).rename(cache.folder / other.name)
    assert cache.read(other) is None


@pytest.mark.parametrize("kept", [0, 10, 40, -33, -1])
def test_an_entry_cut_short_is_not_used(cache: CompiledCache, kept: int) -> None:
    cache.write(KEY, b"blob" * 10)
    path = cache.folder / KEY.name
    path.write_bytes(path.read_bytes()[:kept])
    assert cache.read(KEY) is None


def test_an_entry_with_a_wrong_byte_is_not_used(cache: CompiledCache) -> None:
    cache.write(KEY, b"blob" * 10)
    path = cache.folder / KEY.name
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    assert cache.read(KEY) is None


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = CompiledCache(tmp_path / "file" / "compiled")
    cache.write(KEY, b"blob")
    assert cache.read(KEY) is None


def test_a_write_that_fails_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "entry"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "text is not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(number: int) -> None:
        raise KeyError(number)

    for name in ("SIAMEDGE_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.raises(PlaceError) as caught:
        cache_home()
    assert caught.value.hint == "set SIAMEDGE_CACHE"


def test_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIAMEDGE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_home() == Path("/caches/siamedge")
    monkeypatch.setenv("SIAMEDGE_CACHE", "/mine")
    assert cache_home() == Path("/mine")
