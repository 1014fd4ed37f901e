"""The loop, its JSON lines, the drawing and the video file."""

import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siamedge.runtime.errors import PlaceError, SourceError
from siamedge.runtime.geometry import Box, Image
from siamedge.runtime.latency import LatencyMeter
from siamedge.runtime.loop import Step, Timing, as_event_line, as_json_line, track
from siamedge.runtime.outputs.overlay import COLORS, draw_step
from siamedge.runtime.outputs.video import VideoWriter
from siamedge.runtime.sources.source import Frame, SourceEvent
from siamedge.runtime.sources.synthetic import SyntheticSource
from siamedge.runtime.tracking.trackers import TrackResult

LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
from siamedge.runtime.errors import PlaceError
from siamedge.runtime.outputs.video import VideoWriter
noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    with VideoWriter(Path(sys.argv[1]), 30) as writer:
        for number in range(60):
            writer.write(np.roll(noise, number, 1))
except PlaceError as error:
    print(error)
"""
"""Writes a video that the kernel cuts off."""


def frames_of(path: Path) -> int:
    """Frames of a video, decoded one by one."""
    capture, found = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        found += 1
    return found


class TruthTracker:
    """A tracker that knows the scene: it answers with the true box, and is lost in the frames that it is told."""

    def __init__(self, source: SyntheticSource, lost: frozenset[int] = frozenset()) -> None:
        self._source, self._lost, self._index = source, lost, 0

    def init(self, frame: Image, box: Box) -> None:
        self._index = 0

    def update(self, frame: Image) -> TrackResult:
        self._index += 1
        is_lost = self._index in self._lost
        return TrackResult(self._source.box_at(self._index), 0.1 if is_lost else 0.9, is_lost)


def steps_of(frames: int = 6, lost: frozenset[int] = frozenset()) -> list[Step]:
    source = SyntheticSource(frames=frames, size=(320, 240))
    return list(track(source, TruthTracker(source, lost), source.box_at(0)))


def test_every_frame_gives_a_step_the_first_with_the_init_box() -> None:
    source = SyntheticSource(frames=6, size=(320, 240))
    steps = steps_of()
    assert [s.frame.index for s in steps] == list(range(6))
    assert [s.result.box for s in steps] == [source.box_at(k) for k in range(6)]
    assert steps[0].result.score == 1.0


def test_states_follow_loss_and_return() -> None:
    states = [s.state for s in steps_of(7, frozenset({2, 3}))]
    assert states == ["present", "present", "lost", "lost", "reacquired", "present", "present"]


def test_latency_of_a_live_frame_counts_from_its_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 12.5)
    image = np.zeros((48, 64, 3), np.uint8)

    class Live(SyntheticSource):
        def __iter__(self) -> Iterator[Frame]:
            yield Frame(image, 0, 0.0, captured_s=12.0)

    source = Live()
    step = next(track(source, TruthTracker(source), Box(1, 1, 9, 9)))
    assert step.timing == Timing(latency_ms=500.0, tracker_ms=0.0)


def test_json_line_has_exactly_its_keys_in_full_precision() -> None:
    box = Box(1 / 3, 2.5, np.float32(0.1), 1e-3)  # type: ignore[arg-type]
    frame = Frame(np.zeros((4, 4, 3), np.uint8), 7, 7 / 30)
    line = as_json_line(Step(frame, TrackResult(box, 0.75, lost=False), "present", Timing(1.25, 1.0)))
    read = json.loads(line)
    assert list(read) == ["frame", "time_s", "box", "score", "state", "latency_ms"]
    assert read == {
        "frame": 7,
        "time_s": 7 / 30,
        "box": [1 / 3, 2.5, float(np.float32(0.1)), 1e-3],
        "score": 0.75,
        "state": "present",
        "latency_ms": 1.25,
    }
    assert "\n" not in line


AT_MOST = "the frame 320 x 240: a side has at most 2 times the frame's"


@pytest.mark.parametrize(
    ("box", "line"),
    [
        (Box(5, 5, 0, 9), "the start box is 0 x 9 pixels; a side has at least 1"),
        (Box(5, 5, 9, -2), "the start box is 9 x -2 pixels; a side has at least 1"),
        (Box(10, 10, 1e-300, 1e-300), "the start box is 1e-300 x 1e-300 pixels; a side has at least 1"),
        (Box(0.1, 0.1, 0.25, 0.5), "the start box is 0.25 x 0.5 pixels; a side has at least 1"),
        (Box(0, 0, 1e6, 20), f"the start box is 1e+06 x 20 pixels, {AT_MOST}"),
        (Box(-1e300, -1e300, 1e301, 1e301), f"the start box is 1e+301 x 1e+301 pixels, {AT_MOST}"),
        (Box(0, 0, 20, 481), f"the start box is 20 x 481 pixels, {AT_MOST}"),
        (Box(400, 5, 9, 9), "the start box 400,5,9,9 is outside the frame of 320 x 240 pixels"),
        (Box(-9, 5, 9, 9), "the start box -9,5,9,9 is outside the frame of 320 x 240 pixels"),
        (Box(5, -9, 9, 9), "the start box 5,-9,9,9 is outside the frame of 320 x 240 pixels"),
        (Box(5, 240, 9, 9), "the start box 5,240,9,9 is outside the frame of 320 x 240 pixels"),
        (Box(float("nan"), 5, 9, 9), "the start box nan,5,9,9 has a side that is no number"),
    ],
)
def test_bad_start_boxes_are_refused(box: Box, line: str) -> None:
    source = SyntheticSource(frames=2, size=(320, 240))
    with pytest.raises(SourceError, match=f"^{re.escape(line)}$"):
        next(track(source, TruthTracker(source), box))


@pytest.mark.parametrize(
    "box", [Box(5, 5, 1, 1), Box(-160, -120, 640, 480), Box(-8.5, -8.5, 9, 9), Box(319.5, 239.5, 9, 9)]
)
def test_start_boxes_of_a_pixel_of_twice_the_frame_and_half_a_pixel_inside_are_followed(box: Box) -> None:
    source = SyntheticSource(frames=2, size=(320, 240))
    assert [step.result.box for step in track(source, TruthTracker(source), box)] == [box, source.box_at(1)]


@pytest.mark.parametrize("size", [(64, 48), (320, 240), (1920, 1080), (33, 900)])
@pytest.mark.parametrize("box", [Box(5, 5, 20, 20), Box(-500, -500, 90, 90), Box(1e12, 0, 5, 5), Box(0, 0, 5000, 5000)])
def test_drawing_works_at_any_size_and_place_and_leaves_the_frame_alone(size: tuple[int, int], box: Box) -> None:
    image = np.full((size[1], size[0], 3), 90, np.uint8)
    for state in COLORS:
        step = Step(Frame(image, 3, 0.1), TrackResult(box, 0.5, lost=state == "lost"), state, Timing(1, 1))
        drawn = draw_step(step, fps=29.7)
        assert drawn.shape == image.shape
        assert (drawn != image).any()
    assert (image == 90).all()


def test_the_box_is_drawn_where_it_is() -> None:
    step = Step(
        Frame(np.full((480, 640, 3), 90, np.uint8), 0, 0),
        TrackResult(Box(300, 200, 80, 60), 0.9, lost=False),
        "present",
        Timing(1, 1),
    )
    drawn = draw_step(step)
    assert tuple(drawn[230, 300]) == tuple(drawn[230, 380]) == tuple(drawn[260, 340]) == COLORS["present"]
    assert tuple(drawn[230, 340]) == (90, 90, 90)


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_written_video_reads_back_with_its_frames(tmp_path: Path, suffix: str) -> None:
    source = SyntheticSource(frames=5, size=(320, 240))
    path = tmp_path / f"clip{suffix}"
    with VideoWriter(path, 25) as writer:
        for frame in source:
            writer.write(frame.image)
            assert not path.exists()
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(25, abs=0.01)
    for frame in source:
        difference = np.abs(capture.read()[1].astype(int) - frame.image)
        assert difference.mean() < 12
    assert not capture.read()[0]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("error", [SourceError("the camera is gone"), KeyboardInterrupt(), BrokenPipeError()])
def test_what_was_recorded_before_an_error_is_kept(tmp_path: Path, error: BaseException) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    with pytest.raises(type(error)), VideoWriter(tmp_path / "a.mp4", 30) as writer:
        for _ in range(3):
            writer.write(image)
        raise error
    assert writer.kept == frames_of(tmp_path / "a.mp4") == 3
    with pytest.raises(type(error)), VideoWriter(tmp_path / "b.mp4", 30):
        raise error
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(("suffix", "is_kept"), [(".mp4", False), (".avi", True), (".mkv", True)])
def test_frames_that_did_not_reach_the_disk_are_counted(tmp_path: Path, suffix: str, is_kept: bool) -> None:
    """The kernel refuses every byte beyond a limit, as a full disk does; MPEG-4's index is behind all frames."""
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"older")
    run = subprocess.run([sys.executable, "-c", LIMITED, path], capture_output=True, text=True, timeout=60, check=False)
    found = re.fullmatch(rf"{path}: (\d+) of 60 frames can be read back\n", run.stdout)
    assert found is not None, run.stderr
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    if is_kept:
        assert 0 < int(found[1]) == frames_of(path) < 60
    else:
        assert (int(found[1]), path.read_bytes()) == (0, b"older")


