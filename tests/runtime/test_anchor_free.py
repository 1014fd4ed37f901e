"""The anchor-free tracker, whole updates against the published formulas written out cell by cell."""

import math
from collections.abc import Iterable, Iterator

import numpy as np
import pytest

from siamedge.runtime.backends.backend import Model
from siamedge.runtime.backends.fake_backend import FakeSession
from siamedge.runtime.geometry import Box
from siamedge.runtime.loop import track
from siamedge.runtime.sources.source import Frame
from siamedge.runtime.sources.synthetic import SyntheticSource
from siamedge.runtime.tensors import Array, TensorSpec
from siamedge.runtime.tracking.anchor_free import FIT_VIEWS, LOOK, AnchorFreeTracker
from siamedge.runtime.tracking.params import AnchorFreeParams

PARAMS = AnchorFreeParams(32, 64, 8, 7, -24.0, "sigmoid", 0.4, 0.1, 0.5, distance_scale=2.0, max_log_distance=4.0)
KERNEL = TensorSpec("kernel", (1, 4, 2), "float32", "NPC")
GRAY = np.full((240, 320, 3), 120, np.uint8)
Maps = dict[str, Array]


def session(name: str, inputs: Iterable[TensorSpec], answers: Iterable[Maps]) -> FakeSession:
    """A model that gives one answer after the other, whatever it sees."""
    queue = list(answers)
    outputs = [
        TensorSpec(key, value.shape, "float32", KERNEL.layout if key == "kernel" else "NCHW")
        for key, value in queue[0].items()
    ]
    model = Model(name, "fp32", b"", b"", tuple(inputs), tuple(outputs))
    return FakeSession(model, lambda feeds: queue.pop(0))


def tracker_seeing(params: AnchorFreeParams, responses: list[Maps]) -> AnchorFreeTracker:
    crops = {"template": params.template_px, "search": params.search_px}
    specs = {name: TensorSpec(name, (1, side, side, 3), "uint8", "NHWC") for name, side in crops.items()}
    kernel = {"kernel": np.ones(KERNEL.shape, np.float32)}
    template = session("template", [specs["template"]], [kernel])
    return AnchorFreeTracker(template, session("search", [specs["search"], KERNEL], responses), params)


def response(params: AnchorFreeParams, cell: tuple[int, int], score: float, log_ltrb: Iterable[float]) -> Maps:
    """The target in one cell (column, row) with a score, and the same distances everywhere."""
    size = params.response_size
    cls = np.full((1, 1, size, size), -9, np.float32)
    cls[0, 0, cell[1], cell[0]] = math.log(score / (1 - score))
    distances = np.tile(np.array(list(log_ltrb), np.float32)[None, :, None, None], (1, 1, size, size))
    return {"cls": cls, "log_ltrb": distances}


def random_response(params: AnchorFreeParams, seed: int) -> Maps:
    random, size = np.random.default_rng(seed), params.response_size
    channels = {"cls": 2 if params.score == "softmax" else 1, "log_ltrb": 4, "quality": 1}
    names = [name for name in channels if name != "quality" or params.has_quality]
    return {name: random.normal(0.5, 1.5, (1, channels[name], size, size)).astype(np.float32) for name in names}


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def side_of(w: float, h: float, context: float) -> float:
    return math.sqrt((w + context * (w + h)) * (h + context * (w + h)))


def straight_update(box: Box, maps: Maps, params: AnchorFreeParams, frame: tuple[int, int]) -> tuple[Box, float]:
    """SiamRPN's post-processing, one cell after the other."""
    size, ratio = params.response_size, side_of(box.w, box.h, params.context) / params.template_px
    hann = [0.5 - 0.5 * math.cos(2 * math.pi * i / (size - 1)) for i in range(size)]
    inner = [0.5 - 0.5 * math.cos(2 * math.pi * (i + 1) / (size + 1)) for i in range(size)]
    window = hann if params.window == "hann" else inner
    best: tuple[float, ...] = (-1.0,)
    for row in range(size):
        for column in range(size):
            logits = maps["cls"][0, :, row, column].tolist()
            score = sigmoid(logits[1] - logits[0] if params.score == "softmax" else logits[0])
            if params.has_quality:
                score *= sigmoid(float(maps["quality"][0, 0, row, column]))
            left, top, right, bottom = (
                params.distance_scale * math.exp(min(float(value), params.max_log_distance))
                for value in maps["log_ltrb"][0, :, row, column]
            )
            w, h = left + right, top + bottom
            scale = side_of(w, h, 0.5) / side_of(box.w / ratio, box.h / ratio, 0.5)
            aspect = (w / h) / (box.w / box.h)
            penalty = math.exp(-params.penalty_k * (max(scale, 1 / scale) * max(aspect, 1 / aspect) - 1))
            share = params.window_influence
            rank = (1 - share) * penalty * score + share * window[row] * window[column]
            x = params.first_cell_px + params.stride * column + (right - left) / 2
            y = params.first_cell_px + params.stride * row + (bottom - top) / 2
            best = max(best, (rank, x, y, w, h, score, penalty))
    _, x, y, w, h, score, penalty = best
    rate = params.lr * penalty * score
    center = (min(max(box.center.x + x * ratio, 0), frame[0]), min(max(box.center.y + y * ratio, 0), frame[1]))
    new_w = min(max(box.w * (1 - rate) + w * ratio * rate, 10), frame[0])
    new_h = min(max(box.h * (1 - rate) + h * ratio * rate, 10), frame[1])
    return Box(center[0] - new_w / 2, center[1] - new_h / 2, new_w, new_h), score


