"""Wheels of our own making, resolved by pip for another machine and unpacked."""

import shutil
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from siamedge.devices.releases.layers import Layer, pack
from siamedge.devices.releases.wheelhouse import Platform, requirements, site_layer, unpack_wheel
from siamedge.runtime.errors import DeviceError

PI4 = Platform("3.11", "aarch64", (2, 36))


def wheel(folder: Path, tag: str, files: dict[str, str], name: str = "thing") -> Path:
    path = folder / f"{name}-1.0-{tag}.whl"
    folder.mkdir(exist_ok=True)
    info = f"{name}-1.0.dist-info"
    metadata = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in {**files, **metadata}.items():
            archive.writestr(member, text)
    return path


def test_the_wheel_for_that_machine_is_taken(tmp_path: Path) -> None:
    wheel(tmp_path / "wheels", "cp311-cp311-manylinux_2_28_aarch64", {"thing/__init__.py": "machine = 'aarch64'"})
    wheel(tmp_path / "wheels", "cp311-cp311-manylinux_2_28_x86_64", {"thing/__init__.py": "machine = 'x86_64'"})
    layer = site_layer(PI4, ("thing",), tmp_path / "cache", tmp_path / "wheels")
    assert (layer.folder / "thing/__init__.py").read_text() == "machine = 'aarch64'"
    assert site_layer(PI4, ("thing",), tmp_path / "cache", tmp_path / "wheels") == layer


def test_wheels_of_a_folder_are_known_by_their_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(wheels: Path) -> str:
        return (site_layer(PI4, ("thing",), tmp_path / "cache", wheels).folder / "thing.py").read_text()

    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        wheel(tmp_path / place / "wheels", "py3-none-any", {"thing.py": place})
    monkeypatch.chdir(tmp_path / "here")
    assert made(Path("wheels")) == "here"
    monkeypatch.chdir(tmp_path / "there")
    assert made(Path("wheels")) == "there"
    wheel(tmp_path / "there/wheels", "py3-none-any", {"thing.py": "changed"})
    assert made(Path("wheels")) == "changed"
    shutil.copytree("wheels", tmp_path / "copy")
    cached = (tmp_path / "cache/site").stat().st_mtime_ns
    assert made(tmp_path / "copy") == "changed"
    assert (tmp_path / "cache/site").stat().st_mtime_ns == cached, "nothing was unpacked again"
    shutil.rmtree("wheels")
    with pytest.raises(DeviceError, match=r"^wheels: no such folder$"):
        made(Path("wheels"))


def test_a_python_without_pip_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -IS "$@"\n')
    bare.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(bare))
    with pytest.raises(DeviceError, match=r"^pip is not installed here, ") as caught:
        site_layer(PI4, ("thing",), tmp_path / "cache")
    assert caught.value.hint == f"{bare} -m ensurepip, or --no-wheels"


def test_a_library_that_is_too_new_is_told_with_the_device(tmp_path: Path) -> None:
    wheel(tmp_path / "wheels", "cp311-cp311-manylinux_2_39_aarch64", {"thing/__init__.py": ""})
    with pytest.raises(DeviceError) as caught:
        site_layer(PI4, ("thing",), tmp_path / "cache", tmp_path / "wheels")
    assert str(caught.value).startswith("no wheels for Python 3.11, aarch64, glibc 2.36: ERROR: ")
    assert [path.name for path in (tmp_path / "cache/site").iterdir()] == ["lock"]


def test_devices_that_are_flashed_at_once_share_what_is_made_for_them(tmp_path: Path) -> None:
    wheel(tmp_path / "wheels", "cp311-cp311-manylinux_2_28_aarch64", {"thing/__init__.py": "x" * 100_000})
    at_once = threading.Barrier(4)

    def make(_: int) -> tuple[Layer, bytes]:
        at_once.wait(60)
        layer = site_layer(PI4, ("thing",), tmp_path / "cache", tmp_path / "wheels")
        return layer, pack(layer, tmp_path / "cache/packed").read_bytes()

    with ThreadPoolExecutor(4) as pool:
        made = set(pool.map(make, range(4)))
    ((layer, _),) = made
    packed = tmp_path / f"cache/packed/{layer.name}.tar.gz"
    assert sorted((tmp_path / "cache").glob("*/*")) == sorted(
        [layer.folder, packed, *(tmp_path / "cache" / name / "lock" for name in ("site", "packed"))]
    )


def test_data_folders_of_a_wheel(tmp_path: Path) -> None:
    files = {"a.py": "", "thing-1.0.data/platlib/b.py": "", "thing-1.0.data/scripts/run": "#!python"}
    unpack_wheel(wheel(tmp_path, "py3-none-any", files), tmp_path / "site")
    found = {path.relative_to(tmp_path / "site").as_posix() for path in (tmp_path / "site").iterdir()}
    assert found == {"a.py", "b.py", "thing-1.0.dist-info"}


def test_a_wheel_with_a_path_that_leaves_it(tmp_path: Path) -> None:
    bad = wheel(tmp_path, "py3-none-any", {"../evil.py": ""})
    with pytest.raises(DeviceError, match=r"thing-1.0-py3-none-any.whl has '../evil.py'"):
        unpack_wheel(bad, tmp_path / "site")
    assert not (tmp_path / "evil.py").exists()


def test_requirements_are_those_of_the_metadata() -> None:
    core = {"numpy", "opencv-python-headless", "typer", "rich"}
    names = {word.split(">")[0].split("<")[0] for word in requirements(("tflite",))}
    assert names == core | {"ai-edge-litert"}
    assert {word.split(">")[0].split("<")[0] for word in requirements((), ("web",))} > core
