"""The command line word for word: what a user reads, on which stream, and the exit code."""

import ast
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import SCENE, Run, refused
from shared import ROOT

from siamedge.cli.consoles import plain_console
from siamedge.cli.main import COMMANDS, main
from siamedge.cli.tune import tuning_table
from siamedge.runtime.sources.source import quiet_opencv
from siamedge.runtime.sources.synthetic import SyntheticSource
from siamedge.runtime.speed.tuning_record import SCHEMA, Trial, Tuning

KEYS = ["frame", "time_s", "box", "score", "state", "latency_ms"]


def write_video(path: Path, frames: Iterable[np.ndarray]) -> None:
    quiet_opencv()
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for frame in frames:
        writer.write(frame)
    writer.release()


def test_version_is_that_of_the_package(siamedge: Run) -> None:
    assert siamedge("--version") == (0, f"siamedge {version('siamedge')}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message", "command"),
    [
        ((), "no command given", "siamedge"),
        (("frobnicate",), "no such command 'frobnicate'", "siamedge"),
        (("--fast",), "no such option: --fast", "siamedge"),
        (("track", "a.siamedge"), "missing option '--source'", "siamedge track"),
        (("track", "a.siamedge", "--source"), "option '--source' requires an argument", "siamedge track"),
        (
            ("track", "a.siamedge", "--source", "0", "--threads", "0"),
            "invalid value for '--threads': 0 is not in the range 1<=x<=512",
            "siamedge track",
        ),
        (
            ("track", "a.siamedge", "--source", "0", "--backend", "cuda"),
            "invalid value for '--backend': 'cuda' is unknown; choose one of tflite, openvino, onnxruntime",
            "siamedge track",
        ),
        (
            ("track", "a.siamedge", "--source", "0", "--precision", "fp32,int8"),
            "invalid value for '--precision': 'fp32,int8' is unknown; choose one of fp32, fp16, int8, bf16",
            "siamedge track",
        ),
        (
            ("export", "--max-drop", "nan"),
            "invalid value for '--max-drop': nan is no number",
            "siamedge export",
        ),
        (
            ("export", "--formats", "onnx,coreml"),
            "invalid value for '--formats': 'coreml' is unknown; choose from onnx, tflite, openvino",
            "siamedge export",
        ),
        (
            ("export", "--precisions", ","),
            "invalid value for '--precisions': the list is empty; choose from fp32, fp16, int8, bf16",
            "siamedge export",
        ),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    siamedge: Run, arguments: tuple[str, ...], message: str, command: str
) -> None:
    assert siamedge(*arguments) == refused(message, f"{command} --help", 2)


@pytest.mark.parametrize("text", ["1,2,3", "1,2,3,4,5", "a,b,c,d", "", "1 2 3 4"])
def test_a_malformed_start_box_is_told(siamedge: Run, default_bundle: Path, text: str) -> None:
    assert siamedge("track", default_bundle, "--source", SCENE, "--init", text) == refused(
        f"invalid value for '--init': {text!r} is not x,y,w,h: four numbers, pixels of the first frame",
        "siamedge track --help",
        2,
    )


IN_PIXELS = "--init x,y,w,h: width and height in pixels, not shares of the frame"


@pytest.mark.parametrize(
    ("init", "message", "hint"),
    [
        (
            "320,100,20,20",
            "the start box 320,100,20,20 is outside the frame of 320 x 240 pixels",
            "--init x,y,w,h: left top corner and size, in pixels from the left top of the frame",
        ),
        (
            "-30,100,30,20",
            "the start box -30,100,30,20 is outside the frame of 320 x 240 pixels",
            "--init x,y,w,h: left top corner and size, in pixels from the left top of the frame",
        ),
        ("5,5,0,20", "the start box is 0 x 20 pixels; a side has at least 1", IN_PIXELS),
        ("5,5,9,-1", "the start box is 9 x -1 pixels; a side has at least 1", IN_PIXELS),
        (
            "0,0,1e12,1e12",
            "the start box is 1e+12 x 1e+12 pixels, the frame 320 x 240: a side has at most 2 times the frame's",
            "--init x,y,w,h: left top corner and size, in pixels of the first frame",
        ),
        ("5,5,inf,9", "the start box 5,5,inf,9 has a side that is no number", "--init x,y,w,h in pixels"),
    ],
)
def test_an_impossible_start_box_is_told(
    siamedge: Run, default_bundle: Path, init: str, message: str, hint: str
) -> None:
    assert siamedge("track", default_bundle, "--source", SCENE, f"--init={init}") == refused(message, hint)


