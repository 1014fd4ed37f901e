"""The ranking of a response against its formulas in float64."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siamedge.runtime.tensors import Array, TensorSpec
from siamedge.runtime.tracking.params import AnchorFreeParams
from siamedge.runtime.tracking.response_grid import ResponseGrid, cosine_window

SIZE = 16
NANO = AnchorFreeParams(127, 255, 16, SIZE, -128.0, "softmax", 0.49, 0.15, 0.385)
DART = AnchorFreeParams(
    128, 256, 16, SIZE, -120.0, "sigmoid", 0.4, 0.1, 0.3, has_quality=True, distance_scale=16.0, window="hann_inner"
)


def specs(params: AnchorFreeParams, layout: str) -> dict[str, TensorSpec]:
    channels = {"cls": 2 if params.score == "softmax" else 1, "log_ltrb": 4, "quality": 1}
    names = ["cls", "log_ltrb"] + ["quality"] * params.has_quality
    cells = {"NCHW": ((), (SIZE, SIZE)), "NHWC": ((SIZE, SIZE), ()), "NPC": ((SIZE * SIZE,), ())}
    before, after = cells[layout]
    return {n: TensorSpec(n, (1, *before, channels[n], *after), "float32", layout) for n in names}  # type: ignore[arg-type]


def random_maps(params: AnchorFreeParams, layout: str, seed: int, spread: float) -> dict[str, Array]:
    generator = np.random.default_rng(seed)
    return {
        name: (generator.normal(size=spec.shape) * (spread if name != "log_ltrb" else 1.5) + 1).astype(np.float32)
        for name, spec in specs(params, layout).items()
    }


def plain_ranking(
    maps: Mapping[str, Array], params: AnchorFreeParams, layout: str, w: float, h: float, online: Array | None = None
) -> Array:
    """Rows: rank, dx, dy, width, height, score, penalty, confidence of every cell."""
    chw = {n: m[0] if layout == "NCHW" else np.moveaxis(m[0], -1, 0) for n, m in maps.items()}
    chw = {n: m.astype(np.float64).reshape(m.shape[0], -1) for n, m in chw.items()}
    margin = chw["cls"][1] - chw["cls"][0] if params.score == "softmax" else chw["cls"][0]
    score = 1 / (1 + np.exp(-margin))
    if params.has_quality:
        score = score / (1 + np.exp(-chw["quality"][0]))
    left, top, right, bottom = params.distance_scale * np.exp(np.minimum(chw["log_ltrb"], params.max_log_distance))
    y, x = np.indices((SIZE, SIZE)).reshape(2, -1) * params.stride + params.first_cell_px
    width, height = left + right, top + bottom

    def side(a: Array | float, b: Array | float) -> Array:
        return np.sqrt((a + (a + b) / 2) * (b + (a + b) / 2))

    scale, aspect = side(width, height) / side(w, h), (w / h) / (width / height)
    penalty = np.exp(-(np.maximum(scale, 1 / scale) * np.maximum(aspect, 1 / aspect) - 1) * params.penalty_k)
    line = np.hanning(SIZE) if params.window == "hann" else np.hanning(SIZE + 2)[1:-1]
    influence = params.window_influence
    share = 0.0 if online is None else params.online_share
    confidence = score * (1 - share) + share * (0.0 if online is None else online)
    rank = penalty * confidence * (1 - influence) + np.outer(line, line).ravel() * influence
    return np.stack([rank, x + (right - left) / 2, y + (bottom - top) / 2, width, height, score, penalty, confidence])


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    spread=st.sampled_from([0.0, 1.0, 8.0, 60.0]),
    layout=st.sampled_from(["NCHW", "NHWC", "NPC"]),
    w=st.floats(4, 250),
    h=st.floats(4, 250),
    is_learning=st.booleans(),
)
@pytest.mark.parametrize("params", [NANO, DART], ids=["softmax", "sigmoid and quality"])
def test_the_best_cell_is_that_of_the_formulas(
    params: AnchorFreeParams, seed: int, spread: float, layout: str, w: float, h: float, *, is_learning: bool
) -> None:
    maps, params = random_maps(params, layout, seed, spread), params._replace(online_share=0.4)
    online = np.random.default_rng(seed).random(SIZE**2).astype(np.float32) if is_learning else None
    peak = ResponseGrid(specs(params, layout), params).best(maps, w, h, online)
    ranking = plain_ranking(maps, params, layout, w, h, online)
    same_box = np.isclose(ranking[1], peak.dx, atol=1e-2) & np.isclose(ranking[3], peak.w, rtol=1e-4)
    cell = int(np.flatnonzero(same_box)[0])
    assert ranking[0, cell] == pytest.approx(ranking[0].max(), abs=2e-6)
    assert peak == pytest.approx(tuple(ranking[1:, cell]), rel=1e-4, abs=1e-4)


def test_a_second_response_is_not_mixed_with_the_first() -> None:
    grid = ResponseGrid(specs(NANO, "NCHW"), NANO)
    first, second = (random_maps(NANO, "NCHW", seed, 3.0) for seed in (1, 2))
    expected = grid.best(second, 50, 60)
    grid.best(first, 90, 20)
    assert grid.best(second, 50, 60) == expected


def test_logits_beyond_float32s_exponent_give_no_warning() -> None:
    maps = {"cls": np.zeros((1, 2, SIZE, SIZE), np.float32), "log_ltrb": np.full((1, 4, SIZE, SIZE), 3, np.float32)}
    maps["cls"][0, 0] = 500
    maps["cls"][0, 1, 7, 9] = 900
    peak = ResponseGrid(specs(NANO, "NCHW"), NANO).best(maps, 40.0, 40.0)
    assert (peak.dx, peak.dy) == (9 * 16 - 128, 7 * 16 - 128)
    assert peak.score == pytest.approx(1.0)


def test_a_response_without_numbers_keeps_the_box_and_scores_zero() -> None:
    maps = {"cls": np.full((1, 2, SIZE, SIZE), np.nan, np.float32), "log_ltrb": np.ones((1, 4, SIZE, SIZE), np.float32)}
    peak = ResponseGrid(specs(NANO, "NCHW"), NANO).best(maps, 40.0, 40.0)
    assert (peak.dx, peak.dy, peak.score, peak.penalty) == (0, 0, 0, 0)


@pytest.mark.parametrize("name", ["cls", "quality", "log_ltrb"])
def test_the_strongest_cell_is_one_of_numbers(name: str) -> None:
    maps = random_maps(DART, "NCHW", 3, 2.0)
    grid = ResponseGrid(specs(DART, "NCHW"), DART)
    strongest = grid.strongest(maps, 60.0, 40.0)
    maps[name][0, 0, 0, 0] = np.nan
    assert strongest.confidence > 0
    assert grid.strongest(maps, 60.0, 40.0) == strongest
    maps[name][:] = np.nan
    assert grid.strongest(maps, 60.0, 40.0).confidence == 0


def test_windows_end_at_zero_or_inside() -> None:
    assert cosine_window(NANO)[0] == 0
    assert cosine_window(DART)[0] == pytest.approx(np.hanning(SIZE + 2)[1] ** 2)


def maps_around(edges: tuple[float, float, float, float], seed: int, layout: str) -> dict[str, Array]:
    """Maps of DART whose cells see one box each, about the given one, crop pixels around the centre."""
    maps = random_maps(DART, layout, seed, 2.0)
    y, x = np.indices((SIZE, SIZE)) * DART.stride + DART.first_cell_px
    distances = np.stack([x - edges[0], y - edges[1], edges[2] - x, edges[3] - y])
    noise = np.random.default_rng(seed + 1).normal(size=distances.shape) * 4
    logs = np.log(np.maximum(distances + noise, 2) / DART.distance_scale)[None].astype(np.float32)
    return {**maps, "log_ltrb": logs if layout == "NCHW" else np.moveaxis(logs, 1, -1)}


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("seed", range(5))
def test_centres_are_the_mean_over_boxes_like_the_best(layout: str, seed: int) -> None:
    spread, w, h = 0.35, 60.0, 80.0
    maps = maps_around((-25.0, -45.0, 35.0, 35.0), seed, layout)
    alone = ResponseGrid(specs(DART, layout), DART).best(maps, w, h)
    peak = ResponseGrid(specs(DART, layout), DART._replace(center_spread=spread)).best(maps, w, h)
    rank, x, y, width, height, _, _, confidence = plain_ranking(maps, DART, layout, w, h)
    best = int(rank.argmax())
    edges = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    off = np.abs(edges - edges[:, best, None]) / np.array([[width[best]], [height[best]]] * 2)
    weights = confidence**2 * (off.sum(0) < spread)
    assert (weights > 0).sum() > 3
    assert peak[2:] == alone[2:]
    assert (peak.dx, peak.dy) == pytest.approx((weights @ x / weights.sum(), weights @ y / weights.sum()), abs=1e-2)
    assert abs(peak.dx - alone.dx) > 1e-2


def test_two_boxes_that_are_alike_share_their_centre_by_the_squares_of_their_confidence() -> None:
    params = DART._replace(has_quality=False, window_influence=0.0, penalty_k=0.0, center_spread=0.35)
    cls = np.full((1, 1, SIZE, SIZE), -80, np.float32)
    logs = np.zeros((1, 4, SIZE, SIZE), np.float32)
    cls[0, 0, 8, 8], cls[0, 0, 8, 9], cls[0, 0, 8, 10] = math.log(4), 0.0, math.log(3)
    distances = {8: (40, 40, 40, 40), 9: (52, 40, 28, 40), 10: (20, 20, 20, 20)}
    for column, values in distances.items():
        logs[0, :, 8, column] = np.log(np.array(values) / params.distance_scale)
    peak = ResponseGrid(specs(params, "NCHW"), params).best({"cls": cls, "log_ltrb": logs}, 80.0, 80.0)
    # cell 8 at x = 8 with .8, cell 9 at x = 24 - 12 = 12 with .5; the third has half their size
    assert peak.dx == pytest.approx((0.64 * 8 + 0.25 * 12) / 0.89, abs=1e-3)
    assert (peak.dy, peak.w, peak.h, peak.score) == pytest.approx((8, 80, 80, 0.8), abs=1e-3)


def test_a_confidence_whose_square_is_0_leaves_the_centre() -> None:
    params = DART._replace(center_spread=0.35)
    maps = maps_around((-25.0, -45.0, 35.0, 35.0), 2, "NCHW")
    maps["cls"][:] = -80
    peaks = [ResponseGrid(specs(item, "NCHW"), item).best(maps, 60.0, 80.0) for item in (DART, params)]
    assert peaks[0] == peaks[1]


def test_a_box_without_numbers_beside_the_best_does_not_move_it() -> None:
    params = DART._replace(center_spread=0.35)
    maps = maps_around((-25.0, -45.0, 35.0, 35.0), 1, "NCHW")
    alone = ResponseGrid(specs(DART, "NCHW"), DART).best(maps, 60.0, 80.0)
    maps["log_ltrb"][0, :, 0, 0] = np.nan
    peak = ResponseGrid(specs(params, "NCHW"), params).best(maps, 60.0, 80.0)
    assert (peak.dx, peak.dy) == (alone.dx, alone.dy)
