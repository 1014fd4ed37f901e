"""Running trackers: coordinates, starts, clocks, resuming, several processes, result files."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import Run, refused

from siamedge.export.evaluation.baselines import IdentityTracker
from siamedge.export.evaluation.conventions import get_convention
from siamedge.export.evaluation.datasets import open_dataset
from siamedge.export.evaluation.evaluation import Order, evaluate, quick_scores, run_sequence
from siamedge.export.evaluation.outputs import score, write_outputs
from siamedge.export.evaluation.realtime import Clock, StreamRule, ToolkitRule, read_trace, track_in_time
from siamedge.export.evaluation.runner import multi_starts, track
from siamedge.export.evaluation.sequences import Sequence
from siamedge.export.evaluation.specs import TrackerSpec, open_spec, resolved
from siamedge.runtime.errors import BackendError, BundleError, SourceError

sys.path.insert(0, str(Path(__file__).parent))
from scenes import LENGTH, PatchTracker, truth_box, write_scene

IDENTITY = TrackerSpec("identity")


def scene(folder: Path, **options: bool) -> Sequence:
    return open_dataset(write_scene(folder, **options), origin="one" if options.get("one_based") else "zero")[0]


def test_one_pass_finds_the_patch_in_every_frame(tmp_path: Path) -> None:
    (run,) = run_sequence(PatchTracker(), scene(tmp_path / "a"), "one-pass")
    assert run.boxes.tolist() == [list(truth_box(frame)) for frame in range(LENGTH)]
    assert np.isnan(run.scores[0]) and (run.scores[1:] > 0.99).all()
    assert (run.seconds > 0).all()
    assert run.size == (96, 64)


def test_boxes_are_kept_in_the_coordinates_of_the_annotation(tmp_path: Path) -> None:
    sequence = scene(tmp_path / "a", one_based=True)
    (run,) = run_sequence(PatchTracker(), sequence, "one-pass")
    assert run.boxes.tolist() == sequence.boxes.tolist()
    assert run.boxes[0].tolist() == [21, 19, 16, 12]


def test_a_box_of_one_pixel_is_valid_and_one_without_an_area_is_not() -> None:
    boxes = np.array([[5, 5, 0, 9], [5, 5, 9, -1], [5, np.nan, 9, 9], [5, 5, 1, 1]])
    sequence = Sequence("s", (Path("x"),), boxes, 0, np.zeros(4, np.bool_))
    assert sequence.valid.tolist() == [False, False, False, True]


def test_the_run_starts_on_the_first_valid_box_and_what_is_before_it_fails(tmp_path: Path) -> None:
    sequence = scene(tmp_path / "a")
    sequence.boxes[:3] = np.nan
    (run,) = run_sequence(PatchTracker(), sequence, "one-pass")
    assert (run.start, len(run.boxes)) == (3, LENGTH - 3)
    terms = get_convention("otb").terms(sequence, (run,))
    assert terms["success"].numerator[10] == pytest.approx((LENGTH - 3) / LENGTH)


def test_a_perfect_tracker_has_the_known_scores_and_no_spread(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_scene(tmp_path / name)
    found = quick_scores(PatchTracker(), open_dataset(tmp_path))
    assert found["auc"].value == pytest.approx(20 / 21)
    assert (found["auc"].low, found["auc"].high) == pytest.approx((20 / 21, 20 / 21))


def test_multi_start_takes_the_anchors_of_the_data_set(tmp_path: Path) -> None:
    sequence = scene(tmp_path / "a")
    sequence.anchors.update({0: 1, 5: 1, 11: -1})
    starts = multi_starts(sequence)
    assert [list(frames) for frames in starts] == [list(range(12)), list(range(5, 12)), list(range(11, -1, -1))]
    backward = run_sequence(PatchTracker(), sequence, "multi-start")[2]
    assert backward.frames.tolist() == list(range(11, -1, -1))
    assert backward.boxes.tolist() == sequence.boxes[::-1].tolist()


@pytest.mark.parametrize("frames", [range(1, -1, -1), range(4, 6), range(7, 8)])
def test_a_run_of_two_frames_or_one_knows_which_they_are(tmp_path: Path, frames: range) -> None:
    assert track(PatchTracker(), scene(tmp_path / "a"), frames).frames.tolist() == list(frames)


def test_without_anchors_the_first_half_runs_forward_and_the_second_backward() -> None:
    boxes = np.tile([1.0, 1, 5, 5], (131, 1))
    boxes[50] = np.nan
    sequence = Sequence("s", (Path("x"),), boxes, 0, np.zeros(131, np.bool_))
    spans = [(frames[0], frames[-1]) for frames in multi_starts(sequence)]
    assert spans == [(0, 130), (51, 130), (100, 0), (130, 0)]


@pytest.mark.parametrize("length", [99, 100, 101, 102])
def test_without_anchors_each_start_runs_the_longer_way(length: int) -> None:
    """Frame 50 has 49 to 52 frames from itself on, and 51 up to itself."""
    sequence = Sequence("s", (Path("x"),), np.tile([1.0, 1, 5, 5], (length, 1)), 0, np.zeros(length, np.bool_))
    starts = {frames[0]: len(frames) for frames in multi_starts(sequence)}
    assert starts == {frame: max(frame + 1, length - frame) for frame in {0, 50, length - 1, *range(0, length, 50)}}


def test_an_anchor_without_a_box_is_an_error(tmp_path: Path) -> None:
    sequence = scene(tmp_path / "a")
    sequence.anchors[4] = 1
    sequence.boxes[4] = np.nan
    with pytest.raises(SourceError, match="a: anchor at frame 4 has no box"):
        multi_starts(sequence)


def test_a_tracker_that_is_always_in_time_has_the_boxes_of_an_untimed_run(tmp_path: Path) -> None:
    sequence = scene(tmp_path / "a")
    untimed = track(PatchTracker(), sequence, range(LENGTH))
    for rule in ("stream", "vot-toolkit"):
        timed = track_in_time(PatchTracker(), sequence, range(LENGTH), Clock(30, (1 / 30,), rule))
        assert timed.boxes.tolist() == untimed.boxes.tolist()
        assert (timed.frames.tolist(), timed.size) == (list(range(LENGTH)), (96, 64))


def test_a_stream_shows_the_newest_result_that_was_ready_and_drops_frames(tmp_path: Path) -> None:
    """2.5 intervals a result: frame 1 is ready at 3.5, so shown in 3; then frame 3, ready at 6, shown in 5 ..."""
    sequence, tracker = scene(tmp_path / "a"), PatchTracker()
    run = track_in_time(tracker, sequence, range(LENGTH), Clock(30, (2.5 / 30,)))
    shown = [run.boxes[row].tolist() for row in range(LENGTH)]
    source = [0, 0, 0, 1, 1, 3, 3, 3, 6, 6, 8, 8]
    assert shown == [list(truth_box(frame)) for frame in source]
    assert np.flatnonzero(~np.isnan(run.seconds)).tolist() == [0, 1, 3, 6, 8, 11]
    assert tracker.updates == 5


def test_the_vot_toolkit_forgives_three_late_results_and_then_skips_whole_intervals(tmp_path: Path) -> None:
    """2.5 intervals a result leave a debt of 1.5 after a late frame: one frame is skipped, the rest is forgotten."""
    sequence, tracker = scene(tmp_path / "a"), PatchTracker()
    run = track_in_time(tracker, sequence, range(LENGTH), Clock(30, (2.5 / 30,), "vot-toolkit"))
    source = [0, 1, 2, 3, 4, 4, 6, 6, 8, 8, 10, 10]
    assert run.boxes.tolist() == [list(truth_box(frame)) for frame in source]
    assert tracker.updates == 7


def test_each_update_takes_the_next_latency_of_the_trace(tmp_path: Path) -> None:
    """Half an interval and 1.5 in turn: frame 1 is in time, frame 2 ready at 3.5; frame 3 at 4, frame 4 at 5.5 ..."""
    run = track_in_time(PatchTracker(), scene(tmp_path / "a"), range(LENGTH), Clock(30, (0.5 / 30, 1.5 / 30)))
    assert (run.seconds[1:7] * 30).tolist() == pytest.approx([0.5, 1.5] * 3)
    source = [0, 1, 1, 3, 3, 5, 5, 7, 7, 9, 9, 11]
    assert run.boxes.tolist() == [list(truth_box(frame)) for frame in source]


@pytest.mark.parametrize(("latency", "shown_from", "following"), [(0.4, 1, 2), (1.0, 1, 2), (1.2, 2, 2), (3.0, 3, 4)])
def test_stream_rule_by_hand(latency: float, shown_from: int, following: int) -> None:
    assert StreamRule().finish(1, latency) == (shown_from, following)


def test_a_backlog_shorter_than_an_interval_is_worked_off() -> None:
    rule = StreamRule()
    assert rule.finish(1, 1.5) == (2, 2)
    assert rule.finish(2, 0.4) == (2, 3), "taken up at 2.5, ready at 2.9"


def test_toolkit_rule_ignores_a_lateness_of_less_than_an_interval() -> None:
    rule = ToolkitRule()
    assert [rule.finish(row, 1.9)[1] for row in range(1, 6)] == [2, 3, 4, 5, 6]


def test_a_trace_is_read_in_milliseconds_and_repeated(tmp_path: Path) -> None:
    (tmp_path / "trace.txt").write_text("# device, ms\n10\n20, 30\n")
    clock = Clock(30, read_trace(tmp_path / "trace.txt"))
    assert [clock.seconds(update, 9.0) for update in range(4)] == [0.01, 0.02, 0.03, 0.01]


@pytest.mark.parametrize("text", ["", "0\n", "-3\n", "inf\n"])
def test_a_trace_of_impossible_latencies_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "trace.txt").write_text(text)
    with pytest.raises(SourceError, match="latencies, all must be > 0 ms"):
        read_trace(tmp_path / "trace.txt")


def dataset(folder: Path, count: int = 3) -> tuple[Sequence, ...]:
    for number in range(count):
        write_scene(folder / f"s{number}", seed=number)
    return open_dataset(folder)


def finish(order: Order, convention: str = "otb") -> bytes:
    runs = evaluate(order)
    write_outputs(order, score(order, convention, runs, []), runs)
    return (order.folder / convention / "scores.json").read_bytes()


def test_finished_sequences_are_kept_and_changed_ones_run_again(tmp_path: Path) -> None:
    sequences = dataset(tmp_path / "data")
    order = Order(IDENTITY, sequences, "one-pass", tmp_path / "out")
    evaluate(order)
    records = {path.name: path for path in (tmp_path / "out" / "one-pass" / "records").iterdir()}
    records["s1.json"].unlink()
    sequences[2].boxes[5, 0] += 1
    before = {name: path.stat().st_mtime_ns for name, path in records.items() if path.exists()}
    steps: list[tuple[int, int]] = []
    evaluate(order, lambda done, total: steps.append((done, total)))
    assert steps == [(LENGTH, 3 * LENGTH), (2 * LENGTH, 3 * LENGTH), (3 * LENGTH, 3 * LENGTH)]
    assert records["s0.json"].stat().st_mtime_ns == before["s0.json"]
    assert records["s2.json"].stat().st_mtime_ns != before["s2.json"]


def test_a_sequence_whose_frames_changed_is_run_again_though_their_size_did_not(tmp_path: Path) -> None:
    sequences = dataset(tmp_path / "data", 1)
    order = Order(IDENTITY, sequences, "one-pass", tmp_path / "out")
    evaluate(order)
    frame = sequences[0].frames[4]
    content = frame.read_bytes()
    frame.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    steps: list[tuple[int, int]] = []
    evaluate(order, lambda done, total: steps.append((done, total)))
    assert steps == [(0, LENGTH), (LENGTH, LENGTH)]


def test_a_folder_is_not_shared_by_two_trackers(tmp_path: Path) -> None:
    sequences = dataset(tmp_path / "data", 1)
    evaluate(Order(IDENTITY, sequences, "one-pass", tmp_path / "out"))
    clock = Clock(30, (0.01,))
    with pytest.raises(SourceError, match=r"one-pass holds a run with another realtime"):
        evaluate(Order(IDENTITY, sequences, "one-pass", tmp_path / "out", clock=clock))


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    order = Order(IDENTITY, dataset(tmp_path / "data", 1), "one-pass", tmp_path / "out")
    evaluate(order)
    (tmp_path / "out" / "one-pass" / "records" / "s0.json").write_text('{"schema": 1')
    with pytest.raises(SourceError, match=r"s0.json: damaged record"):
        evaluate(order)


def test_several_processes_give_the_same_bytes_as_one(tmp_path: Path) -> None:
    sequences = dataset(tmp_path / "data")
    alone = finish(Order(IDENTITY, sequences, "one-pass", tmp_path / "alone"))
    together = finish(Order(IDENTITY, sequences, "one-pass", tmp_path / "together", jobs=2))
    assert alone == together


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_dask_cluster_gives_the_same_bytes_as_one_process(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="needs siamedge[dask]")
    sequences = dataset(tmp_path / "data")
    alone = finish(Order(IDENTITY, sequences, "one-pass", tmp_path / "alone"))
    with distributed.LocalCluster(
        n_workers=1, processes=False, protocol="tcp", host="127.0.0.1", dashboard_address=None
    ) as cluster:
        order = Order(IDENTITY, sequences, "one-pass", tmp_path / "cluster", dask=cluster.scheduler_address)
        assert finish(order) == alone


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="needs siamedge[dask]")
    order = Order(IDENTITY, dataset(tmp_path / "data", 1), "one-pass", tmp_path / "out", dask="tcp://127.0.0.1:1")
    with pytest.raises(SourceError, match=r"no Dask scheduler at tcp://127.0.0.1:1") as caught:
        evaluate(order)
    assert caught.value.hint == "start one with `dask scheduler`"


def test_an_address_without_a_port_is_no_schedulers(tmp_path: Path) -> None:
    order = Order(IDENTITY, dataset(tmp_path / "data", 1), "one-pass", tmp_path / "out", dask="nonsense")
    with pytest.raises(SourceError, match="'nonsense': no address of a Dask scheduler"):
        evaluate(order)


def test_measured_latencies_and_several_processes_exclude_each_other(tmp_path: Path) -> None:
    order = Order(IDENTITY, dataset(tmp_path / "data", 1), "one-pass", tmp_path / "out", jobs=2, clock=Clock(30))
    with pytest.raises(SourceError, match="latencies cannot be measured while several sequences run at once"):
        evaluate(order)


def test_latencies_are_measured_where_one_sequence_runs_at_a_time(tmp_path: Path) -> None:
    """A tracker that only gives its first box back is ready long before a frame that comes once a minute."""
    order = Order(IDENTITY, dataset(tmp_path / "data", 1), "one-pass", tmp_path / "out", clock=Clock(1 / 60))
    ((run,),) = evaluate(order)
    assert (run.seconds > 0).all()
    assert run.boxes.tolist() == [list(truth_box(0))] * LENGTH


def test_two_sequences_of_one_name_are_refused(tmp_path: Path) -> None:
    sequences = dataset(tmp_path / "data", 1) * 2
    with pytest.raises(SourceError, match="two sequences are called 's0'"):
        evaluate(Order(IDENTITY, sequences, "one-pass", tmp_path / "out"))


def test_paired_differences_to_another_run(tmp_path: Path) -> None:
    sequences = dataset(tmp_path / "data")
    slow = Order(IDENTITY, sequences, "one-pass", tmp_path / "late", clock=Clock(30, (0.1,)))
    evaluate(slow)
    order = Order(IDENTITY, sequences, "one-pass", tmp_path / "out")
    outcome = score(order, "otb", evaluate(order), [tmp_path / "late"])
    assert list(outcome.against) == ["identity @ 30 fps"]
    assert outcome.against["identity @ 30 fps"]["auc"].value == 0


def test_runs_of_one_tracker_in_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    folders = [tmp_path / name / "out" for name in ("a", "b", "c")]
    orders = [Order(IDENTITY, dataset(tmp_path / "data", 1), "one-pass", folder) for folder in folders[:1]]
    orders += [Order(IDENTITY, orders[0].sequences, "one-pass", folder) for folder in folders[1:]]
    runs = [evaluate(order) for order in orders]
    outcome = score(orders[0], "otb", runs[0], folders[1:])
    assert list(outcome.against) == [f"identity in {folder}" for folder in folders[1:]]
    assert [report.label for report in outcome.others] == list(outcome.against)


def test_a_run_of_other_boxes_cannot_be_compared(tmp_path: Path) -> None:
    sequences = dataset(tmp_path / "data", 2)
    evaluate(Order(IDENTITY, sequences[:1], "one-pass", tmp_path / "other"))
    order = Order(IDENTITY, sequences, "one-pass", tmp_path / "out")
    with pytest.raises(SourceError, match="other: no one-pass run of 's1' with these frames and boxes"):
        score(order, "otb", evaluate(order), [tmp_path / "other"])
    with pytest.raises(SourceError, match=r"run.json: no such run"):
        score(order, "otb", evaluate(order), [tmp_path / "nowhere"])


def test_result_files_are_what_the_toolkits_read(tmp_path: Path) -> None:
    (sequence,) = dataset(tmp_path / "data", 1)
    for convention, protocol in (("otb", "one-pass"), ("got10k", "one-pass"), ("vot-multistart", "multi-start")):
        finish(Order(IDENTITY, (sequence,), protocol, tmp_path / "out"), convention)  # type: ignore[arg-type]
    out = tmp_path / "out"
    for file in ("otb/results/identity/s0.txt", "got10k/results/identity/s0/s0_001.txt"):
        boxes = np.loadtxt(out / file, delimiter=",")
        assert boxes.tolist() == [list(truth_box(0))] * LENGTH
    for file in ("otb/results/identity/times/s0_time.txt", "got10k/results/identity/s0/s0_time.txt"):
        assert np.isfinite(np.loadtxt(out / file)).tolist() == [True] * LENGTH
    lines = (out / "vot-multistart/results/identity/baseline/s0/s0_00000000.txt").read_text().splitlines()
    assert (lines[0], lines[1], len(lines)) == ("1", "20.0000,18.0000,16.0000,12.0000", LENGTH)


def test_scores_are_json_without_numbers_that_json_lacks(tmp_path: Path) -> None:
    content = json.loads(finish(Order(IDENTITY, dataset(tmp_path / "data", 1), "one-pass", tmp_path / "out")))
    assert content["scores"]["auc"]["low"] is None
    assert content["tracker"] == "identity"
    assert list(content["by_sequence"]) == ["s0"]
    assert len(content["curves"]["success"]) == 21


def test_trackers_that_are_not_there_are_named() -> None:
    with pytest.raises(BundleError, match=r"nothing.siamedge: no such bundle"):
        resolved(TrackerSpec("nothing.siamedge"))
    with pytest.raises(BackendError, match=r"no.onnx: no such file"):
        open_spec(TrackerSpec("opencv:nano:no.onnx,none.onnx"))
    with pytest.raises(BackendError, match="a checkpoint runs in PyTorch, fp32, on the CPU, not openvino int8 CPU"):
        open_spec(TrackerSpec("net.pth", "openvino", "int8"))


@pytest.mark.parametrize("source", ["identity", "opencv:nano:a.onnx,b.onnx", "net.pth"])
@pytest.mark.parametrize("choice", [("foo", "auto", "CPU"), ("auto", "bar", "CPU"), ("auto", "auto", "GPU")])
def test_a_choice_that_a_tracker_does_not_have_is_refused(source: str, choice: tuple[str, str, str]) -> None:
    with pytest.raises(BackendError, match=r"has no choice of backend|a checkpoint runs in PyTorch"):
        resolved(TrackerSpec(source, *choice))


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--realtime", "inf", "invalid value for --realtime: inf frames a second"),
        ("--jobs", "0", "invalid value for --jobs: 0 sequences at once: give 1 or more, or -1"),
    ],
)
def test_numbers_that_make_no_sense_are_wrong_usage(siamedge: Run, option: str, value: str, message: str) -> None:
    assert siamedge("eval", "identity", "data", option, value) == refused(message, "siamedge eval --help", 2)


def test_on_a_narrow_terminal_the_names_of_runs_are_whole(siamedge: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for number in range(2):
        write_scene(Path("data", f"s{number}"), seed=number)
    first = siamedge("eval", "identity", "data/s0", "-o", "first")
    assert first.stdout.endswith(f"\n1 sequence, {LENGTH} frames, convention otb; files in first/otb\n")
    rival = "runs-of-the-garden-of-last-summer"
    siamedge("eval", "identity", "data", "-o", rival)
    stdout = siamedge("eval", "identity", "data", "-o", "out", "--against", rival).stdout
    first_column = "".join(line[:18].strip() for line in stdout.splitlines())
    assert first_column.count(f"identity in{rival}") == 2
    assert max(map(len, stdout.splitlines()[:-1])) <= 80
    assert "; in brackets the 95 % bootstrap interval over sequences; files in out/otb\n" in stdout


def test_labels_name_the_tracker_and_how_it_runs() -> None:
    assert TrackerSpec("/a/dart.siamedge", "tflite", "int8").label == "dart-tflite-int8"
    assert TrackerSpec("dart.siamedge.zip").label == "dart"
    assert TrackerSpec("v3.pth", "torch", "fp32").label == "v3-torch-fp32"
    assert TrackerSpec("opencv:nano:v2.onnx,head.onnx").label == "opencv-nano-v2"
    assert TrackerSpec("x.siamedge", "openvino", "int8", "NPU").label == "x-openvino-int8-NPU"


def test_the_identity_tracker_stays() -> None:
    tracker = IdentityTracker()
    picture = np.zeros((4, 4, 3), np.uint8)
    tracker.init(picture, truth_box(0))
    assert tracker.update(picture).box == truth_box(0)


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no device that is always full")
def test_a_full_disk_is_told_in_one_line_and_leaves_no_piece(siamedge: Run) -> None:
    write_scene(Path("s0"))
    records = Path("out/one-pass/records")
    records.mkdir(parents=True)
    (records / "s0.json.part").symlink_to("/dev/full")
    assert siamedge("eval", "identity", "s0", "-o", "out") == refused(
        "out: cannot be written (No space left on device)", "make room on the disk, or choose another -o"
    )
    assert list(records.iterdir()) == []


def test_importing_the_evaluation_imports_no_heavy_library() -> None:
    code = (
        "import sys, siamedge.export.evaluation.outputs; print(*{'torch', 'matplotlib', 'joblib'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == ""
