"""The classifier that is learnt while tracking: against a solver of another library, and on targets that change."""

from collections.abc import Mapping

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from siamedge.runtime.backends.backend import Model
from siamedge.runtime.backends.fake_backend import FakeSession
from siamedge.runtime.geometry import Box
from siamedge.runtime.tensors import Array, TensorSpec
from siamedge.runtime.tracking.anchor_free import AnchorFreeTracker
from siamedge.runtime.tracking.online import (
    FEATURES,
    LEARN_ABOVE,
    LEARN_EVERY,
    RIDGE,
    OnlineClassifier,
    block_of,
)
from siamedge.runtime.tracking.params import AnchorFreeParams
from siamedge.runtime.tracking.views import Place

SIZE, CHANNELS = 9, 5
PARAMS = AnchorFreeParams(64, 144, 16, SIZE, -64.0, "sigmoid", 0.0, 0.0, 0.5, online_share=0.5)
PLANES = TensorSpec(FEATURES, (1, CHANNELS, SIZE, SIZE), "float32", "NCHW")
PIXELS = TensorSpec(FEATURES, (1, SIZE, SIZE, CHANNELS), "float32", "NHWC")
IN_THE_MIDDLE = Place(0.0, 0.0, 48.0, 48.0)

Features = NDArray[np.float32]


def noise(seed: int) -> Features:
    return np.random.default_rng(seed).normal(0.0, 0.1, PLANES.shape).astype(np.float32)


def with_target(row: int, column: int, look: int, seed: int = 0) -> Features:
    """Weak noise, and a block of 3 x 3 cells around a cell in which one channel is strong."""
    features = noise(seed)
    features[0, look, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] += 1.0
    return features


def started(features: Features, place: Place = IN_THE_MIDDLE) -> OnlineClassifier:
    classifier = OnlineClassifier(PLANES, PARAMS)
    classifier.start({FEATURES: features}, place)
    return classifier


def peak(response: NDArray[np.float32]) -> tuple[int, int]:
    row, column = divmod(int(response.argmax()), SIZE)
    return row, column


def test_weights_are_those_of_the_weighted_ridge_regression() -> None:
    """By least squares in double precision on rows scaled by the roots of their weights, the ridge as further rows."""
    features = noise(3)
    rows = np.column_stack([features[0].reshape(CHANNELS, -1).T, np.ones(SIZE**2)]).astype(np.float64)
    grid = (np.arange(SIZE) - SIZE // 2) * 16 / 48  # in sides of the box
    radius = np.hypot(*np.meshgrid(grid, grid)).ravel()
    label = np.where(radius <= 0.25, 1.0, np.where(radius >= 0.5, 0.0, (0.5 - radius) / 0.25))
    weights = np.where(label > 0, label / label.sum(), 1 / (label == 0).sum()) / 2
    ridge = RIDGE * np.trace(rows.T @ (rows * weights[:, None])) / (CHANNELS + 1)
    left = np.vstack([rows * np.sqrt(weights)[:, None], np.sqrt(ridge) * np.eye(CHANNELS + 1)])
    right = np.concatenate([label * np.sqrt(weights), np.zeros(CHANNELS + 1)])
    expected = np.clip(rows @ np.linalg.lstsq(left, right, rcond=None)[0], 0, 1)
    assert started(features).response({FEATURES: features}) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("cells", "width", "block"), [(196, 65, 49), (256, 65, 32), (81, 6, 81), (25, 600, 1)])
def test_a_lesson_divides_into_the_largest_blocks_that_stay_on_one_thread(cells: int, width: int, block: int) -> None:
    assert block_of(cells, width**2) == block


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_response_of_many_cells_is_that_of_the_regression(layout: str) -> None:
    """64 channels on 14 x 14 cells are more multiplications than a product with a vector does on one thread."""
    size, channels = 14, 64
    params = PARAMS._replace(response_size=size, first_cell_px=-104.0)
    shape = (1, channels, size, size) if layout == "NCHW" else (1, size, size, channels)
    classifier = OnlineClassifier(TensorSpec(FEATURES, shape, "float32", layout), params)  # type: ignore[arg-type]
    features = np.random.default_rng(0).normal(0.0, 0.3, (channels, size, size)).astype(np.float32)
    features[3, 6:8, 6:8] += 1
    maps = {FEATURES: (features if layout == "NCHW" else features.transpose(1, 2, 0).copy())[None]}
    classifier.start(maps, IN_THE_MIDDLE)
    first = classifier.response(maps).astype(np.float64)
    assert np.corrcoef(first, features[3].ravel())[0, 1] > 0.5
    rows = np.column_stack([features.reshape(channels, -1).T, np.ones(size**2)]).astype(np.float64)
    inside = (first > 1e-3) & (first < 1 - 1e-3)
    assert np.count_nonzero(inside) > channels + 10
    weights, *_ = np.linalg.lstsq(rows[inside], first[inside], rcond=None)
    assert first == pytest.approx(np.clip(rows @ weights, 0, 1), abs=1e-3), "linear in the features but for its ends"


def test_both_layouts_are_read_alike() -> None:
    features = with_target(4, 4, 2)
    planes, pixels = started(features), OnlineClassifier(PIXELS, PARAMS)
    pixels.start({FEATURES: features.transpose(0, 2, 3, 1)}, IN_THE_MIDDLE)
    later = with_target(2, 6, 2, seed=1)
    assert pixels.response({FEATURES: later.transpose(0, 2, 3, 1)}) == pytest.approx(
        planes.response({FEATURES: later}), abs=1e-5
    )