def test_a_source_that_knows_no_target_needs_a_start_box(siamedge: Run, default_bundle: Path) -> None:
    write_video(Path("a.avi"), [np.zeros((48, 64, 3), np.uint8)])
    assert siamedge("track", default_bundle, "--source", "a.avi") == refused(
        "invalid value for '--init': give the target in the first frame: --init x,y,w,h", "siamedge track --help", 2
    )


def test_sources_that_cannot_be_read_are_told(siamedge: Run, default_bundle: Path) -> None:
    Path("empty.mp4").touch()
    Path("text.mp4").write_text("no video\n" * 50)
    Path("folder").mkdir()
    ls = "`ls /dev/video*` lists what is there"
    for source, message, hint in (
        ("empty.mp4", "empty.mp4: the file is empty (0 bytes)", "copy or record it again"),
        (
            "text.mp4",
            "text.mp4: not a video that OpenCV can read",
            "convert it: ffmpeg -i text.mp4 -c:v libx264 converted.mp4",
        ),
        ("none.mp4", "no such file or folder: none.mp4", "a camera is a number (0) or a path under /dev"),
        (
            "folder",
            "folder: no images in this folder (.bmp .jpeg .jpg .png .webp)",
            "give the folder that holds the images themselves",
        ),
        ("97", "camera /dev/video97: no such device", f"is it plugged in? {ls}"),
        ("/dev/null", "camera /dev/null: cannot be opened as a camera", ls),
    ):
        assert siamedge("track", default_bundle, "--source", source, "--init", "1,2,3,4") == refused(message, hint)


def test_a_video_without_frames_is_told(siamedge: Run, default_bundle: Path) -> None:
    write_video(Path("a.avi"), [])
    found = siamedge("track", default_bundle, "--source", "a.avi", "--init", "1,2,3,4")
    assert found.code == 1
    assert found.stderr in (
        "siamedge: a.avi: not a video that OpenCV can read\n"
        "  try: convert it: ffmpeg -i a.avi -c:v libx264 converted.mp4\n",
        "siamedge: a.avi: the video has no frames\n  try: copy or record it again\n",
    )


@pytest.mark.parametrize(
    ("source", "output"),
    [("a.avi", "a.avi"), ("file:a.avi", "./a.avi"), ("a.avi", "link.avi"), ("b.part.avi", "b.avi")],
)
def test_a_recording_is_not_written_over(siamedge: Run, default_bundle: Path, source: str, output: str) -> None:
    write_video(Path(source.removeprefix("file:")), [np.zeros((48, 64, 3), np.uint8)] * 3)
    Path("link.avi").symlink_to("a.avi")
    content = Path(source.removeprefix("file:")).read_bytes()
    named = "b.part.avi" if source == "b.part.avi" else Path(output)
    assert siamedge("track", default_bundle, "--source", source, "--init", "1,2,30,40", "--output", output) == refused(
        f"{named}: is the source itself, which would be lost", "choose another --output"
    )
    assert Path(source.removeprefix("file:")).read_bytes() == content


def test_a_video_ends_where_its_source_cannot_be_read(siamedge: Run, default_bundle: Path) -> None:
    Path("frames").mkdir()
    for number in (1, 2):
        cv2.imwrite(f"frames/{number}.png", np.full((48, 64, 3), 90, np.uint8))
    Path("frames/3.png").write_bytes(b"no picture")
    found = siamedge(
        "track", default_bundle, "--source", "frames", "--init", "1,2,30,40", "--json", "--output", "a.mp4"
    )
    assert found.code == 1
    assert len(found.stdout.splitlines()) == cv2.VideoCapture("a.mp4").get(cv2.CAP_PROP_FRAME_COUNT) == 2
    assert re.match(r"2 frames.*; .*\nwrote a\.mp4\nsiamedge: frames/3\.png: ", found.stderr)


AGAIN = "export the bundle again, or copy it again"
SEARCH = "models/onnx-fp32/search.onnx"


@pytest.fixture
def copied(default_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(default_bundle, tmp_path / "b.siamedge"))


def edit_manifest(bundle: Path, change: Callable[[dict], object]) -> None:
    tree = json.loads((bundle / "manifest.json").read_text())
    change(tree)
    (bundle / "manifest.json").write_text(json.dumps(tree))