@pytest.mark.parametrize("window", ["hann", "hann_inner"])
@pytest.mark.parametrize(("score", "has_quality"), [("softmax", False), ("sigmoid", False), ("sigmoid", True)])
@pytest.mark.parametrize("start", [Box(100, 80, 40, 30), Box(-20.5, 190, 60, 80), Box(290, 5, 25, 90)])
def test_updates_are_those_of_the_formulas(start: Box, window, score, has_quality: bool) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    params = PARAMS._replace(window=window, score=score, has_quality=has_quality)
    responses = [random_response(params, seed) for seed in range(12)]
    tracker, expected = tracker_seeing(params, list(responses)), start
    tracker.init(GRAY, start)
    for maps in responses:
        found = tracker.update(GRAY)
        expected, expected_score = straight_update(expected, maps, params, (320, 240))
        assert tuple(found.box) == pytest.approx(tuple(expected), abs=2e-3)
        assert found.score == pytest.approx(expected_score, abs=1e-5)
        expected = found.box


BOX = Box(100, 80, 40, 40)
"""Its context square has a side of 80 pixels, so that a template crop's pixel is 2.5 pixels of the frame."""
SAME_SIZE = [math.log(40 / 2.5 / 2 / PARAMS.distance_scale)] * 4


def after_one_update(maps: Maps, params: AnchorFreeParams = PARAMS, start: Box = BOX) -> tuple[Box, float, bool]:
    tracker = tracker_seeing(params, [maps])
    tracker.init(GRAY, start)
    return tuple(tracker.update(GRAY))  # type: ignore[return-value]


def test_a_centered_peak_keeps_the_box() -> None:
    box, score, is_lost = after_one_update(response(PARAMS, (3, 3), 0.9, SAME_SIZE))
    assert tuple(box) == pytest.approx(tuple(BOX), abs=1e-3)
    assert (score, is_lost) == (pytest.approx(0.9, abs=1e-6), False)


def test_a_peak_two_cells_right_and_one_up_moves_by_their_strides() -> None:
    box, _, _ = after_one_update(response(PARAMS, (5, 2), 0.999, SAME_SIZE))
    assert tuple(box) == pytest.approx((100 + 2 * 8 * 2.5, 80 - 8 * 2.5, 40, 40), abs=1e-3)


def test_a_longer_right_distance_moves_and_widens_by_the_learning_rate() -> None:
    log_ltrb = [*SAME_SIZE[:2], SAME_SIZE[2] + math.log(2), SAME_SIZE[3]]
    box, _, _ = after_one_update(response(PARAMS, (3, 3), 0.8, log_ltrb))
    change = (side_of(60, 40, 0.5) / 80) * (60 / 40)
    rate = 0.5 * 0.8 * math.exp(-0.1 * (change - 1))
    assert (box.w, box.h) == (pytest.approx(40 + 20 * rate, abs=1e-3), pytest.approx(40, abs=1e-3))
    assert box.center.x == pytest.approx(120 + 10, abs=1e-3)


@pytest.mark.parametrize(("score", "is_lost"), [(0.31, False), (0.29, True)])
def test_a_score_under_the_threshold_is_lost(score: float, is_lost: bool) -> None:
    assert after_one_update(response(PARAMS, (3, 3), score, SAME_SIZE))[2] is is_lost