def test_a_target_is_found_where_it_went_and_what_was_beside_it_is_not() -> None:
    first = with_target(4, 4, 2)
    first[0, 3, :2] += 1.0  # surroundings with a strong channel of their own
    later = with_target(6, 2, 2, seed=1)
    later[0, 3, :2] += 1.0
    response = started(first).response({FEATURES: later})
    assert max(abs(np.subtract(peak(response), (6, 2)))) <= 1
    assert response[: 2 * SIZE].max() < 0.3 < 0.6 < response.max()


def test_a_target_that_changes_its_look_by_and_by_is_followed_and_its_first_look_is_not_forgotten() -> None:
    classifier = started(with_target(4, 4, 0))
    new = with_target(2, 2, 1, seed=5)
    assert classifier.response({FEATURES: new}).max() < 0.4
    for step in range(100):
        both = with_target(4, 4, 0, seed=step) * (1 - step / 99) + with_target(4, 4, 1, seed=step) * (step / 99)
        classifier.response({FEATURES: both})
        if classifier.is_due(confidence=0.9):
            classifier.learn(IN_THE_MIDDLE)
    for seen in (new, with_target(2, 2, 0, seed=6)):
        response = classifier.response({FEATURES: seen})
        assert max(abs(np.subtract(peak(response), (2, 2)))) <= 1
        assert response.max() > 0.5


def test_every_fifth_frame_is_learnt_from_unless_it_is_in_doubt() -> None:
    classifier = started(with_target(4, 4, 0))
    frames = range(1, 4 * LEARN_EVERY + 1)
    sure = [frame > 2 * LEARN_EVERY for frame in frames]
    due = [classifier.is_due(1.0 if is_sure else LEARN_ABOVE) for is_sure in sure]
    assert [frame for frame, is_due in zip(frames, due, strict=True) if is_due] == [3 * LEARN_EVERY, 4 * LEARN_EVERY]


def test_nothing_is_learnt_from_a_frame_in_doubt() -> None:
    classifier, again = started(with_target(4, 4, 0)), with_target(4, 4, 0, seed=1)
    before = classifier.response({FEATURES: again}).copy()
    for _ in range(20):
        classifier.response({FEATURES: with_target(1, 1, 3)})
        if classifier.is_due(confidence=LEARN_ABOVE):
            classifier.learn(IN_THE_MIDDLE)
    assert classifier.response({FEATURES: again}) == pytest.approx(before)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_crop_with_a_feature_that_is_no_number_teaches_nothing(value: float) -> None:
    classifier, spoilt = started(with_target(4, 4, 1)), with_target(4, 4, 1)
    spoilt[0, 2, 0, 0] = value
    before = classifier.response({FEATURES: with_target(2, 6, 1)}).copy()
    with np.errstate(invalid="ignore"):
        classifier.response({FEATURES: spoilt})
        classifier.learn(IN_THE_MIDDLE)
    after = classifier.response({FEATURES: with_target(2, 6, 1)})
    np.testing.assert_array_equal(after, before)
    assert after.reshape(SIZE, SIZE)[2, 6] > 0.5


def blind_network(online_share: float) -> AnchorFreeTracker:
    """A tracker whose network scores all cells alike and gives a box of 40 px everywhere; its features are colours."""
    names = {"cls": 1, "log_ltrb": 4, FEATURES: 3}
    maps = {name: TensorSpec(name, (1, count, SIZE, SIZE), "float32", "NCHW") for name, count in names.items()}
    kernel = TensorSpec("kernel", (1, 1, 1), "float32", "NPC")
    crops = {
        name: TensorSpec(name, (1, side, side, 3), "uint8", "NHWC")
        for name, side in (("template", 64), ("search", 144))
    }

    def template(_: Mapping[str, Array]) -> Mapping[str, Array]:
        return {"kernel": np.zeros((1, 1, 1), np.float32)}

    def search(feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        colors = np.asarray(cv2.resize(feeds["search"][0], (SIZE, SIZE), interpolation=cv2.INTER_AREA), np.float32)
        return {
            "cls": np.zeros(maps["cls"].shape, np.float32),
            "log_ltrb": np.full(maps["log_ltrb"].shape, np.log(20), np.float32),
            FEATURES: np.ascontiguousarray(colors.transpose(2, 0, 1)[None] / 128 - 1),
        }

    return AnchorFreeTracker(
        FakeSession(Model("fake", "fp32", b"", b"", (crops["template"],), (kernel,)), template),
        FakeSession(Model("fake", "fp32", b"", b"", (crops["search"], kernel), tuple(maps.values())), search),
        PARAMS._replace(window_influence=0.1, online_share=online_share, lr=0.0),
    )


@pytest.mark.parametrize(("share", "is_followed"), [(0.5, True), (0.0, False)])
def test_a_tracker_follows_by_what_it_learnt_where_the_network_sees_no_difference(
    share: float, *, is_followed: bool
) -> None:
    def frame(x: int, red: int) -> NDArray[np.uint8]:
        image = np.full((240, 400, 3), (140, 90, 60), np.uint8)
        image[100:132, x : x + 32] = (30, 40, red)
        return image

    tracker = blind_network(share)
    tracker.init(frame(60, 220), Box(60, 100, 32, 32))
    for step in range(1, 50):  # to the right, and from red to nearly black
        result = tracker.update(frame(60 + 5 * step, 220 - 4 * step))
    assert (abs(result.box.center.x - (60 + 5 * 49 + 16)) < 12) is is_followed
    assert (result.score > 0.6) is is_followed, "the network says .5 everywhere"
