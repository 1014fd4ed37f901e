"""`siamedge train`: the smoke recipe end to end, fine-tuning on recordings, stopping and going on, what is refused."""

import csv
import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from command_line import Outcome, Run, refused

from siamedge.cli import train as train_command
from siamedge.cli.main import main
from siamedge.export.calibration.crop_sets import CalibrationSet
from siamedge.export.checkpoints.reading import read_checkpoint
from siamedge.export.families.dart import Dart, DartConfig, load_dart, save_dart
from siamedge.export.families.dart_source import TRACKER_KEY
from siamedge.export.families.nanotrack import V2, NanoTrack
from siamedge.export.families.siamfc import SiamFC, SiamFCConfig, read_siamfc, save_siamfc
from siamedge.runtime.errors import SourceError
from siamedge.runtime.following import follow
from siamedge.runtime.geometry import intersection_over_union
from siamedge.runtime.sources.synthetic import SyntheticSource
from siamedge.training.feeding.fixed import read_judgements
from siamedge.training.job import prepare
from siamedge.training.settings import Settings

TINY = DartConfig(
    layers=((8, 2), (16, 2), (24, 2), (24, 2)),
    channels=16,
    head=16,
    tower=1,
    template_px=64,
    search_px=128,
    has_quality=True,
)
TUNED = '{"lr": 0.5, "penalty_k": 0.1, "window_influence": 0.3}'
PATIENCE_S = 300


@pytest.fixture(autouse=True)
def thread_count() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def siamedge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Runs the command line in a folder of this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("user"))
        patch.setenv("COLUMNS", "120")
        patch.setattr(train_command, "PULSE_S", float("inf"))

        def run(*arguments: str | Path) -> Outcome:
            patch.setattr(sys, "argv", ["siamedge", *map(str, arguments)])
            out, err = io.StringIO(), io.StringIO()
            with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as stop:
                main()
            return Outcome(int(stop.value.code or 0), out.getvalue(), err.getvalue())

        yield run


@pytest.fixture(scope="module")
def weights(siamedge: Run) -> Path:
    """A tiny untrained network with tracker parameters of its own."""
    torch.manual_seed(0)
    save_dart(Dart(TINY), Path("start.safetensors"), notes={TRACKER_KEY: TUNED})
    return Path("start.safetensors")


@pytest.fixture(scope="module")
def recordings(siamedge: Run) -> Path:
    """Two clips of drawn scenes."""
    for seed, name in enumerate(("first", "second")):
        clip = SyntheticSource(frames=12, size=(160, 120), seed=seed)
        folder = Path("clips", name)
        (folder / "img").mkdir(parents=True)
        for index in range(12):
            cv2.imwrite(str(folder / "img" / f"{index:04d}.png"), clip.image_at(index))
        rows = [",".join(f"{value:.2f}" for value in clip.box_at(index)) for index in range(12)]
        (folder / "groundtruth.txt").write_text("\n".join(rows) + "\n")
    return Path("clips")


@pytest.fixture(scope="module")
def finetuned(siamedge: Run, recordings: Path, weights: Path) -> Outcome:
    """What `siamedge train` said of a short run in the folder tuned."""
    return siamedge("train", recordings, "--init", weights, "--out", "tuned", "--pairs", "64")


@pytest.mark.slow
def test_the_smoke_recipe_learns_exports_and_tracks(siamedge: Run) -> None:
    trained = siamedge("train", "--recipe", "smoke", "--out", "smoke")
    assert (trained.code, trained.stderr) == (0, "")
    assert trained.stdout.endswith(
        "wrote smoke/weights.safetensors; to a bundle: siamedge export smoke/weights.safetensors\n"
    )
    losses = [look.loss for look in read_judgements(Path("smoke/fixed.csv"))]
    assert len(losses) == 5
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] / 2

    exported = siamedge("export", "smoke/weights.safetensors", "--formats", "onnx", "--precisions", "fp32,int8")
    assert exported.code == 0
    clip = SyntheticSource(frames=60)
    steps = islice(follow("weights.siamedge", "synthetic:?frames=60", clip.box_at(0)), 30)
    overlaps = [intersection_over_union(step.result.box, clip.box_at(step.frame.index)) for step in steps]
    assert overlaps[0] == 1
    assert np.mean(overlaps[1:]) > 0.5