@pytest.mark.parametrize("command", [("inspect",), ("track", "--source", SCENE)])
class TestDamagedBundles:
    def test_a_flipped_byte(self, siamedge: Run, copied: Path, command: tuple[str, ...]) -> None:
        content = bytearray((copied / SEARCH).read_bytes())
        content[1000] ^= 1
        (copied / SEARCH).write_bytes(content)
        found = siamedge(*command, copied)
        wanted = json.loads((copied / "manifest.json").read_text())["artifacts"][1]["files"][0]["sha256"]
        line = re.fullmatch(
            r"siamedge: (\S+): sha256 is (\w{12}), the manifest says (\w{12})\n  try: (.*)\n", found.stderr
        )
        assert line is not None
        assert (found.code, found.stdout, line[1], line[3], line[4]) == (1, "", SEARCH, wanted[:12], AGAIN)

    def test_a_missing_file(self, siamedge: Run, copied: Path, command: tuple[str, ...]) -> None:
        (copied / SEARCH).unlink()
        assert siamedge(*command, copied) == refused(f"b.siamedge: {SEARCH} is missing", AGAIN)

    def test_a_path_that_leaves_it(self, siamedge: Run, copied: Path, command: tuple[str, ...]) -> None:
        edit_manifest(copied, lambda tree: tree["artifacts"][1]["files"][0].update(path="../../etc/passwd"))
        assert siamedge(*command, copied) == refused(
            "manifest.json names '../../etc/passwd', which is outside the bundle", "do not use this bundle"
        )

    def test_a_newer_schema(self, siamedge: Run, copied: Path, command: tuple[str, ...]) -> None:
        edit_manifest(copied, lambda tree: tree.update(schema=2))
        assert siamedge(*command, copied) == refused(
            "b.siamedge: manifest.json has schema 2, this siamedge reads 1",
            "update siamedge here, or export again with this version",
        )

    def test_no_bundle(self, siamedge: Run, command: tuple[str, ...]) -> None:
        hint = "make one with `siamedge export`, or copy it again"
        assert siamedge(*command, "none.siamedge") == refused("none.siamedge: no such bundle", hint)


def test_json_lines_have_the_promised_keys_from_the_first_frame_on(siamedge: Run, default_bundle: Path) -> None:
    found = siamedge("track", default_bundle, "--source", SCENE, "--json", "--init", "50.25,100.125,54,40")
    lines = [json.loads(line) for line in found.stdout.splitlines()]
    assert found.code == 0
    assert [list(line) for line in lines] == [KEYS] * 4
    assert [line["frame"] for line in lines] == [0, 1, 2, 3]
    assert [line["time_s"] for line in lines] == [k / 30 for k in range(4)]
    assert lines[0]["box"] == [50.25, 100.125, 54.0, 40.0]
    assert (lines[0]["score"], lines[0]["state"]) == (1.0, "present")
    assert all(len(line["box"]) == 4 and line["latency_ms"] > 0 for line in lines)
    assert all(json.dumps(line) == text for line, text in zip(lines, found.stdout.splitlines(), strict=True))
    assert max(len(repr(side)) for side in lines[2]["box"]) > 12
    assert re.fullmatch(
        r"4 frames(, lost in \d)?; onnxruntime fp32 on CPU, [\d.]+ ms a frame \(median in the tracker\)\n", found.stderr
    )


