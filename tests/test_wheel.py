"""What is published: every file of every package, nothing else, and small enough for a board's card."""

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from shared import ROOT

PACKAGES = ("cli", "devices", "export", "runtime", "training")
BESIDE = ("benchmarks", "deploy", "docs", "scripts", "tests")
TOP = ("LICENSE", "MANIFEST.in", "README.md", "pyproject.toml")
METADATA = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt")
EGG_INFO = ("PKG-INFO", "SOURCES.txt", "dependency_links.txt", "entry_points.txt", "requires.txt", "top_level.txt")
NAME = "siamedge-" + re.findall(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[0]
LIMIT_BYTES = 8_000_000
NOT_OURS = shutil.ignore_patterns("__pycache__", ".*_cache", "*.egg-info", "build", "dist")


def files_below(root: Path, *folders: str) -> set[str]:
    return {
        path.relative_to(root).as_posix() for name in folders for path in (root / name).rglob("*") if path.is_file()
    }


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources: building writes into the folder that it builds."""
    copy = tmp_path_factory.mktemp("tree")
    for name in (*PACKAGES, *BESIDE):
        shutil.copytree(ROOT / name, copy / name, ignore=NOT_OURS)
    for name in TOP:
        shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def built(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the sdist and of the wheel that was built from it."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(tree)]
    log = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    assert "is absent from the `packages` configuration" not in log.stdout + log.stderr
    return out


def the_only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(tree: Path, built: Path) -> None:
    with zipfile.ZipFile(the_only(built, "*.whl")) as wheel:
        found = set(wheel.namelist())
    info = {f"{NAME}.dist-info/{name}" for name in METADATA}
    assert found == {f"siamedge/{name}" for name in files_below(tree, *PACKAGES)} | info
    assert "siamedge/__init__.py" not in found
    assert "siamedge/export/families/weights/dart_s.safetensors" in found
    # A namespace has no marker of its own: without one in each package, type checkers take all of it for Any (PEP 561).
    assert {f"siamedge/{name}/py.typed" for name in PACKAGES} <= found


def test_the_wheel_holds_the_very_bytes_of_the_sources(tree: Path, built: Path) -> None:
    with zipfile.ZipFile(the_only(built, "*.whl")) as wheel:
        for name in files_below(tree, *PACKAGES):
            assert wheel.read(f"siamedge/{name}") == (ROOT / name).read_bytes(), name


def test_the_source_archive_holds_the_whole_project(tree: Path, built: Path) -> None:
    with tarfile.open(the_only(built, "*.tar.gz")) as archive:
        found = {member.name.partition("/")[2] for member in archive if member.isfile()}
    info = {"PKG-INFO", "setup.cfg", *(f"siamedge.egg-info/{name}" for name in EGG_INFO)}
    assert found == files_below(tree, *PACKAGES, *BESIDE) | set(TOP) | info


def test_a_wheel_fits_a_board(built: Path) -> None:
    assert the_only(built, "*.whl").stat().st_size < LIMIT_BYTES
    assert the_only(built, "*.whl").name == f"{NAME}-py3-none-any.whl"


def test_the_device_needs_its_core_alone(built: Path) -> None:
    with zipfile.ZipFile(the_only(built, "*.whl")) as wheel:
        lines = wheel.read(f"{NAME}.dist-info/METADATA").decode().splitlines()
    needed = {line.partition(" ")[2] for line in lines if line.startswith("Requires-Dist") and "extra ==" not in line}
    assert {item.partition(">")[0].partition("<")[0] for item in needed} == {
        "numpy", "opencv-python-headless", "rich", "typer"
    }  # fmt: skip
    assert "Requires-Python: >=3.10" in lines