def test_a_long_run_without_a_terminal_says_how_far_it_is(
    siamedge: Run, recordings: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_command, "PULSE_S", 0.0)
    told = siamedge("train", recordings, "--init", weights, "--out", "told", "--pairs", "320")
    assert told.code == 0
    assert "reading crops\n" in told.stderr
    assert re.search(r"^training: 320 pairs, loss [\d.]+, \d+ pairs/s, 320 pairs in all$", told.stderr, re.MULTILINE)


def test_fine_tuning_says_what_is_held_out_and_what_came_of_it(finetuned: Outcome) -> None:
    assert (finetuned.code, finetuned.stderr) == (0, "recordings: first; held out: second\n")
    before, after, change = map(float, re.findall(r"second +([\d.]+) +([\d.]+) +([+-][\d.]+)", finetuned.stdout)[0])
    assert change == pytest.approx(after - before, abs=0.0011)
    words = f"WORSE by {-change:.3f}" if change < 0 else f"better by {change:.3f}" if change > 0 else "no change in the"
    assert words in finetuned.stdout
    assert "1 held-out recording(s) say little about others; hold out more with --holdout\n" in finetuned.stdout
    assert {look.name for look in read_judgements(Path("tuned/fixed.csv"))} == {"drawn", "held-out recordings"}


def test_weights_keep_their_shape_and_tracker(finetuned: Outcome) -> None:
    assert finetuned.code == 0
    assert load_dart(Path("tuned/weights.safetensors")).config == TINY
    assert read_checkpoint(Path("tuned/weights.safetensors")).metadata[TRACKER_KEY] == TUNED


def test_trained_weights_are_exported_on_the_crops_beside_them(finetuned: Outcome, siamedge: Run) -> None:
    assert finetuned.code == 0
    result = siamedge("export", "tuned/weights.safetensors", "--formats", "onnx", "--precisions", "fp32")
    assert result.code == 0
    kept = CalibrationSet.load(Path("tuned/weights.calibration.npz"))
    assert f"on {len(kept.searches) // 2} crops" in result.stdout


def test_a_finished_run_that_is_resumed_is_judged_again(finetuned: Outcome, siamedge: Run) -> None:
    assert siamedge("train", "--resume", "--out", "tuned") == finetuned


def test_a_run_does_not_go_on_with_other_boxes(finetuned: Outcome, siamedge: Run, recordings: Path) -> None:
    """What it was trained on might judge it."""
    assert finetuned.code == 0
    boxes = recordings / "second/groundtruth.txt"
    rows = boxes.read_text()
    boxes.write_text(rows.replace("\n", "\nnan\n", 1).rsplit("\n", 2)[0] + "\n")
    try:
        resumed = siamedge("train", "--resume", "--out", "tuned")
    finally:
        boxes.write_text(rows)
    assert resumed.code == 1
    assert "tuned/held_out: cut from other frames or boxes than the recordings have that are there\n" in resumed.stderr


def test_a_folder_in_which_another_process_trains_is_left_alone(siamedge: Run, recordings: Path, weights: Path) -> None:
    Path("busy").mkdir()
    holds = "import sys; from pathlib import Path; from siamedge.training.running.files import RunFiles\n"
    holds += "with RunFiles(Path('busy')).hold(): print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", holds], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        second = siamedge("train", recordings, "--init", weights, "--out", "busy", "--pairs", "32")
        other.communicate()
    assert second == Outcome(
        1,
        "",
        "recordings: first; held out: second\n"
        "siamedge: busy: another `siamedge train` is under way there\n"
        "  try: wait for it, or choose another --out\n",
    )
    assert [path.name for path in Path("busy").iterdir()] == ["lock"]


def press_ctrl_c_after(log: Path, rows: int) -> threading.Thread:
    def wait() -> None:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end and rows_of(log) < rows:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def rows_of(log: Path) -> int:
    if not log.is_file():
        return 0
    with log.open(newline="", encoding="utf-8") as file:
        return len(list(csv.DictReader(file)))


