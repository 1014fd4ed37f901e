"""A run from a user's recordings to judged weights: prepare, train, evaluate."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from siamedge.export.calibration.crop_sets import CalibrationSet
from siamedge.export.checkpoints.reading import default_weights, load_network
from siamedge.export.families.dart import load_dart
from siamedge.export.families.siamfc import ARCH as SIAMFC
from siamedge.runtime.errors import ExportError, SourceError
from siamedge.runtime.places import room_for
from siamedge.training.crops.annotated import cut_recordings
from siamedge.training.crops.material import Material, gather, held_out_crops
from siamedge.training.crops.store import CropStore, read_rows
from siamedge.training.evaluation import Score, evaluate
from siamedge.training.feeding.fixed import (
    FixedPairs,
    Judgement,
    append_judgements,
    drawn_pairs,
    fixed_pairs,
    read_judgements,
)
from siamedge.training.recipes.siamfc import ALL_RECIPES, AnyRecipe, SiamFCRecipe
from siamedge.training.running.files import RunFiles
from siamedge.training.running.loop import TrainResult, train
from siamedge.training.running.run import Progress, TrainingRun
from siamedge.training.settings import DEFAULT, Settings
from siamedge.training.siamfc.judge import judge_siamfc
from siamedge.training.siamfc.loop import fit_siamfc, train_siamfc
from siamedge.training.siamfc.run import SiamFCProgress, SiamFCRun
from siamedge.training.teaching.teacher import check_teacher

DRAWN_SHARE = 0.25
"""Of the pairs from tracks, where a recipe mixes drawn objects with the user's: what keeps the network general."""
DRAWN_FRAMES = 4
"""Crops of a drawn track."""
LOOKS = 4
"""How often a run is judged on the fixed pairs, at least."""


AnyProgress = Progress | SiamFCProgress


class Watch(NamedTuple):
    """How a job speaks to whoever started it."""

    say: Callable[[str], None]
    on_progress: Callable[[AnyProgress], None]
    should_stop: Callable[[], bool]