def test_a_disk_that_fills_up_ends_the_video_while_it_can_be_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = iter([9, 8.5, 7.5])
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(total=2**40, free=int(next(free) * 2**20)))
    line = r"a\.mp4: the disk is full: 7680 kB are free, 8192 kB are kept to finish the video$"
    with pytest.raises(PlaceError, match=line), VideoWriter(tmp_path / "a.mp4", 30) as writer:
        for _ in range(5):
            writer.write(np.zeros((48, 64, 3), np.uint8))
    assert writer.kept == frames_of(tmp_path / "a.mp4") == 2


def test_a_live_video_keeps_the_time_of_its_frames(tmp_path: Path) -> None:
    for name, fps, times_s, expected in (
        ("slow", 30, [k / 5 for k in range(11)], 60),
        ("jitter", 30, [k / 30 + 0.01 * (-1) ** k for k in range(60)], 60),
        ("fast", 30, [k / 60 for k in range(120)], 60),
        ("gap", 30, [0, 0.03, 50, 50.03], 60),
        ("no rate", 90000, [k / 10 for k in range(21)], 60),
    ):
        path = tmp_path / f"{name}.mp4"
        with VideoWriter(path, fps) as writer:
            for number, time_s in enumerate(times_s):
                writer.write(np.full((48, 64, 3), 20 + number, np.uint8), time_s)
        assert frames_of(path) == pytest.approx(expected, abs=4), name
        assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) == 30, name