def test_ctrl_c_saves_and_says_how_to_go_on(siamedge: Run, recordings: Path, weights: Path) -> None:
    asked = (recordings, "--init", weights, "--out", "run")
    stopped = []
    for arguments, rows in ((("train", *asked, "--pairs", "9000000"), 1), (("train", "--resume", "--out", "run"), 2)):
        finger = press_ctrl_c_after(Path("run/log.csv"), rows)
        stopped.append(siamedge(*arguments))
        finger.join()
    pairs = []
    for code, stdout, stderr in stopped:
        found = re.fullmatch(
            r"recordings: first; held out: second\n"
            r"stopped after (\d+) of 9000000 pairs, saved in run/checkpoint\.pt; "
            r"go on with: siamedge train --resume --out run\n"
            r"siamedge: interrupted\n",
            stderr,
        )
        assert found
        assert (code, stdout) == (130, "")
        pairs.append(int(found[1]))
    assert 320 <= pairs[0] < pairs[1]
    assert siamedge("train", *asked) == refused(
        "invalid value for '--out': run holds a run already; add --resume, or choose another",
        "siamedge train --help",
        2,
    )
    assert siamedge("train", "--resume", "--out", "run", "--pairs", "7") == refused(
        "invalid value for '--resume': pairs differs from that of the run in run: 9000000", "siamedge train --help", 2
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_only_the_first_wish_to_end_waits_for_the_step(number: signal.Signals) -> None:
    def end(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(number, end)
    try:
        with train_command.until_interrupted() as seen:
            signal.raise_signal(number)
            assert seen == [number]
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
        assert signal.getsignal(number) is end
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize(
    ("arguments", "message", "hint", "code"),
    [
        (("a",), "missing option '-o' / '--out'", "siamedge train --help", 2),
        (
            ("--out", "new", "--recipe", "quick"),
            "invalid value for '--recipe': 'quick' is unknown; "
            "choose one of default, default-int8, default-boxes, smoke, finetune, siamfc-narrow",
            "siamedge train --help",
            2,
        ),
        (
            ("--out", "new"),
            "recipe 'finetune' needs data",
            "siamedge train VIDEO_OR_FOLDER... --out FOLDER",
            1,
        ),
        (
            ("a", "--out", "new", "--recipe", "smoke"),
            "recipe 'smoke' draws its own data",
            "--recipe finetune trains on yours",
            1,
        ),
        (
            ("--out", "new", "--recipe", "siamfc-narrow"),
            "recipe 'siamfc-narrow' needs data",
            "siamedge train VIDEO_OR_FOLDER... --out FOLDER",
            1,
        ),
        (
            ("a", "--out", "new", "--recipe", "siamfc-narrow", "--teacher", "t.pth"),
            "recipe 'siamfc-narrow' learns from no teacher",
            "train it without --teacher",
            1,
        ),
        (
            ("a", "--out", "new", "--recipe", "default-boxes", "--init", "default"),
            "recipe 'default-boxes' learns a teacher's boxes",
            "--teacher nanotrackv3.pth",
            1,
        ),
        (
            ("--out", "new", "--resume"),
            "new: no run to resume",
            "leave --resume away to start one",
            1,
        ),
    ],
)
def test_what_cannot_be_trained_is_told_in_one_line(
    siamedge: Run, arguments: tuple[str, ...], message: str, hint: str, code: int
) -> None:
    assert siamedge("train", *arguments) == refused(message, hint, code)
    assert not Path("new").exists()


def test_a_recipe_that_keeps_layers_needs_weights() -> None:
    message = r"^recipe 'finetune' keeps its first 3 layers as they are: it needs weights$"
    with pytest.raises(SourceError, match=message):
        prepare(Settings("finetune", data=("a",)), Path("new"))


def test_a_teacher_that_cannot_teach_is_told(siamedge: Run, recordings: Path, weights: Path) -> None:
    asked = ("train", recordings, "--init", weights, "--out", "new", "--teacher")
    assert siamedge(*asked, weights) == refused(
        f"{weights.resolve()}: not a nanotrack-v3 checkpoint: backbone.features.0.0.weight is missing",
        "the teacher is nanotrackv3.pth as published",
    )


def test_weights_of_the_other_family_are_told(siamedge: Run, recordings: Path, weights: Path) -> None:
    save_siamfc(SiamFC(SiamFCConfig(widths=(4, 8, 8, 12, 6))), Path("narrow.safetensors"))
    here = Path.cwd()
    asked = ("train", recordings, "--out", "new")
    assert siamedge(*asked, "--recipe", "siamfc-narrow", "--init", weights) == refused(
        f"{here}/{weights}: not a siamfc-alexnet checkpoint: backbone.conv1.0.weight is missing",
        "recipe 'siamfc-narrow' starts from SiamFC weights, or from none",
    )
    assert siamedge(*asked, "--init", "narrow.safetensors") == refused(
        f"{here}/narrow.safetensors: weights of siamfc-alexnet, and recipe 'finetune' trains Dart",
        "--recipe siamfc-narrow goes on from them",
    )


def test_weights_of_a_family_that_is_not_trained_are_told(siamedge: Run, recordings: Path) -> None:
    torch.save(NanoTrack(V2).state_dict(), "v2.pth")
    assert siamedge("train", recordings, "--init", "v2.pth", "--out", "new") == refused(
        f"{Path.cwd()}/v2.pth: weights of nanotrack-v2, and recipe 'finetune' trains Dart",
        "--init default, or other weights of Dart",
    )


def test_siamfc_goes_on_from_siamfc_weights(siamedge: Run, recordings: Path) -> None:
    config = SiamFCConfig(widths=(4, 8, 8, 12, 6), response_scale=0.01)
    save_siamfc(SiamFC(config), Path("old.safetensors"))
    asked = ("--recipe", "siamfc-narrow", "--init", "old.safetensors", "--out", "siamfc", "--pairs", "64")
    trained = siamedge("train", recordings, *asked)
    assert (trained.code, trained.stderr) == (0, "recordings: first; held out: second\n")
    assert re.search(r"second +[\d.]+ +[\d.]+ +[+-][\d.]+", trained.stdout)
    assert {look.name for look in read_judgements(Path("siamfc/fixed.csv"))} == {"drawn", "held-out recordings"}
    assert read_siamfc(read_checkpoint(Path("siamfc/weights.safetensors"))).config == config
    assert CalibrationSet.load(Path("siamfc/weights.calibration.npz")).searches.shape[1:] == (255, 255, 3)


def test_recordings_that_are_too_few_to_be_classes_are_told(siamedge: Run, recordings: Path) -> None:
    assert siamedge("train", recordings, "--recipe", "siamfc-narrow", "--out", "few") == Outcome(
        1,
        "",
        "recordings: first; held out: second\n"
        "siamedge: 0 class(es) with at least 20 crops, 2 are needed to learn from\n"
        "  try: give more data, or --init SIAMFC_WEIGHTS, which skips the classes\n",
    )


def test_a_path_without_recordings_is_told(siamedge: Run) -> None:
    hint = "give the folder that holds the sequences"
    here = Path.cwd()
    assert siamedge("train", "nowhere", "--out", "new") == refused(f"{here}/nowhere: no such data set", hint)
    Path("film.mp4").touch()
    assert siamedge("train", "film.mp4", "--out", "new") == refused(
        f"{here}/film.mp4: not a video with its boxes in film.txt", "put the box file beside it"
    )


def test_a_damaged_run_is_told(siamedge: Run) -> None:
    Path("damaged").mkdir()
    Path("damaged/run.json").write_text("{}")
    assert siamedge("train", "--resume", "--out", "damaged") == refused(
        "damaged/run.json: cannot be read: 'schema'", "start the run again in another --out"
    )
    Settings(["smoke"]).save(Path("damaged"))  # type: ignore[arg-type]
    assert siamedge("train", "--resume", "--out", "damaged") == refused(
        "damaged/run.json: cannot be read: recipe: expected a text, found \"['smoke']\"",
        "start the run again in another --out",
    )
    Settings("quick").save(Path("damaged"))
    assert siamedge("train", "--resume", "--out", "damaged") == refused(
        "unknown recipe 'quick'",
        "choose one of default, default-int8, default-boxes, smoke, finetune, siamfc-narrow",
    )
