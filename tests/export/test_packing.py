"""A bundle is written whole or not at all, the same every time, and never over something that is not ours."""

import threading
import zipfile
from pathlib import Path

import pytest
from bundles import FILES, make_manifest

from siamedge.export.bundles.packing import check_replaceable, replace_at_once, write_bundle
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.errors import SiamedgeError

HINT = "choose another -o, or remove it yourself"


def contents_of(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refusal(out: Path) -> tuple[str, str]:
    with pytest.raises(SiamedgeError) as caught:
        write_bundle(out, make_manifest(), FILES)
    return str(caught.value), caught.value.hint


def test_folder_and_zip_hold_the_same_bytes(tmp_path: Path) -> None:
    write_bundle(tmp_path / "a.siamedge", make_manifest(), FILES)
    write_bundle(tmp_path / "a.siamedge.zip", make_manifest(), FILES)
    with zipfile.ZipFile(tmp_path / "a.siamedge.zip") as archive:
        zipped = {name: archive.read(name) for name in archive.namelist()}
        assert archive.namelist() == sorted(zipped)
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert contents_of(tmp_path / "a.siamedge") == zipped
    assert {name: zipped[name] for name in FILES} == FILES


def test_two_writes_give_equal_bytes_whatever_the_order_of_the_files(tmp_path: Path) -> None:
    write_bundle(tmp_path / "a.zip", make_manifest(), FILES)
    write_bundle(tmp_path / "b.zip", make_manifest(), dict(reversed(FILES.items())))
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


@pytest.mark.parametrize("name", ["a.siamedge", "a.zip"])
def test_our_own_bundle_is_replaced_and_nothing_else_is_left(tmp_path: Path, name: str) -> None:
    write_bundle(tmp_path / name, make_manifest(), FILES)
    write_bundle(tmp_path / name, make_manifest()._replace(name="second"), FILES)
    assert Bundle.open(tmp_path / name).manifest.name == "second"
    assert names_in(tmp_path) == [name]


@pytest.mark.parametrize("name", ["a.siamedge", "a.zip"])
def test_a_bundle_of_the_other_kind_is_replaced_too(tmp_path: Path, name: str) -> None:
    (tmp_path / "there").mkdir()
    other = tmp_path / "there" / ("b.zip" if name == "a.siamedge" else "b.siamedge")
    write_bundle(other, make_manifest(), FILES)
    other.rename(tmp_path / name)
    write_bundle(tmp_path / name, make_manifest()._replace(name="second"), FILES)
    assert Bundle.open(tmp_path / name).manifest.name == "second"
    assert (tmp_path / name).is_dir() == (name == "a.siamedge")


def test_an_empty_folder_becomes_the_bundle(tmp_path: Path) -> None:
    (tmp_path / "a.siamedge").mkdir()
    write_bundle(tmp_path / "a.siamedge", make_manifest(), FILES)
    assert Bundle.open(tmp_path / "a.siamedge").manifest == make_manifest()


def test_a_foreign_file_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "thesis.zip"
    out.write_text("three years of work")
    assert refusal(out) == (f"{out} exists and is not a siamedge bundle; it is left alone", HINT)
    assert out.read_text() == "three years of work"


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/thesis.tex").write_text("three years of work")
    assert refusal(tmp_path / "home") == (
        f"{tmp_path / 'home'} exists and is not a siamedge bundle; it is left alone", HINT
    )  # fmt: skip
    assert (tmp_path / "home/thesis.tex").read_text() == "three years of work"


def test_a_bundle_in_which_somebody_keeps_a_file_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "a.siamedge"
    write_bundle(out, make_manifest(), FILES)
    (out / "models/notes.txt").write_text("measured on the roof")
    assert refusal(out) == (f"{out} holds models/notes.txt, which is not of the bundle; it is left alone", HINT)
    assert (out / "models/notes.txt").read_text() == "measured on the roof"


def test_a_link_to_nowhere_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "a.siamedge"
    out.symlink_to(tmp_path / "unplugged-disk")
    assert refusal(out) == (f"{out} exists and is not a siamedge bundle; it is left alone", HINT)
    assert out.is_symlink()


def test_a_missing_parent_folder_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "x/a.siamedge") == (
        f"{tmp_path / 'x'}: no such folder", "make it first, or choose another -o"
    )  # fmt: skip


def test_a_disk_that_refuses_is_an_error_of_ours() -> None:
    message, _ = refusal(Path("/proc/a.siamedge"))
    assert message.startswith("/proc")


def test_a_name_longer_than_the_disk_takes_is_an_error_of_ours(tmp_path: Path) -> None:
    out = tmp_path / ("n" * 250)
    message, hint = refusal(out)
    assert message.startswith(f"{out}: ")
    assert message.endswith("bytes cannot be written (File name too long)")
    assert hint == "is there space, may you write there?"
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("name", ["a.siamedge", "a.zip"])
def test_a_write_that_breaks_off_leaves_what_was_there(tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    write_bundle(out, make_manifest(), FILES)
    no_bytes = {**FILES, "models/the-last": None}
    with pytest.raises(TypeError):
        write_bundle(out, make_manifest()._replace(name="second"), no_bytes)  # type: ignore[arg-type]
    assert Bundle.open(out).manifest == make_manifest()
    assert names_in(tmp_path) == [name]


def test_a_folder_moved_aside_comes_back_when_its_successor_is_missing(tmp_path: Path) -> None:
    out = tmp_path / "a.siamedge"
    write_bundle(out, make_manifest(), FILES)
    before = contents_of(out)
    with pytest.raises(FileNotFoundError):
        replace_at_once(tmp_path / "never-written", out, tmp_path / "old")
    assert contents_of(out) == before
    assert names_in(tmp_path) == ["a.siamedge"]


def test_a_reader_meanwhile_sees_a_whole_zip_file(tmp_path: Path) -> None:
    out = tmp_path / "a.zip"
    write_bundle(out, make_manifest(), FILES)
    done, names = threading.Event(), set()

    def read() -> None:
        while not done.is_set():
            names.add(Bundle.open(out).manifest.name)

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(20):
        write_bundle(out, make_manifest()._replace(name=f"number {i}"), FILES)
    done.set()
    reader.join()
    assert names
    assert names <= {"tiny", *(f"number {i}" for i in range(20))}


def test_what_may_be_replaced_is_known_before_the_work_begins(tmp_path: Path) -> None:
    check_replaceable(tmp_path / "new.siamedge")
    (tmp_path / "file").write_text("x")
    with pytest.raises(SiamedgeError):
        check_replaceable(tmp_path / "file")
