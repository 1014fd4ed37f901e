"""The table of published checkpoints, and exporting one by name through a server on the loopback."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command_line import Run
from file_server import File, serving
from shared import shared_path

from siamedge.export.checkpoints import zoo
from siamedge.export.checkpoints.zoo import ZOO, get_checkpoint, license_of
from siamedge.export.families.dart import Dart, DartConfig, save_dart
from siamedge.export.families.table import ARCHITECTURES
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.errors import ExportError

TINY = DartConfig(layers=((4, 2), (8, 2), (8, 2), (8, 2)), channels=8, head=8, tower=1, template_px=64, search_px=128)
LEFT_OUT = "\nint8 left out: it needs crops that this tracker really sees, --calibration VIDEO\n"


@pytest.mark.parametrize("name", ZOO)
def test_the_table_describes_the_real_files(name: str) -> None:
    item = ZOO[name]
    path = shared_path(f"models/nanotrack/{item.path.name}")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == item.sha256
    assert path.stat().st_size == item.bytes


@pytest.mark.parametrize("name", ZOO)
def test_a_url_names_its_commit_and_its_architecture_is_known(name: str) -> None:
    item = ZOO[name]
    assert item.url.startswith("https://raw.githubusercontent.com/HonglinChu/SiamTrackers/248663fde6bf7c40190cf10ee396")
    assert item.arch == name in ARCHITECTURES
    assert license_of(item.sha256) == "Apache-2.0 (HonglinChu/SiamTrackers @ 248663f, NanoTrack)"


def test_the_licence_of_another_file_is_not_known() -> None:
    assert license_of("0" * 64) is None


@pytest.fixture
def siamedge(siamedge: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command line in an empty folder, on a wide terminal and without a proxy."""
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return siamedge


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[File]:
    """Tiny weights on a loopback server, under the name of a published checkpoint."""
    torch.manual_seed(0)
    save_dart(Dart(TINY), tmp_path / "tiny.safetensors")
    content = (tmp_path / "tiny.safetensors").read_bytes()
    (tmp_path / "tiny.safetensors").unlink()
    with serving(content, "tiny.safetensors") as file:
        row = replace(ZOO["nanotrack-v3"], url=file.url, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
        monkeypatch.setattr(zoo, "ZOO", {"nanotrack-v3": row})
        yield file


def test_a_checkpoint_is_exported_by_name_and_fetched_once(siamedge: Run, published: File) -> None:
    for _ in range(2):
        code, stdout, stderr = siamedge("export", "nanotrack-v3", "--formats", "onnx")
        assert (code, stderr) == (0, "")
        assert LEFT_OUT in stdout
    assert published.ranges == [""]
    manifest = Bundle.open(Path("nanotrack-v3.siamedge")).manifest
    assert manifest.license == "Apache-2.0 (HonglinChu/SiamTrackers @ 248663f, NanoTrack)"
    assert {artifact.precision for artifact in manifest.artifacts} == {"fp32", "fp16"}


def test_a_checkpoint_of_the_user_s_is_exported_without_a_video_too(siamedge: Run, published: File) -> None:
    Path("mine.safetensors").write_bytes(published.content)
    code, stdout, stderr = siamedge("export", "mine.safetensors", "--formats", "onnx")
    assert (code, stderr) == (0, "")
    assert LEFT_OUT in stdout
    manifest = Bundle.open(Path("mine.siamedge")).manifest
    assert {artifact.precision for artifact in manifest.artifacts} == {"fp32", "fp16"}


def test_a_file_of_that_name_comes_first(siamedge: Run, published: File) -> None:
    Path("nanotrack-v3").write_bytes(b"not weights")
    code, _, stderr = siamedge("export", "nanotrack-v3", "--formats", "onnx")
    assert (code, published.ranges) == (1, [])
    assert stderr.startswith("siamedge: nanotrack-v3: ")


def test_without_a_network_it_is_said_where_to_put_the_file(siamedge: Run, published: File) -> None:
    published.status = 503
    row = zoo.ZOO["nanotrack-v3"]
    assert siamedge("export", "nanotrack-v3") == (
        1,
        "",
        f"siamedge: nanotrack-v3 cannot be fetched from {published.url}: the server answered 503 Service Unavailable\n"
        f"  try: again later, it goes on where it was; or put the file ({row.bytes} bytes, sha256 {row.sha256}) at "
        f"{os.environ['SIAMEDGE_CACHE']}/zoo/tiny.safetensors\n",
    )


def test_a_file_that_was_put_by_hand_needs_no_network(published: File) -> None:
    published.status = 503
    row = zoo.ZOO["nanotrack-v3"]
    row.path.parent.mkdir(parents=True)
    row.path.write_bytes(published.content)
    assert get_checkpoint("nanotrack-v3") == row.path
    row.path.write_bytes(published.content + b" ")
    with pytest.raises(ExportError, match="has sha256"):
        get_checkpoint("nanotrack-v3")


def test_the_list_says_what_is_here(siamedge: Run, published: File) -> None:
    code, before, stderr = siamedge("zoo")
    assert (code, stderr) == (0, "")
    get_checkpoint("nanotrack-v3")
    rows = json.loads(siamedge("zoo", "--json")[1])
    assert [(row["name"], row["is_here"]) for row in rows] == [("nanotrack-v3", True)]
    after = siamedge("zoo")[1]
    assert [line.split()[-1] for line in (before + after).splitlines() if "nanotrack-v3" in line] == ["no", "yes"]
