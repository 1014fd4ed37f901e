"""Scripts that measure speed: what is timed and left out, what tables say of it, and that both files are of one run."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import against_opencv
import cold_start
import multi_target
import networks
import outside_network
import pytest
import speed
from scenes import truth_box, write_scene
from shared import ROOT

from siamedge.export.evaluation.baselines import IdentityTracker
from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.tracking.params import SiamFCParams
from siamedge.runtime.tracking.trackers import TrackResult

Script = Callable[..., str]


def table(path: Path) -> list[str]:
    """The rows of a Markdown table, without its head."""
    return [line for line in path.read_text().splitlines() if line.startswith("| ")][1:]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """CPU time that passes only where a test says so."""
    found = SimpleNamespace(ns=0)
    monkeypatch.setattr(time, "process_time_ns", lambda: found.ns)
    return found


def test_scenes_are_neighbouring_frames_with_the_annotated_box_in_whole_pixels(tmp_path: Path) -> None:
    folder = write_scene(tmp_path / "OTB_patch", one_based=True)
    scenes = against_opencv.scenes_of(folder, "240x128", 5)
    assert [scene.box for scene in scenes] == [
        Box(int(2.5 * x), 2 * y, 40, 24) for x, y, _, _ in (truth_box(index) for index in (0, 2, 4, 6, 8))
    ]
    assert scenes[0].before.shape == scenes[0].after.shape == (128, 240, 3)
    assert (scenes[0].before != scenes[0].after).any()


def test_scenes_begin_where_there_is_a_box_and_are_not_made_up(tmp_path: Path) -> None:
    folder = write_scene(tmp_path / "patch")
    lines = (folder / "groundtruth.txt").read_text().splitlines()
    (folder / "groundtruth.txt").write_text("\n".join(["nan,nan,nan,nan", *lines[1:]]) + "\n")
    assert against_opencv.scenes_of(folder, "96x64", 10)[0].box == truth_box(1)
    with pytest.raises(SourceError, match="10 frames have a box and a frame after them, --scenes is 11"):
        against_opencv.scenes_of(folder, "96x64", 11)


def test_a_row_has_the_median_and_the_median_of_ratios() -> None:
    medians = {"cv2.TrackerNano": [4.0, 40.0, 4.0], "ours": [2.0, 10.0, 1.0]}
    found = against_opencv.rows("1x1", {"medians_ms": medians, "verdicts": {"ours": "pass"}})
    assert found == ["| 1x1 | cv2.TrackerNano | 4.00 | 1.00 |  |", "| 1x1 | ours | 2.00 | 4.00 | pass |"]


def test_bundles_of_one_network_are_told_apart(
    script: Script, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("against_opencv.opencv_nano", lambda *_: IdentityTracker())
    other = shutil.copytree(tiny_bundle, tmp_path / "other.siamedge")
    bundles = ("--bundle", tiny_bundle, "--bundle", other)
    asked = ("--sequence", write_scene(tmp_path / "patch"), "--backbone", "a", "--head", "b")
    script("against_opencv", *bundles, *asked, "--rounds", "2", "--scenes", "2", "--size", "480x360", "--out", "out")
    found = json.loads(Path("out/against_opencv.json").read_text())
    (size,) = found["measured"].items()
    assert list(size[1]["verdicts"]) == [f"dart of {path} onnxruntime fp32" for path in sorted([other, tiny_bundle])]
    assert {len(taken) for taken in size[1]["medians_ms"].values()} == {2}
    assert sorted(table(Path("out/against_opencv.md"))) == sorted(against_opencv.rows(*size))
    assert found["arguments"]["scenes"] == 2
    assert set(found["bundles"]) == {"tiny", "other"}
    assert found["arguments"]["bundle"] == ["tiny.siamedge", "other.siamedge"]
    assert {"date", "processor", "opencv", "onnxruntime", "siamedge"} <= set(found["conditions"])


def test_a_rivals_file_that_is_not_there_is_named_in_words_that_fit_both_commands(
    script: Script, tiny_bundle: Path, tmp_path: Path
) -> None:
    asked = ("--sequence", write_scene(tmp_path / "patch"), "--backbone", "a.onnx", "--head", "b.onnx", "--scenes", "2")
    with pytest.raises(SystemExit) as stop:
        script("against_opencv", "--bundle", tiny_bundle, *asked, "--size", "480x360")
    hint = "name the two ONNX files of cv2.TrackerNano, the backbone first"
    assert stop.value.code == f"against_opencv.py: a.onnx: no such file\n  try: {hint}"


def test_outside_is_an_update_without_its_networks_runs(clock: SimpleNamespace) -> None:
    timed = SimpleNamespace(runs=[])

    class Tracker:
        def init(self, frame: Image, box: Box) -> None:
            clock.ns += 50_000_000

        def update(self, frame: Image) -> TrackResult:
            for run_ns in (3_000_000, 2_000_000):
                clock.ns += 250_000
                timed.runs.append((clock.ns, clock.ns + run_ns))
                clock.ns += run_ns
            return TrackResult(Box(0, 0, 1, 1), 1.0, lost=False)

    place = outside_network.Place((64, 48), Box(1, 1, 9, 9), "middle")
    assert outside_network.outside_ms(Tracker(), timed, place, 3) == 0.5


def test_the_crop_of_a_square_target_is_told_in_pixels_of_the_frame() -> None:
    place = outside_network.Place((640, 480), Box(0, 0, 127, 127), "corner")
    found = outside_network.measured(place, SiamFCParams(), 0.25)
    assert outside_network.row(found) == "| 640x480 | 127x127 | corner | 510 | 0.250 |"


def test_outside_network_writes_a_row_a_place(
    script: Script, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outside_network, "SIZES", ((320, 240), (960, 720)))
    script("outside_network", tiny_bundle, "--backend", "onnxruntime", "--updates", "2", "--out", "out")
    found = json.loads(Path("out/outside_network.json").read_text())["measured"]
    targets = [[67, 60], [67, 60], [100, 90], [100, 90], [200, 180], [200, 180]]
    assert sorted(item["target"] for item in found if item["target"] != [100, 90] or "960" in item["frame"]) == targets
    assert table(Path("out/outside_network.md")) == [outside_network.row(item) for item in found]
    assert min(item["ms"] for item in found) > 0


def test_a_target_more_costs_a_seventh_of_the_difference(clock: SimpleNamespace) -> None:
    class Tracker:
        targets = 0

        def init(self, frame: Image, boxes: list[Box]) -> None:
            self.targets = len(boxes)
            clock.ns += 99_000_000

        def update(self, frame: Image) -> None:
            clock.ns += 500_000 + self.targets * 2_000_000

    one, eight = (multi_target.update_ms(Tracker(), [None] * 4, [Box(0, 0, 1, 1)] * count) for count in (1, 8))
    assert (one, eight) == (2.5, 16.5)
    rounds = [(one, eight, (eight - one) / 7, 1.6), (25.0, 165.0, 20.0, 10.0), (2.5, 16.5, 2.0, 1.0)]
    assert multi_target.row("x", rounds) == "| x | 2.50 | 16.50 | 2.00 | 1.60 | 2.00 |"


def test_multi_target_writes_what_can_run_here_and_names_what_cannot(
    script: Script, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "siamedge.runtime.backends.openvino_backend.OpenVINOBackend.unavailable", lambda *_: "not installed"
    )
    script("multi_target", tiny_bundle, "--rounds", "1", "--out", "out")
    found = json.loads(Path("out/multi_target.json").read_text())["measured"]
    assert list(found) == ["onnxruntime"]
    ((one, eight, extra, network),) = found["onnxruntime"]["rounds"]
    assert extra == pytest.approx((eight - one) / 7)
    assert 0 < network < one
    assert table(Path("out/multi_target.md")) == [multi_target.row("onnxruntime", found["onnxruntime"]["rounds"])]
    assert "Not measured: openvino (not installed)." in Path("out/multi_target.md").read_text()


def test_a_cold_start_of_a_zip_is_that_of_its_models(script: Script, tiny_bundle: Path, tmp_path: Path) -> None:
    packed = Path(shutil.make_archive(str(tmp_path / "tiny"), "zip", tiny_bundle)).rename(tmp_path / "zip.siamedge")
    script("cold_start", packed, "--rounds", "1", "--out", "out")
    found = json.loads(Path("out/cold_start.json").read_text())["measured"]["onnxruntime"]
    (bare,), (ours,) = found["times_ms"].values()
    assert found["ratio"] == ours / bare
    assert table(Path("out/cold_start.md")) == [cold_start.row("onnxruntime", found)]


def test_each_table_of_all_speed_tables_has_its_script() -> None:
    options = SimpleNamespace(v2="v2", default="dart", sequence="s", backbone="b", head="h", core=1, out="o")
    made = speed.commands(options)  # type: ignore[arg-type]
    for name, *_ in made:
        assert (ROOT / "docs/results" / f"{Path(name).stem}.md").is_file()
        assert Path(name).stem in str(speed.__doc__)
    assert made[1] == ["outside_network.py", "v2", "--core", "1", "--out", "o"]


def test_a_script_that_fails_ends_all(tmp_path: Path) -> None:
    asked = [sys.executable, ROOT / "benchmarks/speed.py", "--core", str(min(os.sched_getaffinity(0)))]
    files = [f"--{name}=nope" for name in ("v2", "default", "sequence", "backbone", "head")]
    done = subprocess.run([*asked, *files, "--out", tmp_path / "out"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "== against_opencv.py\n")
    assert "against_opencv.py: nope: no such data set\n" in done.stderr
    assert done.stderr.endswith("against_opencv.py ended with 1; its table and those after it are as they were\n")
    assert not (tmp_path / "out").exists()


def test_a_network_is_written_when_it_is_done_and_the_others_rows_stay(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("out").mkdir()
    kept = "| siamfc-alexnet | onnx fp32 | 1 | pass | some other processor |"
    Path("out/networks.md").write_text(f"# x\n\n{kept}\n| nanotrack-v1 | old |\n")
    Path("out/networks.json").write_text(json.dumps({"siamfc-alexnet": {"load": "idle"}}))

    def export(network: str, given: object) -> SimpleNamespace:
        if network == "nanotrack-v2":
            raise SourceError("no such clip")
        return SimpleNamespace(measured=[])

    monkeypatch.setattr(networks, "export_network", export)
    monkeypatch.setattr(networks, "rows", lambda network, result: [f"| {network} | new |"])
    with pytest.raises(SystemExit, match=r"networks\.py: no such clip"):
        script("networks", "--models", "x", "--calibration", "y", "--out", "out", "--load", "busy")
    assert table(Path("out/networks.md")) == ["| dart (default) | new |", "| nanotrack-v1 | new |", kept]
    heading = Path("out/networks.md").read_text()
    assert "what\nelse the machine did: idle (siamfc-alexnet), busy (dart (default)), busy (nanotrack-v1)." in heading
    assert list(json.loads(Path("out/networks.json").read_text())) == [
        "dart (default)",
        "nanotrack-v1",
        "siamfc-alexnet",
    ]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("multi_target", ("--rounds", "0"), "argument --rounds: '0', expected a whole number of at least 1"),
        ("cold_start", ("--core", "999"), "argument --core: '999' is no processor that this process may use"),
        ("outside_network", ("--backend", "tensorflow"), "argument --backend: invalid choice: 'tensorflow'"),
        ("multi_target", ("--precision", "fp8"), "argument --precision: invalid choice: 'fp8'"),
    ],
)
def test_wrong_arguments_are_refused(
    script: Script, capfd: pytest.CaptureFixture[str], name: str, arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        script(name, "a.siamedge", *arguments)
    assert (stop.value.code, message in capfd.readouterr().err) == (2, True)


@pytest.mark.parametrize("name", ["multi_target", "cold_start", "outside_network"])
def test_a_bundle_that_is_not_there_is_one_line(script: Script, name: str) -> None:
    with pytest.raises(SystemExit) as stop:
        script(name, "nope.siamedge", "--out", "out")
    assert str(stop.value.code).startswith(f"{name}.py: nope.siamedge: no such bundle\n  try: ")
    assert not Path("out").exists()
