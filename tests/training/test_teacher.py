"""Learning from NanoTrack v3: what its maps mean at the student's cells, when it is believed, and the losses."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from shared import shared_path

from siamedge.export.families.dart import Dart, DartConfig
from siamedge.runtime.errors import ExportError
from siamedge.runtime.geometry import Box, Image, Point
from siamedge.runtime.tracking.crops import context_side
from siamedge.training.teaching.distillation import Distiller, box_loss, score_loss, standardized
from siamedge.training.teaching.teacher import (
    Frame,
    Seen,
    Teacher,
    View,
    at_student_cells,
    best_box,
    check_teacher,
    is_on_target,
)

NAN_BOX = np.full(4, np.nan, np.float32)


def test_a_linear_map_keeps_its_values_at_the_cells_half_a_stride_away() -> None:
    # The teacher's cells lie at 16 + 16 j px, the student's at 8 + 16 i; a ramp must read the same at the same pixel.
    teacher = 16 + 16 * np.arange(15, dtype=np.float32)
    student = 8 + 16 * np.arange(16, dtype=np.float32)
    read = at_student_cells(np.broadcast_to(teacher, (15, 15)).copy(), 16)
    assert read.shape == (16, 16)
    assert np.array_equal(read[:, 1:-1], np.broadcast_to(student[1:-1], (16, 14)))
    assert (read[0, 0], read[0, -1]) == (16, 240)


def test_fewer_cells_over_the_same_picture_read_the_same_ramp() -> None:
    # Fourteen cells of 16 px of a 224 px crop: of 16 * 256 / 224 px in the teacher's picture.
    teacher = 16 + 16 * np.arange(15, dtype=np.float32)
    student = (np.arange(14) + 0.5) * 16 * 256 / 224
    read = at_student_cells(np.broadcast_to(teacher[:, None], (15, 15)).copy(), 14)
    assert np.allclose(read[1:-1, 3], student[1:-1], atol=1e-4)
    assert (read[0, 3], read[-1, 3]) == (16, 240)


def test_the_teacher_is_believed_where_its_best_box_overlaps_the_truth_by_half() -> None:
    probability, log_ltrb = np.zeros((15, 15), np.float32), np.zeros((4, 15, 15), np.float32)
    probability[3, 5] = 0.9
    log_ltrb[:, 3, 5] = np.log(20)
    # Cell (3, 5) lies at x = 16 * 6 = 96, y = 16 * 4 = 64; its box is 40 px wide around it.
    seen = Seen(np.empty(0, np.float32), np.empty(0, np.float32), probability, log_ltrb)
    assert np.allclose(best_box(seen), (96, 64, 40, 40))
    assert is_on_target(seen, np.array([96, 64, 40, 40], np.float32))
    assert is_on_target(seen, np.array([96 + 13, 64, 40, 40], np.float32))  # 27 / 53 = .51
    assert not is_on_target(seen, np.array([96 + 14, 64, 40, 40], np.float32))  # 26 / 54 = .48
    assert not is_on_target(seen, NAN_BOX)


def test_a_frame_is_cut_around_the_target_in_its_templates_size() -> None:
    # 24 x 24 px at (60, 150) of a crop of 224: with its context 48 px, so that 96 px become 256.
    box = np.array([60, 150, 24, 24], np.float32)
    frame = Frame.around(box)
    assert frame.zoom == pytest.approx(256 / 96)
    assert np.allclose(frame.inside(box), (128, 128, 64, 64))
    other = np.array([71.5, 140.25, 30, 12], np.float32)
    assert np.allclose(frame.outside(frame.inside(other)), other, atol=1e-4)
    picture = np.full((224, 224, 3), 40, np.uint8)
    picture[138:162, 48:72] = (10, 200, 90)
    crop = frame.cut(picture)
    rows, columns = np.nonzero(crop[..., 1] > 120)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (96, 160, 96, 160)


def test_boxes_as_the_teachers_cost_nothing_and_none_cost_nothing() -> None:
    mine = torch.tensor([[10.0, 10, 10, 10]])
    assert box_loss(mine, mine).item() == pytest.approx(0.0)
    # Half as wide, at the same centre: IoU .5, and the hull is the larger box.
    assert box_loss(mine, torch.tensor([[5.0, 10, 5, 10]])).item() == pytest.approx(0.5)
    assert box_loss(mine[:0], mine[:0]) == 0


def test_scores_without_an_opinion_count_nothing_and_agreement_costs_nothing() -> None:
    logits = torch.zeros(2, 4, 4)
    score = torch.full((2, 4, 4), torch.nan)
    assert score_loss(logits, score) == 0
    score[0] = 0.5  # sigmoid(0): the focal factor is zero
    assert score_loss(logits, score) == 0
    score[0] = 1.0  # 16 cells of -log(.5) * .25, divided by a sum of 16
    assert score_loss(logits, score).item() == pytest.approx(np.log(2) * 0.25)


def test_features_of_which_the_teachers_are_a_linear_map_fit_from_the_start() -> None:
    torch.manual_seed(0)
    config = DartConfig(layers=((8, 2), (96, 2)), channels=8, head=8, tower=1, template_px=32, search_px=64)
    network = Dart(config)
    distiller = Distiller(network)
    theirs = torch.randn(4, 96, 8, 8), torch.randn(4, 96, 16, 16)
    view = View(theirs[0].numpy(), theirs[1].numpy(), np.zeros((4, 16, 16), np.float32), NAN_BOX[None])
    mixing = torch.linalg.qr(torch.randn(96, 96))[0]
    # The network is made to show a rotation of the teacher's features, which a 1x1 convolution can undo.
    shown = [torch.einsum("ij,njhw->nihw", mixing, standardized(features)) for features in theirs]
    with torch.no_grad():
        for features in shown:
            network.backbone[-1](features)
        assert distiller.features(view).item() == pytest.approx(0.0, abs=1e-4)
        for features in shown:
            network.backbone[-1](torch.zeros_like(features))
        assert distiller.features(view).item() == pytest.approx(1.0, abs=1e-3)


def test_features_of_another_grid_are_read_between_the_cells() -> None:
    config = DartConfig(layers=((8, 2), (96, 2)), channels=8, head=8, tower=1, template_px=28, search_px=56)
    network = Dart(config)
    distiller = Distiller(network)
    # A ramp over the picture, 16 cells of 4 px, and the same ramp in 14 cells: differences of it stay the same.
    ramps = [torch.arange(cells).add(0.5).div(cells).expand(2, 96, cells, cells) for cells in (8, 16)]
    view = View(ramps[0].numpy(), ramps[1].numpy(), np.zeros((2, 14, 14), np.float32), NAN_BOX[None])
    with torch.no_grad():
        for cells, size in ((7, 8), (14, 16)):
            mean, deviation = 0.5, ramps[0 if size == 8 else 1].std(unbiased=False)
            shown = torch.arange(cells).add(0.5).div(cells).clamp(0.5 / size, 1 - 0.5 / size)
            network.backbone[-1](((shown - mean) / deviation).expand(2, 96, cells, cells))
        assert distiller.features(view).item() == pytest.approx(0.0, abs=1e-4)


def test_a_network_with_crops_of_other_proportions_cannot_be_taught() -> None:
    message = "^the network's search crop is 224 px and its template crop 96 px, the teacher's is twice as large"
    with pytest.raises(ExportError, match=message):
        check_teacher(Path("nanotrackv3.pth"), DartConfig(template_px=96, search_px=224))


def test_the_real_teacher_says_what_its_publication_says() -> None:
    pytest.importorskip("openvino", reason="the teacher runs in OpenVINO")
    golden = np.load(shared_path("models/nanotrack/golden_v3.npz"))
    templates, searches = np.zeros((6, 128, 128, 3), np.uint8), np.zeros((6, 256, 256, 3), np.uint8)
    templates[:, :127, :127], searches[:, :255, :255] = golden["template"], golden["search"]
    truth = published_boxes(golden)
    truth[5] = np.nan
    view = Teacher(shared_path("models/nanotrack/nanotrackv3.pth")).view(templates, searches, truth)
    assert np.allclose(view.template, golden["template_features"], atol=0.02)
    odds = np.exp(golden["cls"] - golden["cls"].max(1, keepdims=True))
    probability = odds[:, 1] / odds.sum(1)
    for index in range(5):
        assert np.allclose(view.score[index], at_student_cells(probability[index], 16), atol=1e-3)
    assert np.isnan(view.score[5]).all()
    assert np.isnan(view.box).all()  # not asked for


def test_the_real_teachers_box_does_not_depend_on_where_a_crop_was_cut() -> None:
    pytest.importorskip("openvino", reason="the teacher runs in OpenVINO")
    teacher = Teacher(shared_path("models/nanotrack/nanotrackv3.pth"), 14, gives_boxes=True)
    picture = cv2.imread(str(shared_path("sequences/OTB_Man/img/00000001.jpg")))
    x, y, w, h = np.loadtxt(shared_path("sequences/OTB_Man/groundtruth.txt"), delimiter=",", max_rows=1).tolist()
    truth = Box(x - 1, y - 1, w, h)
    side = context_side(truth.w, truth.h, 0.5)
    template = patch(picture, truth.center, side, 112)
    # The same picture in crops that a tracker would have cut 1.2 times too large and too small, beside the target.
    found = []
    for zoom, away in ((1.0, 0.0), (1.2, 0.2), (1 / 1.2, -0.2)):
        center = Point(truth.center.x + away * side, truth.center.y - away * side)
        search, ratio = patch(picture, center, 2 * zoom * side, 224), 2 * zoom * side / 224
        box = (112 - away * side / ratio, 112 + away * side / ratio, truth.w / ratio, truth.h / ratio)
        x, y, w, h = (teacher.view(template[None], search[None], np.array([box], np.float32)).box[0] * ratio).tolist()
        found.append((x - 112 * ratio + center.x, y - 112 * ratio + center.y, w, h))
    assert np.allclose(found, found[0], atol=0.01 * side)


def patch(picture: Image, center: Point, side: float, size: int) -> Image:
    """A square of a picture around a point, scaled to size px; black beyond the picture."""
    zoom = size / side
    shift = size / 2 - zoom * np.array(center) + zoom / 2 - 0.5  # OpenCV has the middle of a pixel at a whole number
    return np.asarray(cv2.warpAffine(picture, np.column_stack([zoom * np.eye(2), shift]), (size, size)), np.uint8)


def published_boxes(golden: Mapping[str, np.ndarray]) -> np.ndarray:
    """The most probable box of each golden pair: centre x, centre y, width, height, (6, 4) search-crop px."""
    boxes = []
    for cls, ltrb in zip(golden["cls"], golden["loc"], strict=True):
        row, column = np.unravel_index((cls[1] - cls[0]).argmax(), (15, 15))
        left, top, right, bottom = ltrb[:, row, column]
        x, y = 16 * (column + 1), 16 * (row + 1)
        boxes.append((x + (right - left) / 2, y + (bottom - top) / 2, left + right, top + bottom))
    return np.array(boxes, np.float32)