@pytest.mark.parametrize(("score", "shift_px"), [(0.06, 20), (0.04, 0)])
def test_a_score_under_hold_below_moves_nothing(score: float, shift_px: int) -> None:
    held = PARAMS._replace(hold_below=0.05, window_influence=0.0)
    box, found, is_lost = after_one_update(response(PARAMS, (4, 3), score, SAME_SIZE), held)
    assert box.center == pytest.approx((120 + shift_px, 100), abs=1e-3)
    assert (found, is_lost) == (pytest.approx(score, abs=1e-6), True)


@pytest.mark.parametrize(
    ("x", "y", "score", "shift_px"),
    [
        (100, 80, 0.2, 20),
        (2, 80, 0.2, 20),
        (1, 80, 0.2, 0),
        (-15, 80, 0.2, 0),
        (100, 0, 0.2, 0),
        (280, 80, 0.2, 0),
        (100, 205, 0.2, 0),
        (100, 198, 0.2, 20),
        (-15, 80, 0.31, 20),
        (100, 80, 0.04, 0),
    ],
)
def test_a_box_at_the_border_of_the_frame_stays_under_a_higher_score(
    x: float, y: float, score: float, shift_px: int
) -> None:
    held = PARAMS._replace(hold_below=0.05, edge_hold_below=0.3, window_influence=0.0)
    box, *_ = after_one_update(response(PARAMS, (4, 3), score, SAME_SIZE), held, Box(x, y, 40, 40))
    assert box.center == pytest.approx((x + 20 + shift_px, y + 20), abs=1e-3)


def test_a_look_elsewhere_gives_the_best_cell_and_its_box_whatever_the_last_size_and_leaves_the_tracker() -> None:
    """From a box twice as large as BOX a crop pixel is 5 pixels of the frame; window and penalty do not count."""
    edges = {"seen": (14.0, 4.0, 2.0, 0.8), "tiny": (0.5, 0.2, 0.5, 0.2)}
    looks = [response(PARAMS, (0, 6), 0.6, [math.log(edge / 2.0) for edge in found]) for found in edges.values()]
    tracker = tracker_seeing(PARAMS, [*looks, response(PARAMS, (3, 3), 0.9, SAME_SIZE)])
    tracker.init(GRAY, BOX)
    (seen, score), (tiny, _) = (tracker.look(GRAY, Box(40, 60, 80, 80)) for _ in edges)
    assert (*seen.center, seen.w, seen.h) == pytest.approx((80 - 5 * (24 + 6), 100 + 5 * (24 - 1.6), 80, 24), abs=1e-3)
    assert score == pytest.approx(0.6, abs=1e-6)
    assert (*tiny.center, tiny.w, tiny.h) == pytest.approx((80 - 5 * 24, 100 + 5 * 24, 10, 10), abs=1e-3)
    assert tuple(tracker.update(GRAY).box) == pytest.approx(tuple(BOX), abs=1e-3)


@pytest.mark.parametrize(("share", "grown"), [(0.0, 1.2), (0.5, 1.2**0.5), (1.0, 1.0)])
def test_the_size_of_a_network_that_sees_each_target_too_wide_is_right_as_far_as_it_is_fitted(
    share: float, grown: float
) -> None:
    params = PARAMS._replace(lr=1.0, penalty_k=0.0, window_influence=0.0, size_fit=share)
    wide = [SAME_SIZE[0] + math.log(1.2), SAME_SIZE[1], SAME_SIZE[2] + math.log(1.2), SAME_SIZE[3]]

    def seen(scale: float) -> Maps:
        """What it gives for a crop that is so much too large: everything is so much smaller in it."""
        return response(params, (3, 3), 1 - 1e-6, [value - math.log(scale) for value in wide])

    further = [scale for *_, scale in FIT_VIEWS]
    tracker = tracker_seeing(params, [seen(scale) for scale in (1.0, *further) if share] + [seen(1.0)])
    tracker.init(GRAY, BOX)
    box = tracker.update(GRAY).box
    assert (box.w, box.h) == (pytest.approx(40 * grown, rel=1e-3), pytest.approx(40, rel=1e-3))


def test_a_target_is_found_to_a_fraction_of_a_pixel_where_squares_are_counted_from_where_they_lie() -> None:
    """A box of half pixels, whose square has to begin at a whole one: a network that sees it in its place keeps it."""
    start, true = Box(100.3, 80.6, 40, 40), PARAMS._replace(has_true_squares=True)
    crop_px = 160 / PARAMS.search_px
    beside = [(120.0 - start.center.x) / crop_px, (101.0 - start.center.y) / crop_px]  # nearest middle: (120, 101)
    log_ltrb = [math.log((8 + sign * beside[axis]) / 2) for sign in (1, -1) for axis in (0, 1)]
    box, _, _ = after_one_update(response(true, (3, 3), 0.9, log_ltrb), true, start)
    assert box.center == pytest.approx(start.center, abs=1e-3)


