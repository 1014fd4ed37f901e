"""Training: branches and back, learning, stopping and going on."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from siamedge.export.families.dart import Dart, DartConfig, load_dart, save_dart
from siamedge.runtime.errors import ExportError, PlaceError
from siamedge.training.curve import read_log
from siamedge.training.feeding.fixed import Judgement, append_judgements, read_judgements
from siamedge.training.networks.branches import Branches, folded, settle, with_branches
from siamedge.training.networks.growing import LIMIT, grown
from siamedge.training.networks.rounding import plain, rounded, with_rounding
from siamedge.training.pairs.pairs import Batch
from siamedge.training.recipes.dart import RECIPES, Recipe
from siamedge.training.running.checkpoints import Checkpoint, load_checkpoint, save_checkpoint, saving
from siamedge.training.running.loop import train
from siamedge.training.running.run import Progress, TrainingRun
from siamedge.training.running.schedule import learning_rate
from siamedge.training.tensorboard_log import open_log

TINY_NETWORK = DartConfig(
    layers=((8, 2), (16, 2), (24, 2), (24, 2)), channels=16, head=16, tower=1, template_px=64, search_px=128
)
TINY = replace(
    RECIPES["smoke"], network=replace(TINY_NETWORK, has_quality=True), pairs=64, epoch_pairs=32, batch=8, workers=0
)


@pytest.fixture(autouse=True)
def thread_count() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def fixed_batch(recipe: Recipe) -> Batch:
    """Squares of one colour on grey: the template shows the square, the search crop has it somewhere."""
    random = np.random.default_rng(0)
    side, count = recipe.network.search_px, recipe.batch
    templates = np.full((count, recipe.network.template_px, recipe.network.template_px, 3), 90, np.uint8)
    searches = np.full((count, side, side, 3), 90, np.uint8)
    centers = random.integers(32, side - 32, (count, 2))
    for index, (x, y) in enumerate(centers):
        color = random.integers(0, 256, 3)
        searches[index, y - 12 : y + 12, x - 12 : x + 12] = color
        templates[index, 20:44, 20:44] = color
    return Batch(templates, searches, np.column_stack([centers, np.full((count, 2), 24)]).astype(np.float32))


def branched(seed: int = 0) -> tuple[Dart, Dart, Tensor, Tensor]:
    """A plain network, the same with branches, and crops for both."""
    torch.manual_seed(seed)
    network = Dart(TINY_NETWORK).eval()
    z, x = torch.rand(4, 3, 64, 64) * 255, torch.rand(4, 3, 128, 128) * 255
    return network, with_branches(network, z, x), z, x


@torch.no_grad()
def test_new_branches_change_nothing() -> None:
    network, wrapped, z, x = branched()
    for changed in (wrapped.eval(), folded(wrapped)):
        assert torch.allclose(changed(z, x)[0], network(z, x)[0], atol=1e-4)
    assert folded(wrapped).state_dict().keys() == network.state_dict().keys()


def test_trained_branches_fold_into_one_convolution_each() -> None:
    network, wrapped, z, x = branched()
    optimizer = torch.optim.SGD(wrapped.parameters(), lr=1e-2)
    for _ in range(5):
        optimizer.zero_grad()
        (wrapped(z, x)[0] - 1).square().mean().backward()
        optimizer.step()
    (tower,) = wrapped.cls_tower
    assert isinstance(tower, Branches)
    assert tower.identity is not None
    assert tower.identity.weight.abs().max() > 1e-5
    with torch.no_grad():
        found, expected, before = (net(z, x)[0] for net in (folded(wrapped), wrapped.eval(), network))
    assert torch.allclose(found, expected, atol=1e-4)
    assert not torch.allclose(found, before, atol=1e-2)


@torch.no_grad()
def test_a_settled_network_trains_on_what_it_computes_when_folded() -> None:
    _, wrapped, z, x = branched()
    wrapped.train()(z, x)
    settle(wrapped)
    first, again = wrapped(z, x)[0], wrapped(z, x[:2].repeat(2, 1, 1, 1))[0]
    assert torch.allclose(first, folded(wrapped)(z, x)[0], atol=1e-4)
    assert torch.equal(first[:2], again[:2])


@torch.no_grad()
def test_a_grown_network_keeps_what_fits() -> None:
    network, _, z, x = branched()
    same = grown(network, TINY_NETWORK)
    assert torch.equal(same(z, x)[0], network(z, x)[0])
    (first, stride), *rest = TINY_NETWORK.layers
    wider = grown(network, replace(TINY_NETWORK, layers=((first + 4, stride), (8, 1), *rest)))
    assert torch.equal(wider.backbone[0].weight[:first], network.backbone[0].weight)
    assert torch.equal(wider.backbone[2].bias, network.backbone[1].bias)


@torch.no_grad()
def test_a_layer_that_is_new_at_the_end_nearly_hands_its_input_on() -> None:
    network, _, _, x = branched()
    deeper = grown(network, replace(TINY_NETWORK, layers=(*TINY_NETWORK.layers, (24, 1))))
    before, after = (net.backbone[:-1] for net in (network, deeper))
    for layer in before:
        x = functional.relu6(layer(x))
    changed = functional.relu6(after[-1](x))
    assert len(after) == len(before) + 1
    assert (changed - x).abs().mean() < 0.5 * x.abs().mean()


@torch.no_grad()
def test_a_kernel_with_fewer_positions_is_mixed_alike() -> None:
    network = Dart(TINY_NETWORK)  # template 64 px: 4 x 4 positions
    smaller = grown(network, replace(TINY_NETWORK, template_px=32, search_px=64))  # 2 x 2
    old, new = (net.mix.weight[:, : net.config.positions, 0, 0] for net in (network, smaller))
    # Between the middle points of 4: halves of (0, 1) and of (2, 3); each stands for four positions.
    expected = old.reshape(-1, 2, 2, 2, 2).mean((2, 4)).flatten(1) * 4
    assert torch.allclose(new, expected, atol=1e-6)
    assert torch.equal(smaller.mix.weight[:, 4:], network.mix.weight[:, 16:])


@torch.no_grad()
def test_a_network_that_clips_its_features_starts_from_one_that_does_not() -> None:
    torch.manual_seed(0)
    network, wide = Dart(TINY_NETWORK), replace(TINY_NETWORK, is_limited=True, correlation_divisor=3.0)
    z, x = torch.rand(2, 3, 64, 64) * 255, torch.rand(2, 3, 128, 128) * 255
    limited = grown(network, wide)
    before, after = network.features(x), limited.features(x)
    assert before.abs().max() < LIMIT, "otherwise there is more to it than scale"
    assert torch.allclose(after * LIMIT, before, atol=1e-6)
    assert torch.allclose(limited(z, x)[0], network(z, x)[0], atol=1e-6)
    network.backbone[-1].weight *= 40
    after = grown(network, wide).features(x)
    assert torch.allclose(after, (network.features(x) / LIMIT).clamp(-1, 1), atol=1e-5)
    assert after.max() == 1 and after.min() == -1


def test_weights_are_rounded_to_the_levels_that_the_largest_spans() -> None:
    weight = torch.tensor([[0.63, -0.304, 0.006], [6.3, 0.26, -0.04]])[:, :, None, None]
    expected = torch.tensor([[0.63, -0.30, 0.01], [6.3, 0.3, 0.0]])[:, :, None, None]
    assert torch.allclose(rounded(weight, 63), expected, atol=1e-6)


def test_a_network_learns_through_rounded_weights_and_leaves_them_rounded() -> None:
    network, _, z, x = branched()
    seen = with_rounding(network, 4)
    with torch.no_grad():
        for conv in (module for module in network.modules() if isinstance(module, nn.Conv2d)):
            conv.weight.copy_(rounded(conv.weight, 7))
        assert torch.allclose(seen(z, x)[0], network(z, x)[0], atol=1e-5)
    seen(z, x)[0].sum().backward()
    network(z, x)[0].sum().backward()
    left = plain(seen)
    assert torch.allclose(seen.mix.conv.weight.grad, network.mix.weight.grad, rtol=1e-4, atol=1e-4)
    assert not torch.equal(seen.mix.conv.weight, network.mix.weight)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in left.state_dict().items())


def test_learning_rate_warms_up_holds_and_falls_to_zero() -> None:
    recipe = Recipe("r", pairs=1000, warmup_pairs=100, decay_from=0.5, learning_rate=1.0)
    rates = [learning_rate(recipe, pairs) for pairs in (0, 49, 300, 750, 1000)]
    assert rates == pytest.approx([0.01, 0.5, 1.0, 0.5, 0.0])


def test_loss_falls_monotonically_on_a_fixed_tiny_set(tmp_path: Path) -> None:
    torch.manual_seed(0)
    recipe = replace(TINY, learning_rate=1e-3, warmup_pairs=1, pairs=10_000, losses=replace(TINY.losses, quality=0.0))
    batch = fixed_batch(recipe)
    run = TrainingRun(recipe, Dart(recipe.network).train(), tmp_path)
    losses = []
    for _ in range(5):
        losses.append(run.losses(batch).total.item())
        for _ in range(12):
            run.step(batch)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.8 * losses[0]


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    recipe = replace(TINY, drawn_tracks=3, decay_from=1.0, settle_from=1.0)
    whole = train(recipe, dataset_root=[], out=tmp_path / "whole")
    train(replace(recipe, pairs=32), dataset_root=[], out=tmp_path / "halves")
    halves = train(recipe, dataset_root=[], out=tmp_path / "halves", resume=True)
    assert halves.pairs == whole.pairs == 64
    one, two = load_dart(whole.weights).state_dict(), load_dart(halves.weights).state_dict()
    assert all(torch.allclose(one[name], two[name], atol=1e-6) for name in one)


def test_weights_start_from_others_and_new_heads_are_drawn(tmp_path: Path) -> None:
    recipe = replace(TINY, drawn_tracks=3, branches=False, learning_rate=0.0, network=TINY_NETWORK)
    first = train(recipe, dataset_root=[], out=tmp_path / "first")
    grown = replace(recipe, network=replace(TINY_NETWORK, has_quality=True))
    second = train(grown, dataset_root=[], out=tmp_path / "second", init=first.weights)
    old, new = load_dart(first.weights).state_dict(), load_dart(second.weights).state_dict()
    assert torch.equal(old["mix.weight"], new["mix.weight"])
    assert "quality.weight" in new


def test_a_run_that_is_told_to_stop_goes_on_to_the_same_end(tmp_path: Path) -> None:
    recipe = replace(TINY, drawn_tracks=3)
    whole = train(recipe, dataset_root=[], out=tmp_path / "whole")
    stops = iter([False, False, True, True])
    early = train(recipe, dataset_root=[], out=tmp_path / "two", should_stop=lambda: next(stops))
    assert early.pairs == 16
    late = train(recipe, dataset_root=[], out=tmp_path / "two", resume=True)
    one, two = load_dart(whole.weights).state_dict(), load_dart(late.weights).state_dict()
    assert all(torch.allclose(one[name], two[name], atol=1e-6) for name in one)


def test_a_wish_to_stop_at_the_last_step_leaves_its_judgement(tmp_path: Path) -> None:
    recipe, steps, judged = replace(TINY, drawn_tracks=3, log_every=1), [], []
    train(
        recipe,
        dataset_root=[],
        out=tmp_path,
        on_progress=lambda progress: steps.append(progress.pairs),
        on_epoch=lambda run: judged.append(run.pairs),
        should_stop=lambda: recipe.pairs in steps,
    )
    assert judged == [0, 32, 64]


def test_a_run_that_is_killed_while_its_end_is_judged_is_judged_when_it_is_resumed(tmp_path: Path) -> None:
    recipe, judged = replace(TINY, drawn_tracks=3, checkpoint_s=-1), []

    def killed(run: TrainingRun) -> None:
        if run.pairs == recipe.pairs:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, dataset_root=[], out=tmp_path, on_epoch=killed)
    train(recipe, dataset_root=[], out=tmp_path, resume=True, on_epoch=lambda run: judged.append(run.pairs))
    assert judged == [64]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_run_that_diverges_stops_and_leaves_what_it_saved_before(tmp_path: Path, value: float) -> None:
    run = TrainingRun(replace(TINY, branches=False), Dart(TINY.network).train(), tmp_path)
    batch = fixed_batch(TINY)
    run.step(batch)
    run.save()
    with torch.no_grad():
        run.network.cls.bias.fill_(value)
    seen = run.average.cls.bias.clone()
    with pytest.raises(ExportError, match=r"^diverged after 8 pairs: the loss is nan, "):
        run.step(batch)
    assert torch.equal(run.average.cls.bias, seen)
    assert load_dart(run.files.weights).cls.bias.isfinite().all()


def test_a_checkpoint_of_another_network_is_told(tmp_path: Path) -> None:
    recipe = replace(TINY, branches=False)
    TrainingRun(recipe, Dart(TINY.network), tmp_path).save()
    wider = replace(TINY.network, head=24)
    with pytest.raises(ExportError, match=r"checkpoint\.pt: does not fit the run: [^\n]*mix\.weight[^\n]*$"):
        TrainingRun(replace(recipe, network=wider), Dart(wider), tmp_path).restore()


def test_rows_of_what_a_killed_run_did_after_its_checkpoint_are_not_there_twice(tmp_path: Path) -> None:
    recipe, seen = replace(TINY, drawn_tracks=3, log_every=1), []
    stopped = train(
        recipe,
        dataset_root=[],
        out=tmp_path,
        on_progress=lambda progress: seen.append(progress.pairs),
        should_stop=lambda: len(seen) == 4,
    )
    rows = [Judgement(pairs, "drawn", 2.5, 0.25) for pairs in (0, 32, 40)]
    append_judgements(tmp_path / "fixed.csv", rows)
    last = stopped.log.read_bytes().splitlines(keepends=True)[-1]
    with stopped.log.open("ab") as log:
        log.write(last.replace(b"32,", b"40,", 1) + b"48,64,1.")
    train(recipe, dataset_root=[], out=tmp_path, resume=True)
    assert read_log(stopped.log)["pairs"] == [8.0 * step for step in range(1, 9)]
    assert read_judgements(tmp_path / "fixed.csv") == rows[:2]


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no device that is always full")
def test_a_full_disk_leaves_the_last_checkpoint_and_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(Checkpoint({}, {}, {}, {}, 320), path)
    (tmp_path / "checkpoint.pt.part").symlink_to("/dev/full")
    weights = {"weight": torch.zeros(100_000)}
    with pytest.raises(PlaceError, match=r"checkpoint\.pt: cannot be written: .*[^\n]$") as caught:
        save_checkpoint(Checkpoint(weights, weights, {}, {}, 640), path)
    assert caught.value.hint == "make room on the disk, then go on with --resume"
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]
    kept = load_checkpoint(path)
    assert kept is not None and kept.pairs == 320


def test_weights_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    with (
        pytest.raises(PlaceError, match=r"weights\.safetensors: cannot be written: "),
        saving(tmp_path / "weights.safetensors"),
    ):
        save_dart(Dart(TINY_NETWORK), tmp_path / "nowhere" / "weights.safetensors")


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x80\x02e.", b"e", b"PK\x03\x04 cut off"])
def test_a_damaged_checkpoint_is_named_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(ExportError, match=r"checkpoint\.pt: damaged, or no checkpoint of `siamedge train`$"):
        load_checkpoint(tmp_path / "checkpoint.pt")


def test_epochs_are_told_with_the_start(tmp_path: Path) -> None:
    seen: list[int] = []
    train(replace(TINY, drawn_tracks=3), dataset_root=[], out=tmp_path, on_epoch=lambda run: seen.append(run.pairs))
    assert seen == [0, 32, 64]


def test_tensorboard_gets_the_losses_of_the_log(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with open_log(tmp_path) as log:
        assert log is not None
        log.add(Progress(**{**dict.fromkeys(Progress._fields, 0), "pairs": 320, "loss": 2.5}))
    written = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in written.Scalars("train/loss")] == [(320, 2.5)]
    assert "train/quality" in written.Tags()["scalars"]


def test_tensorboard_hides_what_a_killed_run_did_after_its_checkpoint(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for start, rows in ((0, (320, 640, 960)), (321, (640,))):
        with open_log(tmp_path, start) as log:
            assert log is not None
            for pairs in rows:
                log.add(Progress(**{**dict.fromkeys(Progress._fields, 0), "pairs": pairs}))
    written = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in written.Scalars("train/loss")] == [320, 640]


def test_without_a_wish_there_is_no_tensorboard() -> None:
    with open_log(None) as log:
        assert log is None