def test_several_targets_are_numbered_and_followed_as_if_each_were_alone(
    siamedge: Run, default_bundle: Path, tmp_path: Path
) -> None:
    inits = ("50.25,100.125,54,40", "180,60,40,60")
    together = siamedge(
        "track", default_bundle, "--source", SCENE, "--json", "--output", "a.mp4",
        *(word for init in inits for word in ("--init", init)),
    )  # fmt: skip
    assert together.code == 0
    lines = [json.loads(line) for line in together.stdout.splitlines()]
    assert [line["target"] for line in lines] == [1, 2] * 4
    assert re.match(r"4 frames.* on CPU, [\d.]+ ms a frame \(median in the tracker\)\nwrote a.mp4\n", together.stderr)
    assert cv2.VideoCapture(str(tmp_path / "a.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 4
    for number, init in enumerate(inits, start=1):
        alone = siamedge("track", default_bundle, "--source", SCENE, "--json", "--init", init)
        expected = [json.loads(line) for line in alone.stdout.splitlines()]
        found = [line for line in lines if line["target"] == number]
        for key in ("frame", "box", "score", "state"):
            assert [line[key] for line in found] == [line[key] for line in expected]


def test_what_knows_one_target_refuses_several(siamedge: Run, default_bundle: Path) -> None:
    two = ("--init", "1,2,30,40", "--init", "100,80,30,40")
    found = siamedge("track", default_bundle, "--source", SCENE, *two, "--mqtt", "mqtt://127.0.0.1/boxes")
    assert (found.code, found.stdout) == (2, "")
    assert "--mqtt is for one target" in found.stderr


def test_without_json_standard_output_stays_empty(siamedge: Run, default_bundle: Path, tmp_path: Path) -> None:
    found = siamedge("track", default_bundle, "--source", SCENE, "--output", "a.mp4", "--explain")
    assert (found.code, found.stdout) == (0, "")
    lines = found.stderr.splitlines()
    assert lines[:3] == [
        "tflite fp32 on CPU: the bundle has no tflite model",
        "openvino fp32 on CPU: the bundle has no openvino model",
        "onnxruntime fp32 on CPU: chosen",
    ]
    assert lines[4:] == ["wrote a.mp4"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4"]


def test_a_precision_that_the_bundle_lacks_is_told_for_every_backend(siamedge: Run, default_bundle: Path) -> None:
    assert siamedge("track", default_bundle, "--source", SCENE, "--precision", "int8") == refused(
        "no backend can run default.siamedge here: tflite: the bundle has no tflite model; "
        "openvino: the bundle has no openvino model; onnxruntime: the bundle has fp32 for onnx, not int8",
        "siamedge doctor tells what this device can run",
    )


def test_inspect_prints_the_manifest_for_programs(siamedge: Run, default_bundle: Path) -> None:
    found = siamedge("inspect", default_bundle, "--json")
    assert found == (0, (default_bundle / "manifest.json").read_text(), "")


def test_inspect_tells_a_person_what_is_in_it(siamedge: Run, default_bundle: Path) -> None:
    found = siamedge("inspect", default_bundle)
    assert (found.code, found.stderr) == (0, "")
    lines = found.stdout.splitlines()
    assert lines[0] == "default: dart (anchor-free tracker)"
    assert lines[2] == "calibration  none"
    assert lines[-1] == "onnx: use fp32 (within budget)"
    assert any(re.match(r"\s+onnx fp32 +\d+ .* 100% .* pass", line) for line in lines)


def test_brackets_in_a_line_or_a_table_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """They are no markup: a hint without its extra would install nothing."""
    hint = "pip install 'siamedge[onnx]'"
    trial = Trial("onnxruntime", "fp32", "CPU", 1, None, None, hint)
    console = plain_console()
    console.print(hint)
    console.print(tuning_table(Tuning(SCHEMA, "", {}, 30.0, (trial,), "")))
    assert capsys.readouterr().out.count("siamedge[onnx]") == 2


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "keys"])
def test_on_a_narrow_terminal_help_is_whole(siamedge: Run, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    found = siamedge(command, "--help")
    assert (found.code, found.stderr) == (0, "")
    assert "Usage: siamedge" in found.stdout
    assert "…" not in found.stdout


def test_every_command_prints_text_as_it_stands() -> None:
    """A console of its own, in which brackets are markup, serves for progress on standard error alone."""
    for path in sorted((ROOT / "cli").glob("*.py")):
        for call in re.findall(r"\bConsole\((.*?)\)", path.read_text(encoding="utf-8")):
            assert any(word in call for word in ("stderr=True", "file=terminal", "markup=False")), (
                f"{path.name}: {call}"
            )


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["siamedge", "inspect", "a\0b"])
    with pytest.raises(ValueError, match="null"):
        main()


def test_every_command_that_a_hint_names_exists() -> None:
    texts = [
        node.value
        for package in ("runtime", "devices", "export", "cli")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.keyword) and node.arg == "hint" and isinstance(node.value, ast.Constant)
        for node in [node.value]
    ]
    named = {name for text in texts for name in re.findall(r"\bsiamedge ([a-z]+)", str(text))}
    assert {"doctor", "export"} <= named
    assert named - {"here"} <= COMMANDS.keys()


def test_the_default_bundle_follows_the_synthetic_scene(siamedge: Run, default_bundle: Path) -> None:
    found = siamedge("track", default_bundle, "--source", "synthetic:", "--json")
    boxes = [json.loads(line)["box"] for line in found.stdout.splitlines()]
    truth = SyntheticSource()
    assert len(boxes) == truth.frames
    assert np.mean([overlap(box, truth.box_at(i)) for i, box in enumerate(boxes)]) > 0.5


def overlap(a: Iterable[float], b: Iterable[float]) -> float:
    """Intersection over union, counted on a grid of half pixels."""
    masks = []
    for x, y, w, h in (tuple(a), tuple(b)):
        columns, rows = np.arange(-200, 900, 0.5), np.arange(-200, 700, 0.5)
        masks.append(((x <= columns) & (columns < x + w), (y <= rows) & (rows < y + h)))
    across, down = (np.count_nonzero(masks[0][i] & masks[1][i]) for i in (0, 1))
    areas = [np.count_nonzero(mask[0]) * np.count_nonzero(mask[1]) for mask in masks]
    return across * down / (sum(areas) - across * down)
