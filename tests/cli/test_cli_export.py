"""`siamedge export` and other commands that write: what is refused, word for word, before anything is computed."""

import json
import re
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterable
from importlib.machinery import PathFinder
from importlib.metadata import Distribution, DistributionFinder
from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import SCENE, TINY_EXPORT, Run, refused


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (
            ("none.pth",),
            "none.pth: no such file",
            "give the path of a .pth or .safetensors checkpoint, or a name that `siamedge zoo` lists",
        ),
        (
            ("folder",),
            "folder: is a folder",
            "give the path of a .pth or .safetensors checkpoint, or a name that `siamedge zoo` lists",
        ),
        (
            ("--report", "no/page.html"),
            "no: no such folder",
            "make it first, or choose another --report",
        ),
        (
            ("text.pth",),
            "text.pth: neither a PyTorch nor a safetensors file, or a damaged one, 5 bytes",
            "give a .pth or .safetensors file of tensors",
        ),
        (("cut.pth",), "cut.pth: the checkpoint is cut off after 500 bytes", "copy it again"),
        (
            ("--arch", "foo"),
            "unknown architecture 'foo'",
            "choose one of nanotrack-v1, nanotrack-v2, nanotrack-v3, siamfc-alexnet, dart",
        ),
        (
            ("--calibration", "folder"),
            "calibration: folder: no images in this folder (.bmp .jpeg .jpg .png .webp)",
            "give the folder that holds the images themselves",
        ),
        (
            ("-o", "text.pth"),
            "text.pth exists and is not a siamedge bundle; it is left alone",
            "choose another -o, or remove it yourself",
        ),
        (("-o", "no/a.siamedge"), "no: no such folder", "make it first, or choose another -o"),
        (
            ("mine.safetensors", "--precisions", "fp32,int8"),
            "int8 needs --calibration: crops that this tracker really sees",
            "add --calibration VIDEO (or a folder of images), or --precisions fp32,fp16",
        ),
    ],
)
def test_what_cannot_be_exported_is_told_and_nothing_is_written(
    siamedge: Run, arguments: tuple[str, ...], message: str, hint: str, tmp_path: Path
) -> None:
    import torch

    from siamedge.export.checkpoints.reading import default_weights

    Path("text.pth").write_text("hello")
    Path("folder").mkdir()
    shutil.copy(default_weights(), "mine.safetensors")
    torch.save({"a": torch.zeros(300)}, "whole.pth")
    Path("cut.pth").write_bytes(Path("whole.pth").read_bytes()[:500])
    before = sorted(tmp_path.iterdir())
    assert siamedge("export", *arguments) == refused(message, hint)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("calibrate", "clip.mp4", "-o", "no/set.npz"), "no: no such folder", "make it first, or choose another --out"),
        (("calibrate", "clip.mp4", "-o", "folder.npz"), "folder.npz: is a folder", "choose another --out"),
        (("eval", "identity", "sequence", "-o", "file"), "file: cannot be made (File exists)", "choose another -o"),
        (
            ("eval", "identity", "sequence", "--html", "no/page.html"),
            "no: no such folder",
            "make it first, or choose another --html",
        ),
    ],
)
def test_where_nothing_can_be_written_is_told_before_anything_is_computed(
    siamedge: Run, arguments: tuple[str, ...], message: str, hint: str
) -> None:
    Path("file").write_text("kept")
    Path("folder.npz").mkdir()
    Path("sequence/img").mkdir(parents=True)
    cv2.imwrite("sequence/img/1.png", np.zeros((48, 64, 3), np.uint8))
    Path("sequence/groundtruth.txt").write_text("1,1,9,9\n")
    assert siamedge(*arguments) == refused(message, hint)
    assert Path("file").read_text() == "kept"


def test_a_place_without_room_for_the_record_is_told_before_it_tunes(
    siamedge: Run, default_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").write_text("")
    monkeypatch.setenv("SIAMEDGE_CACHE", "file")
    expected = refused("file/tuning: cannot be made (Not a directory)", "choose another SIAMEDGE_CACHE")
    assert siamedge("tune", default_bundle) == expected


def test_export_of_a_user_s_checkpoint_ends_with_a_bundle_that_tracks(siamedge: Run) -> None:
    from siamedge.export.checkpoints.reading import default_weights

    shutil.copy(default_weights(), "mine.safetensors")
    found = siamedge("export", "mine.safetensors", *TINY_EXPORT, "-o", "mine.siamedge.zip")
    assert (found.code, found.stderr) == (0, "")
    first_use = "siamedge track mine.siamedge.zip --source synthetic: --output track.mp4"
    assert re.search(rf"\nwrote mine.siamedge.zip \(\d\.\d MB\)\ntry it: {first_use}\n$", found.stdout)
    manifest = json.loads(siamedge("inspect", "mine.siamedge.zip", "--json").stdout)
    assert (manifest["name"], manifest["provenance"]["checkpoint"]) == ("mine", "mine.safetensors")
    assert siamedge("track", "mine.siamedge.zip", "--source", SCENE, "--json").code == 0
    first = Path("mine.siamedge.zip").read_bytes()
    siamedge("export", "mine.safetensors", *TINY_EXPORT, "-o", "mine.siamedge.zip")
    assert Path("mine.siamedge.zip").read_bytes() == first
    assert zipfile.is_zipfile("mine.siamedge.zip")


class PathFinderWithout(PathFinder):
    """Finds what is installed, as Python does, except that some distributions are not."""

    hidden: tuple[str, ...] = ()

    @classmethod
    def find_distributions(cls, context: DistributionFinder.Context | None = None) -> Iterable[Distribution]:  # type: ignore[override]
        found = PathFinder.find_distributions(context or DistributionFinder.Context())
        return [item for item in found if item.metadata["Name"].lower() not in cls.hidden]


@pytest.fixture
def hide(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def without(*names: str) -> None:
        monkeypatch.setattr(PathFinderWithout, "hidden", names)
        monkeypatch.setattr(sys, "meta_path", [PathFinderWithout if f is PathFinder else f for f in sys.meta_path])

    return without


def test_a_format_asked_for_by_name_names_its_missing_library(siamedge: Run, hide: Callable[..., None]) -> None:
    hide("litert-torch", "nncf")
    assert siamedge("export", "--formats", "onnx,tflite") == refused(
        "format tflite needs litert-torch", "pip install 'siamedge[export-tflite]'"
    )
    assert siamedge("export", "--formats", "openvino") == refused(
        "format openvino needs nncf", "pip install 'siamedge[export]'"
    )


def test_formats_not_asked_for_are_left_out_with_a_line(hide: Callable[..., None]) -> None:
    from siamedge.export.pipeline import usable_formats

    hide("litert-torch", "nncf")
    assert usable_formats(None) == (
        ("onnx",),
        (
            "tflite left out: litert-torch not installed (pip install 'siamedge[export-tflite]')",
            "openvino left out: nncf not installed (pip install 'siamedge[export]')",
        ),
    )