class Change(NamedTuple):
    """A recording's score before and after."""

    before: Score
    after: Score


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out.

    Attributes:
        result: Weights, log, pairs seen.
        is_complete: False: stopped early, can be resumed.
        fixed: Judgements on fixed pairs, in time.
        changes: Of held-out recordings, if the run started from weights.
    """

    result: TrainResult
    is_complete: bool
    fixed: tuple[Judgement, ...]
    changes: tuple[Change, ...]

    def first_and_last(self) -> list[tuple[Judgement, Judgement]]:
        """Give the first and the last judgement on each fixed set."""
        names = dict.fromkeys(item.name for item in self.fixed)
        looks = ([item for item in self.fixed if item.name == name] for name in names)
        return [(each[0], each[-1]) for each in looks]

    def overlap_changes(self) -> dict[str, float]:
        """Give by how much the overlap rose on each fixed set."""
        return {first.name: last.overlap - first.overlap for first, last in self.first_and_last()}


@dataclass(frozen=True, slots=True)
class Job:
    """A run that is ready to start.

    Attributes:
        recipe: Made fit for the weights and the user's crops.
        init: Weights to start from.
        material: The user's.
        out: Folder of everything.
        teacher: A checkpoint to learn from too.
    """

    recipe: AnyRecipe
    init: Path | None
    material: Material
    out: Path
    teacher: Path | None = None


def prepare(settings: Settings, out: Path) -> Job:
    """Check settings and find the user's material; nothing is written.

    Raises:
        SourceError: The recipe is unknown; data are missing, unusable, or given to a recipe that draws its own.
        ExportError: The weights to start from cannot be read.
    """
    recipe = ALL_RECIPES.get(settings.recipe)
    if recipe is None:
        raise SourceError(f"unknown recipe {settings.recipe!r}", hint=f"choose one of {', '.join(ALL_RECIPES)}")
    if recipe.needs_crops and not settings.data:
        raise SourceError(f"recipe {recipe.name!r} needs data", hint="siamedge train VIDEO_OR_FOLDER... --out FOLDER")
    if settings.data and not recipe.needs_crops:
        raise SourceError(f"recipe {recipe.name!r} draws its own data", hint="--recipe finetune trains on yours")
    init = default_weights() if settings.init == DEFAULT else Path(settings.init) if settings.init else None
    teacher = Path(settings.teacher) if settings.teacher else None
    fitted = _fit(recipe, init, teacher)
    material = gather([Path(path) for path in settings.data], settings.holdout, recipe.holdout)
    timed = replace(_timed(fitted, settings.pairs), holdout=material.held_tracks)
    return Job(timed, init, material, out, teacher)


def _fit(recipe: AnyRecipe, init: Path | None, teacher: Path | None) -> AnyRecipe:
    """Give a recipe the network of the weights that it starts from.

    Raises:
        SourceError: It lacks weights, or has a teacher that it cannot learn from.
        ExportError: The weights, or the teacher's, are not such as it needs.
    """
    if isinstance(recipe, SiamFCRecipe):
        return fit_siamfc(recipe, init, teacher)
    if init is None and recipe.frozen_layers:
        raise SourceError(
            f"recipe {recipe.name!r} keeps its first {recipe.frozen_layers} layers as they are: it needs weights",
            hint="--init default, or --init WEIGHTS",
        )
    if init is not None and (arch := load_network(init).arch) != "dart":
        is_siamfc = arch == SIAMFC
        hint = "--recipe siamfc-narrow goes on from them" if is_siamfc else "--init default, or other weights of Dart"
        raise ExportError(f"{init}: weights of {arch}, and recipe {recipe.name!r} trains Dart", hint=hint)
    fitted = recipe if init is None else replace(recipe, network=load_dart(init).config)
    if teacher is None and recipe.losses.teacher_box:
        raise SourceError(f"recipe {recipe.name!r} learns a teacher's boxes", hint="--teacher nanotrackv3.pth")
    if teacher is not None:
        check_teacher(teacher, fitted.network)
    return fitted


def run_job(job: Job, watch: Watch, *, resume: bool) -> Outcome:
    """Cut crops, train, and judge the result.

    Raises:
        SourceError: A recording cannot be read, or differs from that which the resumed run was trained on.
        ExportError: The checkpoint is damaged or of another network, or the run has diverged.
        PlaceError: There is no room for what a run writes.
    """
    with room_for(job.out, "--out"):
        return _run_job(job, watch, resume=resume)


def _run_job(job: Job, watch: Watch, *, resume: bool) -> Outcome:
    job.out.mkdir(parents=True, exist_ok=True)
    is_begun = resume and RunFiles(job.out).checkpoint.is_file()
    roots = _training_roots(job, watch.say, is_begun=is_begun)
    recipe = _mixed(job.recipe, roots)
    judges = _judges(job, recipe, watch.say, is_begun=is_begun)
    watch.say("reading crops")
    result = _train(replace(job, recipe=recipe), roots, judges, watch, resume=resume)
    is_complete = result.pairs >= recipe.pairs
    if is_complete:
        write_calibration(judges, result.weights.with_suffix(".calibration.npz"))
    changes = _changes(job, result.weights, watch.say) if is_complete else ()
    return Outcome(result, is_complete, tuple(read_judgements(RunFiles(job.out).fixed)), changes)


def _train(job: Job, roots: list[Path], judges: tuple[FixedPairs, ...], watch: Watch, *, resume: bool) -> TrainResult:
    """Run the recipe of either family, judging it at each epoch."""
    recipe, out, fixed = job.recipe, job.out, RunFiles(job.out).fixed

    def judge_dart(run: TrainingRun) -> None:
        append_judgements(fixed, [pairs.judge(run.average, run.recipe, run.pairs) for pairs in judges])

    def judge_siamfc_run(run: SiamFCRun) -> None:
        append_judgements(fixed, [judge_siamfc(pairs, run.average, run.recipe, run.pairs) for pairs in judges])

    show, should_stop = watch.on_progress, watch.should_stop
    if isinstance(recipe, SiamFCRecipe):
        return train_siamfc(
            recipe,
            roots=roots,
            out=out,
            init=job.init,
            resume=resume,
            on_progress=show,
            on_epoch=judge_siamfc_run,
            should_stop=should_stop,
        )
    return train(
        recipe,
        dataset_root=roots,
        out=out,
        init=job.init,
        teacher=job.teacher,
        resume=resume,
        on_progress=show,
        on_drawn=lambda drawn, count: watch.say(f"drawing pairs: {drawn} of {count}"),
        on_epoch=judge_dart,
        should_stop=should_stop,
    )


def write_calibration(judges: tuple[FixedPairs, ...], path: Path) -> None:
    """Save crops of fixed pairs as a calibration set; `siamedge export` takes one that lies beside the weights."""
    chosen = [batch for pairs in judges for batch in pairs.batches[:2]]
    templates = np.concatenate([batch.templates for batch in chosen])
    searches = np.concatenate([batch.searches for batch in chosen])
    CalibrationSet(templates, searches, np.arange(len(searches), dtype=np.int64)).save(path)


def _timed(recipe: AnyRecipe, pairs: int | None) -> AnyRecipe:
    """Give a recipe its length; a shorter run warms up for a shorter time."""
    length = pairs or recipe.pairs
    warmup = min(recipe.warmup_pairs, max(1, length // 10))
    return replace(recipe, pairs=length, warmup_pairs=warmup, epoch_pairs=min(recipe.epoch_pairs, -(-length // LOOKS)))


def _training_roots(job: Job, say: Callable[[str], None], *, is_begun: bool) -> list[Path]:
    roots = list(job.material.crop_roots)
    if job.material.trained:
        roots.append(cut_recordings(job.material.trained, job.out / "crops", is_begun=is_begun, progress=say))
    return roots


def _mixed(recipe: AnyRecipe, roots: list[Path]) -> AnyRecipe:
    """Weigh drawn tracks so that they make up their share beside the user's, however many crops those have."""
    if not recipe.drawn_tracks or not roots:
        return recipe
    lengths: dict[str, int] = {}
    for row in (row for root in roots for row in read_rows(root) if row["track"]):
        lengths[row["track"]] = lengths.get(row["track"], 0) + 1
    own = sum(np.sqrt(length) for length in lengths.values() if length > 1)
    if own == 0:
        raise SourceError("no track has two crops", hint="give recordings with more than one box")
    drawn = recipe.drawn_tracks * np.sqrt(DRAWN_FRAMES)
    weight = float(DRAWN_SHARE / (1 - DRAWN_SHARE) * own / drawn)
    return replace(recipe, mixture=replace(recipe.mixture, track_weights=(("synthetic_", weight),)))


def _judges(job: Job, recipe: AnyRecipe, say: Callable[[str], None], *, is_begun: bool) -> tuple[FixedPairs, ...]:
    judges = [drawn_pairs(job.out / "drawn_fixed", recipe)]
    if job.material.held_out:
        root = cut_recordings(job.material.held_out, job.out / "held_out", is_begun=is_begun, progress=say)
        judges.append(fixed_pairs("held-out recordings", CropStore([root]), recipe))
    if job.material.held_tracks:
        store = held_out_crops(job.material.crop_roots, job.material.held_tracks)
        judges.append(fixed_pairs("held-out crops", store, recipe))
    return tuple(judges)


def _changes(job: Job, weights: Path, say: Callable[[str], None]) -> tuple[Change, ...]:
    if job.init is None or not job.material.held_out:
        return ()
    say("tracking the held-out recordings with the weights before")
    before = evaluate(job.init, job.material.held_out)
    say("tracking the held-out recordings with the weights after")
    return tuple(map(Change, before, evaluate(weights, job.material.held_out)))
