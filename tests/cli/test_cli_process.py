"""The command line in a process of its own: missing libraries, Ctrl-C, a reader that leaves."""

import json
import os
import re
import shlex
import signal
import subprocess
from pathlib import Path

import cv2
import pytest
from command_line import SCENE, TINY_EXPORT, Outcome, refused, script

ENDLESS = ("--source", "synthetic:?frames=900000&size=128x96")
OWN_TERMINAL = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)"
BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "{}":
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Block())
"""


def test_a_backend_that_is_not_installed_names_what_to_install(default_bundle: Path) -> None:
    blocked = BLOCKED.format("onnxruntime")
    asked = script("track", default_bundle, "--source", SCENE, "--backend", "onnxruntime", before=blocked)
    run = subprocess.run(asked, capture_output=True, text=True, timeout=120, check=False)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == (
        "siamedge: no backend can run default.siamedge here: onnxruntime: onnxruntime is not installed "
        "(pip install 'siamedge[onnx]')\n"
        "  try: leave --backend away to choose another\n"
    )


def test_without_any_library_the_first_run_says_that_one_of_them_is_to_be_installed(default_bundle: Path) -> None:
    asked = script("track", default_bundle, "--source", SCENE, before=BLOCKED.format("onnxruntime"))
    run = subprocess.run(asked, capture_output=True, text=True, timeout=120, check=False)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.endswith(
        "onnxruntime: onnxruntime is not installed (pip install 'siamedge[onnx]')\n"
        "  try: install one of these libraries\n"
    )


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("export",), "export"),
        (("calibrate", "street.mp4", "-o", "street.npz"), "calibrate"),
        (("train", "-o", "run"), "training"),
    ],
)
def test_on_a_device_the_commands_of_a_workstation_name_what_to_install(arguments: tuple[str, ...], what: str) -> None:
    asked = script(*arguments, before=BLOCKED.format("torch"))
    run = subprocess.run(asked, capture_output=True, text=True, timeout=120, check=False)
    assert Outcome(run.returncode, run.stdout, run.stderr) == refused(
        f"{what} needs torch", "pip install 'siamedge[export]'"
    )


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGHUP, 129, "the terminal has gone"),
    ],
)
def test_a_signal_stops_tracking_keeps_the_video_and_lines_come_as_frames_do(
    default_bundle: Path, tmp_path: Path, number: signal.Signals, code: int, word: str
) -> None:
    endless = script("track", default_bundle, *ENDLESS, "--json", "--output", tmp_path / "a.mp4")
    with subprocess.Popen(endless, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        lines = [json.loads(child.stdout.readline()) for _ in range(3)]
        child.send_signal(number)
        _, stderr = child.communicate(timeout=120)
    assert [line["frame"] for line in lines] == [0, 1, 2]
    assert child.returncode == code
    assert re.fullmatch(
        rf"\d+ frames(, lost in \d+)?; onnxruntime fp32 on CPU, [\d.]+ ms a frame \(median in the tracker\)\n"
        rf"wrote {tmp_path}/a\.mp4\nsiamedge: {word}\n",
        stderr,
    )
    assert cv2.VideoCapture(str(tmp_path / "a.mp4")).read()[0]


INTERRUPT_WHILE_CONVERTING = """
import os, signal, sys, threading, time
def interrupt():
    while "torch.onnx._internal.exporter._core" not in sys.modules:
        time.sleep(0.005)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt, daemon=True).start()
"""


def test_ctrl_c_leaves_no_half_bundle(tmp_path: Path) -> None:
    asked = script("export", *TINY_EXPORT, "-o", tmp_path / "a.siamedge", before=INTERRUPT_WHILE_CONVERTING)
    run = subprocess.run(asked, capture_output=True, text=True, timeout=180, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (130, "", "siamedge: interrupted\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("opened", "reason"), [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")]
)
@pytest.mark.parametrize("command", ["track", "inspect"])
def test_an_output_that_takes_nothing_is_one_line(default_bundle: Path, command: str, opened: str, reason: str) -> None:
    source = ("--source", SCENE) if command == "track" else ()
    words = shlex.join(script(command, str(default_bundle), *source, "--json"))
    run = subprocess.run(["sh", "-c", f"{words} {opened}"], capture_output=True, text=True, timeout=120, check=False)
    assert run.stderr.splitlines()[-2:] == [
        f"siamedge: standard output: {reason}",
        "  try: is its disk full, or was it closed?",
    ]
    assert (run.returncode, "Traceback" in run.stderr) == (1, False)


def test_a_terminal_that_goes_ends_the_run_and_keeps_the_video(default_bundle: Path, tmp_path: Path) -> None:
    ours, its = os.openpty()
    endless = script("track", default_bundle, *ENDLESS, "--output", tmp_path / "a.mp4", before=OWN_TERMINAL)
    with subprocess.Popen(endless, stdin=its, stdout=its, stderr=its, start_new_session=True) as child:
        os.close(its)
        shown = b""
        while b"frame 2 " not in shown:
            shown += os.read(ours, 65536)
        os.close(ours)
        try:
            assert child.wait(timeout=120) == 129
        finally:
            child.kill()
    assert cv2.VideoCapture(str(tmp_path / "a.mp4")).read()[0]


def test_remarks_that_nobody_takes_end_no_run(default_bundle: Path) -> None:
    words = shlex.join(script("track", str(default_bundle), "--source", SCENE, "--json", "--explain"))
    run = subprocess.run(["sh", "-c", f"{words} 2>/dev/full"], capture_output=True, text=True, timeout=120, check=False)
    assert (run.returncode, len(run.stdout.splitlines())) == (0, 4)


def test_without_standard_output_a_video_is_written_all_the_same(default_bundle: Path, tmp_path: Path) -> None:
    words = shlex.join(script("track", str(default_bundle), "--source", SCENE, "--output", str(tmp_path / "a.mp4")))
    run = subprocess.run(["sh", "-c", f"{words} >&- 2>&-"], timeout=120, check=False)
    assert run.returncode == 0
    assert cv2.VideoCapture(str(tmp_path / "a.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 4


def test_a_reader_that_leaves_early_gets_no_complaint_and_keeps_the_video(default_bundle: Path, tmp_path: Path) -> None:
    endless = script("track", default_bundle, *ENDLESS, "--json", "--output", tmp_path / "a.mp4")
    with subprocess.Popen(endless, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        stderr = child.stderr.read()
        assert (child.wait(timeout=120), stderr) == (1, f"wrote {tmp_path}/a.mp4\n")
    assert cv2.VideoCapture(str(tmp_path / "a.mp4")).read()[0]
