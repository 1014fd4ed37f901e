"""`siamedge export --max-drop` and `siamedge calibrate` from the command line, on a small network and drawn clips."""

import json
import re
from pathlib import Path

import cv2
import pytest
import torch
from command_line import Run
from html_cells import Cells

from siamedge.export.calibration.crop_sets import CalibrationSet
from siamedge.export.families.dart import Dart, DartConfig, save_dart
from siamedge.runtime.sources.synthetic import SyntheticSource

CONFIG = DartConfig(layers=((8, 2), (8, 2), (16, 2)), channels=8, head=8, tower=1, template_px=32, search_px=64)
EXPORT = ("--formats", "onnx", "--calibration", "clip", "--time-budget", "0")


@pytest.fixture
def siamedge(siamedge: Run, monkeypatch: pytest.MonkeyPatch, clips: Path) -> Run:
    """Runs the command line in the folder of the clips and networks."""
    monkeypatch.chdir(clips)
    return siamedge


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip to calibrate on, an annotated data set of two, a network, and one that int8 cannot hold."""
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "clip", 5, 70)
    for seed in (7, 8):
        name = folder / "annotated" / f"scene{seed}"
        write_clip(name / "img", seed, 8)
        scene = SyntheticSource(seed=seed, frames=8)
        rows = (",".join(f"{side:.3f}" for side in scene.box_at(frame)) for frame in range(8))
        (name / "groundtruth.txt").write_text("\n".join(rows) + "\n")
    (folder / "empty").mkdir()
    save_dart(make_network(1.0), folder / "sound.safetensors", half=False)
    save_dart(make_network(30.0), folder / "wild.safetensors", half=False)
    return folder


def write_clip(folder: Path, seed: int, frames: int) -> None:
    folder.mkdir(parents=True)
    for frame in SyntheticSource(seed=seed, frames=frames):
        cv2.imwrite(str(folder / f"{frame.index:04d}.png"), frame.image)


def make_network(steepness: float) -> Dart:
    """Weights so large that peaks depend on the crop; boxes depend on the features as steeply as asked for.

    Features in int8 have steps of 6 / 255. Where a step changes a log distance by a tenth, boxes are pixels off.
    """
    torch.manual_seed(3)
    network = Dart(CONFIG).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2.0 if parameter.ndim == 4 else 0.0)
        network.box.weight *= steepness
    return network


def test_what_int8_costs_in_tracking_is_printed_kept_and_reported(siamedge: Run) -> None:
    gate = ("--validation", "annotated", "--max-drop", "1", "--report", "gate.html")
    found = siamedge("export", "sound.safetensors", *EXPORT, *gate, "-o", "sound.siamedge")
    assert (found.code, found.stderr) == (0, "")
    manifest = json.loads(Path("sound.siamedge/manifest.json").read_text())
    (trial,) = manifest["quantization"]
    drop = trial["tracking"]
    assert (drop["metric"], drop["dataset"], drop["sequences"]) == ("auc", "annotated", 2)
    assert drop["drop"] == pytest.approx(drop["fp32"] - drop["int8"])
    assert drop["low"] <= drop["drop"] <= drop["high"]
    line = f"auc {drop['int8']:.4f}, drop {drop['drop']:+.4f} (95 %: {drop['low']:+.4f} to {drop['high']:+.4f})"
    assert f"{line} on 2 sequences" in " ".join(found.stdout.split())
    assert found.stdout.endswith("wrote gate.html\n")
    page = Cells(Path("gate.html").read_text())
    assert [row[0] for row in page.rows[1:4]] == ["onnx fp32", "onnx fp16", "onnx int8"]
    (tried,) = [row for row in page.rows if row[0] == f"{trial['recipe']} (chosen)"]
    assert tried[6:9] == [
        f"{trial['peak_agreement']:.1%}", f"{trial['box_px']:.2f}", f"auc {drop['int8'] - drop['fp32']:+.4f}"
    ]  # fmt: skip


def test_a_precision_asked_for_by_name_that_misses_its_budget_is_exit_code_3(siamedge: Run) -> None:
    found = siamedge("export", "wild.safetensors", *EXPORT, "--precisions", "fp32,int8", "-o", "wild.siamedge")
    assert (found.code, found.stderr) == (3, "")
    assert "onnx int8: none within budget, this is the nearest after 1 tried" in " ".join(found.stdout.split())
    manifest = json.loads(Path("wild.siamedge/manifest.json").read_text())
    assert [item["verdict"] for item in manifest["verification"]] == ["pass", "not recommended"]
    assert manifest["recommended"]["onnx"] == {"precision": "fp32", "reason": "within budget; int8 beyond budget"}


def test_a_report_that_cannot_be_written_is_told_before_anything_is_done(siamedge: Run) -> None:
    assert siamedge("export", "sound.safetensors", "--report", "gate.txt") == (
        1, "", "siamedge: gate.txt: the report's name must end in .html\n  try: --report FILE.html\n"
    )  # fmt: skip
    assert siamedge("export", "sound.safetensors", "--report", "gate.html", "-o", "gate.html") == (
        1, "", "siamedge: gate.html: is the bundle's name too\n  try: choose another --report\n"
    )  # fmt: skip
    assert siamedge("export", "sound.safetensors", "--report", "none/gate.html") == (
        1, "", "siamedge: none: no such folder\n  try: make it first, or choose another --report\n"
    )  # fmt: skip


def test_a_drop_without_a_data_set_is_refused(siamedge: Run) -> None:
    assert siamedge("export", "sound.safetensors", *EXPORT, "--max-drop", "0.01") == (
        1,
        "",
        "siamedge: --max-drop needs --validation: annotated sequences to track on\n  try: add --validation DATASET\n",
    )


@pytest.mark.parametrize("option", [("--strict",), ("--validation", "clip", "--max-drop", "0.01")])
def test_a_gate_of_int8_is_refused_where_none_is_made(siamedge: Run, option: tuple[str, ...]) -> None:
    found = siamedge("export", "sound.safetensors", "--precisions", "fp32", *option, "-o", "none.siamedge")
    assert found.code == 2
    assert "is about int8, which is not made; add --calibration VIDEO" in found.stderr
    assert not Path("none.siamedge").exists()


def test_calibrate_writes_the_set_that_it_names(siamedge: Run) -> None:
    found = siamedge("calibrate", "sound.safetensors", "clip", "-o", "crops.npz", "--count", "9")
    assert (found.code, found.stderr) == (0, "")
    crops = CalibrationSet.load(Path("crops.npz"))
    words = f"9 search crops of {len(crops.templates)} targets, sha256 {crops.sha256[:16]}"
    assert found.stdout == f"wrote crops.npz: {words}\n"
    again = siamedge("calibrate", "sound.safetensors", "clip", "-o", "crops.npz", "--count", "9")
    assert again.stdout == found.stdout
    other = siamedge("calibrate", "sound.safetensors", "clip", "-o", "crops.npz", "--count", "9", "--seed", "1")
    assert re.match(r"wrote crops\.npz: 9 search crops", other.stdout)
    assert other.stdout != found.stdout


@pytest.mark.parametrize(
    ("arguments", "message", "hint", "code"),
    [
        (("sound.safetensors", "-o", "a.npz"), "invalid value for 'SOURCE': no video or folder given", None, 2),
        (("clip", "-o", "a.zip"), "invalid value for '--out': a.zip: the set's name must end in .npz", None, 2),
        (
            ("none.pth", "clip", "-o", "a.npz"),
            "none.pth: no such file",
            "give the path of a .pth or .safetensors checkpoint, or a name that `siamedge zoo` lists",
            1,
        ),
        (
            ("sound.safetensors", "empty", "-o", "a.npz"),
            "calibration: empty: no images in this folder (.bmp .jpeg .jpg .png .webp)",
            "give the folder that holds the images themselves",
            1,
        ),
    ],
)
def test_what_cannot_be_calibrated_on_is_told(
    siamedge: Run, arguments: tuple[str, ...], message: str, hint: str | None, code: int
) -> None:
    hint = hint or "siamedge calibrate --help"
    assert siamedge("calibrate", *arguments) == (code, "", f"siamedge: {message}\n  try: {hint}\n")
    assert not Path("a.npz").exists()
