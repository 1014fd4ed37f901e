"""Recordings: in order, never in the way, readable after the program was killed."""

import json
import resource
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from siamedge.runtime.errors import SourceError
from siamedge.runtime.outputs import recorder as recorder_module
from siamedge.runtime.outputs.recorder import LONGEST_QUEUE, Recorder
from siamedge.runtime.outputs.video import VideoWriter

ENDLESS = """
import sys, time
from pathlib import Path
from siamedge.runtime.errors import SourceError
from siamedge.runtime.outputs.recorder import Recorder
from siamedge.runtime.sources.synthetic import SyntheticSource
recorder = Recorder(Path(sys.argv[1]), 30.0)
for frame in SyntheticSource(frames=100000, size=(320, 240)):
    recorder.add(frame.image, '{"frame": %d}' % frame.index)
    time.sleep(0.01)
"""


def frames_in(video: Path) -> int:
    capture, count = cv2.VideoCapture(str(video)), 0
    while capture.read()[0]:
        count += 1
    return count


def test_what_was_recorded_is_readable_after_kill_9(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ENDLESS, str(tmp_path)])
    deadline_s = time.monotonic() + 60
    boxes: list[Path] = []
    while not boxes or len(boxes[0].read_text().splitlines()) < 120:
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
        boxes = list(tmp_path.glob("*.jsonl"))
    process.kill()
    process.wait(10)
    (video,) = tmp_path.glob("*.part.mkv")
    lines = [json.loads(line)["frame"] for line in boxes[0].read_text().splitlines()]
    assert lines == sorted(lines)
    assert frames_in(video) >= len(lines) - 60, "Matroska clusters hold at most about a second or two"


def test_a_disk_that_is_behind_leaves_frames_out_and_counts_them(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 30.0)
    image = np.zeros((1080, 1920, 3), np.uint8)
    for number in range(100):
        recorder.add(image, json.dumps({"frame": number}))
    done = recorder.close()
    assert done.frames + done.left_out == 100
    assert done.frames >= LONGEST_QUEUE
    assert frames_in(done.video) == done.frames == len(done.boxes.read_text().splitlines())


def test_a_full_disk_ends_a_recording_and_what_there_is_of_it_is_kept(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    recorder = Recorder(tmp_path, 30.0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        for number in range(5):
            recorder.add(np.zeros((48, 64, 3), np.uint8), json.dumps({"frame": number, "padding": "x" * 300_000}))
        done = recorder.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert done.problem == f"{done.boxes}: cannot be written: File too large"
    assert [json.loads(line)["frame"] for line in done.boxes.read_text().splitlines()] == [0, 1, 2]
    assert frames_in(done.video) == done.frames == 3


def test_recordings_of_the_same_second_have_different_names(tmp_path: Path) -> None:
    recorders = [Recorder(tmp_path, 30.0) for _ in range(3)]
    for recorder in recorders:
        recorder.add(np.zeros((48, 64, 3), np.uint8), "{}")
    names = {recorder.close().video.name for recorder in recorders}
    assert len(names) == 3
    assert {path.name for path in tmp_path.glob("*.mkv")} == names


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match=r"file: cannot record here: File exists$"):
        Recorder(tmp_path / "file", 30.0)


def test_a_video_that_cannot_be_written_is_told_and_does_not_block(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 30.0)
    shutil.rmtree(tmp_path)
    for _ in range(LONGEST_QUEUE + 5):
        recorder.add(np.zeros((48, 64, 3), np.uint8), "{}")
        time.sleep(0.02)
    assert "no such folder" in recorder.close().problem or "cannot be written" in recorder.close().problem


def test_a_folder_that_goes_before_the_video_is_opened_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_gone = threading.Event()

    def open_late(path: Path, fps: float) -> VideoWriter:
        is_gone.wait(10)
        return VideoWriter(path, fps)

    monkeypatch.setattr(recorder_module, "VideoWriter", open_late)
    recorder = Recorder(tmp_path / "gone", 30.0)
    shutil.rmtree(tmp_path / "gone")
    is_gone.set()
    recorder.add(np.zeros((48, 64, 3), np.uint8), "{}")
    assert recorder.close().problem == f"{tmp_path / 'gone'}: no such folder"