def test_the_window_prefers_the_middle_of_two_equal_peaks() -> None:
    maps = response(PARAMS, (6, 3), 0.9, SAME_SIZE)
    maps["cls"][0, 0, 3, 3] = maps["cls"][0, 0, 3, 6]
    assert tuple(after_one_update(maps)[0]) == pytest.approx(tuple(BOX), abs=1e-3)


@pytest.mark.parametrize("value", [-math.inf, -1e4, 1e4, math.inf, math.nan])
def test_distances_without_sense_never_end_in_a_traceback_or_a_box_without_numbers(value: float) -> None:
    maps = response(PARAMS, (3, 3), 0.9, [value] * 4)
    tracker = tracker_seeing(PARAMS._replace(size_fit=1.0), [maps] * (1 + len(FIT_VIEWS) + 3))
    tracker.init(GRAY, BOX)
    for _ in range(3):
        box = tracker.update(GRAY).box
        assert all(map(math.isfinite, box))
        assert box.w >= 10
        assert box.h >= 10


def test_a_camera_that_doubles_its_resolution_gives_boxes_in_its_own_pixels() -> None:
    still = [response(PARAMS, (3, 3), 0.9, SAME_SIZE)] * 3
    sizes = [(240, 320), (480, 640), (120, 160), (240, 320)]

    class Changing(SyntheticSource):
        def __iter__(self) -> Iterator[Frame]:
            for index, (height, width) in enumerate(sizes):
                yield Frame(np.full((height, width, 3), 120, np.uint8), index, index / 30)

    boxes = [tuple(step.result.box) for step in track(Changing(), tracker_seeing(PARAMS, still), BOX)]
    for box, factor in zip(boxes, (1, 2, 0.5, 1), strict=True):
        assert box == pytest.approx(tuple(side * factor for side in BOX), abs=2e-3)


def test_looks_are_compared_by_what_the_template_graph_gives_for_it() -> None:
    """Kernels that hold what is the same for every target would make all looks alike."""
    crops = [TensorSpec(name, (1, 32 * i, 32 * i, 3), "uint8", "NHWC") for i, name in ((1, "template"), (2, "search"))]
    specs = TensorSpec("kernel", (1, 4, 2), "float32", "NPC"), TensorSpec(LOOK, (1, 2, 2), "float32", "NPC")
    given = {"kernel": np.ones(KERNEL.shape, np.float32), LOOK: np.array([[[3, 0], [0, 4]]], np.float32)}
    template = FakeSession(Model("template", "fp32", b"", b"", (crops[0],), specs), lambda feeds: given)
    search = session("search", [crops[1], KERNEL], [random_response(PARAMS, 0)])
    tracker = AnchorFreeTracker(template, search, PARAMS)
    tracker.init(GRAY, BOX)
    tracker.update(GRAY)  # the session refuses feeds beyond its inputs
    np.testing.assert_allclose(tracker.signature(tracker.crop(GRAY, BOX)), [0.6, 0, 0, 0.8], rtol=1e-6)


def test_looks_in_integers_are_compared_as_the_numbers_that_they_stand_for() -> None:
    """Two looks at a right angle, stored with a zero point that makes both nearly the same integers."""
    looks = [np.array([[[3, 0], [0, 4]]]), np.array([[[4, 0], [0, -3]]])]
    stored = iter([(look + 100).astype(np.int8) for look in looks])
    crop = TensorSpec("template", (1, 32, 32, 3), "uint8", "NHWC")
    specs = KERNEL, TensorSpec(LOOK, (1, 2, 2), "int8", "NPC", scale=0.1, zero_point=100)
    kernel = np.ones(KERNEL.shape, np.float32)
    template = FakeSession(
        Model("template", "int8", b"", b"", (crop,), specs), lambda feeds: {"kernel": kernel, LOOK: next(stored)}
    )
    search = session(
        "search", [TensorSpec("search", (1, 64, 64, 3), "uint8", "NHWC"), KERNEL], [random_response(PARAMS, 0)]
    )
    tracker = AnchorFreeTracker(template, search, PARAMS)
    first, second = (tracker.signature(GRAY[:32, :32]) for _ in looks)
    np.testing.assert_allclose(first, [0.6, 0, 0, 0.8], rtol=1e-6)
    np.testing.assert_allclose(second, [0.8, 0, 0, -0.6], rtol=1e-6)
