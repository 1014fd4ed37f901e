"""Learning from NanoTrack v3: what its maps mean at the student's cells, when it is believed, and the losses."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from shared import shared_path

from siamedge.export.families.dart import Dart, DartConfig
from siamedge.runtime.errors import ExportError
from siamedge.training.distillation import Distiller, is_as_large, reach_loss, score_loss, standardized
from siamedge.training.teacher import (
    Teacher,
    View,
    at_student_cells,
    check_teacher,
    is_on_target,
    reach_at_student_cells,
)

NAN_BOX = np.full(4, np.nan, np.float32)
NO_REACH = np.empty((0, 4, 0, 0), np.float32)


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
    assert is_on_target(probability, log_ltrb, np.array([96, 64, 40, 40], np.float32))
    assert is_on_target(probability, log_ltrb, np.array([96 + 13, 64, 40, 40], np.float32))  # 27 / 53 = .51
    assert not is_on_target(probability, log_ltrb, np.array([96 + 14, 64, 40, 40], np.float32))  # 26 / 54 = .48
    assert not is_on_target(probability, log_ltrb, NAN_BOX)


def test_boxes_read_between_the_teachers_cells_have_the_sides_that_its_cells_mean() -> None:
    # Every cell of the teacher means the box from (40, 60) to (200, 180) px of 256, so must every cell of the student.
    theirs = 16.0 * (np.arange(15) + 1)
    sides = (theirs[None, :] - 40, theirs[:, None] - 60, 200 - theirs[None, :], 180 - theirs[:, None])
    log_ltrb = np.stack([np.log(np.broadcast_to(side, (15, 15)).clip(1e-3)) for side in sides]).astype(np.float32)
    left, top, right, bottom = reach_at_student_cells(log_ltrb, 14)
    mine = (np.arange(14) + 0.5) * 256 / 14
    within = np.ix_((mine > 76) & (mine < 164), (mine > 56) & (mine < 184))  # and a teacher's cell on each side
    row, column = np.meshgrid(mine, mine, indexing="ij")
    assert left[within].size == 5 * 7
    for reach, exact in ((left, column - 40), (top, row - 60), (right, 200 - column), (bottom, 180 - row)):
        assert np.allclose(reach[within], exact[within], atol=1e-3)


def test_boxes_as_the_teachers_cost_nothing_and_those_it_does_not_know_are_left_out() -> None:
    mine = torch.tensor([[10.0, 10, 10, 10], [10, 10, 10, 10]])
    theirs = torch.tensor([[10.0, 10, 10, 10], [torch.nan] * 4])
    assert reach_loss(mine, theirs).item() == pytest.approx(0.0)
    # Half as wide, at the same centre: IoU .5, and the hull is the larger box.
    assert reach_loss(mine[:1], torch.tensor([[5.0, 10, 5, 10]])).item() == pytest.approx(0.5)
    assert reach_loss(mine, torch.full((2, 4), torch.nan)) == 0


def test_a_targets_size_is_compared_with_its_context_as_a_template_has_it() -> None:
    # 56 x 56 px with a context of 56 is a square of 112 px, a template's side; e^.14 and e^.16 times that; absent.
    sides = [56.0, 56 * np.exp(0.14), 56 * np.exp(0.16), np.nan]
    boxes = torch.tensor([(100.0, 90.0, side, side) for side in sides])
    assert is_as_large(boxes, 112).tolist() == [True, True, False, False]


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
    view = View(theirs[0].numpy(), theirs[1].numpy(), np.zeros((4, 16, 16), np.float32), NO_REACH)
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
    view = View(ramps[0].numpy(), ramps[1].numpy(), np.zeros((2, 14, 14), np.float32), NO_REACH)
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
        reach = reach_at_student_cells(np.log(golden["loc"][index]), 16)
        assert np.allclose(view.ltrb[index], reach, rtol=1e-3, atol=0.02)
    assert np.isnan(view.score[5]).all()
    assert np.isnan(view.ltrb[5]).all()


def published_boxes(golden: Mapping[str, np.ndarray]) -> np.ndarray:
    """The most probable box of each golden pair: centre x, centre y, width, height, (6, 4) search-crop px."""
    boxes = []
    for cls, ltrb in zip(golden["cls"], golden["loc"], strict=True):
        row, column = np.unravel_index((cls[1] - cls[0]).argmax(), (15, 15))
        left, top, right, bottom = ltrb[:, row, column]
        x, y = 16 * (column + 1), 16 * (row + 1)
        boxes.append((x + (right - left) / 2, y + (bottom - top) / 2, left + right, top + bottom))
    return np.array(boxes, np.float32)