def test_the_picture_before_a_gap_is_the_one_that_is_repeated(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 10) as writer:
        for shade, time_s in ((50, 0.0), (200, 1.0)):
            writer.write(np.full((48, 64, 3), shade, np.uint8), time_s)
    capture = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    shades = [int(capture.read()[1].mean()) for _ in range(11)]
    assert [shade > 100 for shade in shades] == [False] * 10 + [True]


@pytest.mark.parametrize("fps", [0.1, 23.976, 29.97003, 66.0661, 119.967, 1000])
@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_any_rate_can_be_written(tmp_path: Path, fps: float, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    with VideoWriter(path, fps) as writer:
        for _ in range(3):
            writer.write(np.zeros((48, 64, 3), np.uint8))
    assert frames_of(path) == writer.kept == 3
    if suffix != ".mkv":
        assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) == pytest.approx(fps, rel=1e-4)


def test_a_frame_that_is_too_small_for_a_video_is_told(tmp_path: Path) -> None:
    line = r"a\.mp4: a frame has 1 x 48 pixels, a video at least 2 x 2$"
    with pytest.raises(SourceError, match=line), VideoWriter(tmp_path / "a.mp4", 30) as writer:
        writer.write(np.zeros((48, 1, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_a_video_that_is_being_written_is_left_to_its_writer(tmp_path: Path) -> None:
    path, picture = tmp_path / "a.avi", np.zeros((48, 64, 3), np.uint8)
    with VideoWriter(path, 30) as first:
        first.write(picture)
        with pytest.raises(PlaceError) as caught, VideoWriter(path, 30) as second:
            second.write(picture)
        first.write(picture)
    assert (str(caught.value), frames_of(path)) == (f"{tmp_path}/a.part.avi: another process is writing it", 2)
    with VideoWriter(path, 30) as third:
        third.write(picture)
    assert (frames_of(path), list(tmp_path.iterdir())) == (1, [path])


def test_frames_of_another_size_are_fitted_in(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 30) as writer:
        for height, width in ((49, 65), (96, 64), (10, 300)):
            writer.write(np.full((height, width, 3), 200, np.uint8))
    capture = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    frames = [capture.read()[1] for _ in range(3)]
    assert [f.shape for f in frames] == [(48, 64, 3)] * 3
    assert [int(f[24, 2].mean()) < 40 for f in frames] == [False, True, False]


def test_unwritable_video_names_get_their_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"out\.gif: cannot write \.gif$"):
        VideoWriter(tmp_path / "out.gif", 30)
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(PlaceError, match=r"folder\.mp4: is a folder$"):
        VideoWriter(tmp_path / "folder.mp4", 30)
    with pytest.raises(PlaceError, match=r"none: no such folder$"):
        VideoWriter(tmp_path / "none" / "out.mp4", 30)


def test_a_frame_of_another_size_is_followed_and_its_box_is_in_its_own_pixels() -> None:
    source = SyntheticSource(frames=4, size=(320, 240))

    class Doubled(SyntheticSource):
        def __iter__(self) -> Iterator[Frame]:
            for frame in source:
                size = (320, 240) if frame.index < 2 else (640, 480)
                yield Frame(np.asarray(cv2.resize(frame.image, size), np.uint8), frame.index, frame.time_s)

    seen: list[tuple[int, ...]] = []

    class Watching(TruthTracker):
        def update(self, frame: Image) -> TrackResult:
            seen.append(frame.shape)
            return super().update(frame)

    steps = list(track(Doubled(), Watching(source), source.box_at(0)))
    assert seen == [(240, 320, 3)] * 3
    assert steps[1].result.box == source.box_at(1)
    assert steps[3].result.box == pytest.approx([2 * side for side in source.box_at(3)])


def test_event_line() -> None:
    line = as_event_line(SourceEvent("stalled", 2.5, "no frame for 1 s"))
    assert json.loads(line) == {"event": "stalled", "time_s": 2.5, "detail": "no frame for 1 s"}


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 10_000), min_size=1, max_size=300), st.sampled_from([0.5, 0.95, 0.99]))
def test_percentiles_agree_with_sorting(values: list[float], share: float) -> None:
    meter = LatencyMeter()
    for value in values:
        meter.add(value)
    exact = sorted(values)[math.ceil(share * len(values)) - 1]
    assert meter.percentile(share) == pytest.approx(exact, rel=0.02)
