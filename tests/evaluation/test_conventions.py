"""Each convention against a second implementation, written from its definition, frame by frame."""

import math
from pathlib import Path

import numpy as np
import pytest

from siamedge.export.evaluation.bootstrap import value
from siamedge.export.evaluation.conventions import CONVENTIONS, get_convention
from siamedge.export.evaluation.runner import Run, multi_starts
from siamedge.export.evaluation.sequences import Sequence
from siamedge.runtime.errors import SourceError

SIZE = (64, 48)
CASES = 1000
Row = tuple[float, ...]


# The second implementation: plain numbers, one frame at a time.


def is_known(row: Row) -> bool:
    return not any(math.isnan(number) for number in row)


def area_overlap(a: Row, b: Row) -> float:
    """Shared area by the area of the union; nan for an unknown box; 0 where neither has an area."""
    if not (is_known(a) and is_known(b)):
        return math.nan
    across = max(0.0, min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0]))
    down = max(0.0, min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1]))
    union = a[2] * a[3] + b[2] * b[3] - across * down
    return min(1.0, across * down / union) if union > 0 else 0.0


def distance(a: Row, b: Row, unit_x: float = 1.0, unit_y: float = 1.0) -> float:
    if not (is_known(a) and is_known(b)):
        return math.nan
    dx = (a[0] + (a[2] - 1) / 2) / unit_x - (b[0] + (b[2] - 1) / 2) / unit_x
    dy = (a[1] + (a[3] - 1) / 2) / unit_y - (b[1] + (b[3] - 1) / 2) / unit_y
    return math.hypot(dx, dy)


def otb_by_hand(found: list[Row], truth: list[Row]) -> dict[str, float]:
    pairs = list(zip([truth[0], *found[1:]], truth, strict=True))
    success = [sum(area_overlap(a, b) > k * 0.05 for a, b in pairs) / len(pairs) for k in range(21)]
    within = sum(distance(a, b) <= 20 for a, b in pairs) / len(pairs)
    return {"auc": sum(success) / 21, "precision_20px": within, "success_50": success[10]}


def into_image(row: Row) -> Row:
    if not is_known(row):
        return row
    x, y = min(max(row[0], 0.0), SIZE[0]), min(max(row[1], 0.0), SIZE[1])
    return x, y, min(max(row[2], 0.0), SIZE[0] - x), min(max(row[3], 0.0), SIZE[1] - y)


def got10k_by_hand(passes: list[tuple[list[Row], list[Row], list[bool]]]) -> dict[str, float]:
    """All sequences in one pot: (found, truth, absent) of each."""
    overlaps = [
        area_overlap(into_image(a), into_image(b))
        for found, truth, absent in passes
        for a, b, hidden in list(zip(found, truth, absent, strict=True))[1:]
        if not hidden
    ]
    if not overlaps:
        return {"ao": 0.0, "sr_50": 0.0, "sr_75": 0.0}
    count = len(overlaps)
    return {
        "ao": sum(overlaps) / count,
        "sr_50": sum(overlap > 0.5 for overlap in overlaps) / count,
        "sr_75": sum(overlap > 0.75 for overlap in overlaps) / count,
    }


def lasot_by_hand(found: list[Row], truth: list[Row], absent: list[bool]) -> dict[str, float]:
    kept: list[Row] = [truth[0]]
    previous = found[0]
    for a, b in list(zip(found, truth, strict=True))[1:]:
        is_bad = not is_known(a) or a[2] <= 0 or a[3] <= 0
        previous = previous if is_bad and is_known(b) else a
        kept.append(previous)
    overlaps, errors, relative = [], [], []
    for a, b, hidden in zip(kept, truth, absent, strict=True):
        if hidden:
            continue
        is_usable = all(number > 0 for number in b)
        overlaps.append(area_overlap(a, b) if is_usable else -1.0)
        errors.append(distance(a, b) if is_usable else -1.0)
        relative.append(distance(a, b, b[2], b[3]) if is_usable else -1.0)
    length = len(truth)
    return {
        "auc": sum(sum(o > k * 0.05 for o in overlaps) / length for k in range(21)) / 21,
        "precision_20px": sum(e <= 20 for e in errors) / length,
        "norm_precision_20": sum(e <= 0.2 for e in relative) / length,
        "norm_precision_mean": sum(sum(e <= k / 100 for e in relative) / length for k in range(51)) / 51,
    }


def covered(row: Row) -> set[tuple[int, int]]:
    """Pixels of a box on an endless grid, each of its four numbers rounded, half to even."""
    x, y, w, h = (round(number) for number in row)
    return {(i, j) for i in range(x, x + w) for j in range(y, y + h)}


def corners(row: Row) -> tuple[int, int, int, int]:
    if not is_known(row):
        return 0, 0, 0, 0
    x, y, w, h = (round(number) for number in row)
    return x, y, x + w - 1, y + h - 1


def pixel_overlap(a: Row, b: Row) -> float:
    low_a, low_b = corners(a), corners(b)
    left, top = min(low_a[0], low_b[0]), min(low_a[1], low_b[1])
    right, bottom = max(low_a[2], low_b[2]), max(low_a[3], low_b[3])
    if left >= right or top >= bottom:
        return 1.0
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, SIZE[0] - 1), min(bottom, SIZE[1] - 1)
    if left >= right or top >= bottom:
        return 0.0
    inside = {(i, j) for i in range(left, right + 1) for j in range(top, bottom + 1)}
    pixels_a = covered(a) & inside if is_known(a) else set()
    pixels_b = covered(b) & inside if is_known(b) else set()
    return len(pixels_a & pixels_b) / len(pixels_a | pixels_b) if pixels_a | pixels_b else 0.0


def vot_start_by_hand(found: list[Row], truth: list[Row]) -> tuple[list[float], int]:
    """Overlaps of one start and how many frames it lasted."""
    nothing = (math.nan,) * 4
    overlaps = [pixel_overlap(a, b) for a, b in zip([nothing, *found[1:]], truth, strict=True)]
    patience = 10
    for frame, (overlap, b) in enumerate(zip(overlaps, truth, strict=True)):
        fails = overlap <= 0.1 and is_known(b) and b[2] > 0 and b[3] > 0
        patience = patience - 1 if fails else 10
        if patience == 0:
            return overlaps, frame - 9
    return overlaps, len(overlaps)


def expected_overlap(starts: list[tuple[list[float], int]], length: int) -> tuple[float, int]:
    """Sum over starts of the mean overlap in frames 1 .. length, and how many starts count."""
    total, count = 0.0, 0
    for overlaps, lasted in starts:
        counted = [overlap if frame < lasted else 0.0 for frame, overlap in enumerate(overlaps)]
        if length < len(counted):
            total, count = total + sum(counted[1 : length + 1]) / length, count + 1
        elif lasted < len(counted):
            total, count = total + sum(counted[1:]) / (length - 1), count + 1
    return total, count


# Random sequences with everything that goes wrong in them.


def as_rows(boxes: np.ndarray) -> list[Row]:
    return [tuple(float(number) for number in row) for row in boxes]


def random_case(seed: int) -> tuple[Sequence, np.ndarray]:
    """A wandering target and a tracker that is exact, off, lost, empty or outside; absent and empty ground truth."""
    rng = np.random.default_rng(seed)
    length = int(rng.choice([1, 2, 11, 30]))
    middle = np.cumsum(rng.normal(0, 3, (length, 2)), axis=0) + np.array(SIZE) / 2
    extent = rng.uniform(2, 24, (length, 2))
    truth = np.hstack([middle - extent / 2, extent])
    found = truth + rng.normal(0, rng.choice([0.5, 3, 12]), (length, 4))
    found[:, 2:] = np.maximum(found[:, 2:], 0)
    if seed % 3 == 0:
        truth, found = np.round(truth), np.round(found)
    kind = rng.random(length)
    found[kind < 0.06, 2:] = 0
    found[(kind > 0.06) & (kind < 0.12)] += [200, 0, 0, 0]
    found[(kind > 0.12) & (kind < 0.15)] = np.nan
    exact = (kind > 0.15) & (kind < 0.18)
    truth[exact] = found[exact] = np.round(truth[exact])
    if seed % 5 == 0:
        found[length // 3 :] += 100
    truth[(kind > 0.3) & (kind < 0.4)] = np.nan
    truth[(kind > 0.4) & (kind < 0.43), 2:] = 0
    truth[0] = [20, 15, 12, 9]
    found[0] = truth[0]
    absent = np.isnan(truth).any(axis=1) | (rng.random(length) < 0.1)
    absent[0] = False
    return Sequence(f"s{seed}", (Path("none"),), truth, 0, absent), found


def one_run(found: np.ndarray, start: int = 0, step: int = 1) -> Run:
    length = len(found)
    return Run(start, step, found, np.zeros(length), np.zeros(length, np.bool_), np.zeros(length), SIZE)


def check(found: float, expected: float, what: str) -> None:
    assert abs(found - expected) <= 1e-9, f"{what}: {found!r}, by hand {expected!r}"


@pytest.mark.parametrize("block", range(4))
def test_otb_equals_the_definition_on_random_sequences(block: int) -> None:
    convention = CONVENTIONS["otb"]
    for seed in range(block * CASES // 4, (block + 1) * CASES // 4):
        sequence, found = random_case(seed)
        terms = convention.terms(sequence, (one_run(found),))
        for key, expected in otb_by_hand(as_rows(found), as_rows(sequence.boxes)).items():
            check(value([terms], convention.metrics[key]), expected, f"case {seed} {key}")


def test_got10k_equals_the_definition_on_random_sequences_pooled_in_groups() -> None:
    convention = CONVENTIONS["got10k"]
    for first in range(0, CASES, 4):
        cases = [random_case(seed) for seed in range(first, first + 4)]
        for sequence, found in cases:
            known = np.isfinite(sequence.boxes).all(axis=1) & ~np.isfinite(found).all(axis=1)
            found[known] = 0
        terms = [convention.terms(sequence, (one_run(found),)) for sequence, found in cases]
        passes = [(as_rows(found), as_rows(s.boxes), [bool(flag) for flag in s.absent]) for s, found in cases]
        for key, expected in got10k_by_hand(passes).items():
            check(value(terms, convention.metrics[key]), expected, f"case {first} {key}")


def test_lasot_equals_the_definition_on_random_sequences() -> None:
    convention = CONVENTIONS["lasot"]
    for seed in range(CASES):
        sequence, found = random_case(seed)
        terms = convention.terms(sequence, (one_run(found),))
        by_hand = lasot_by_hand(as_rows(found), as_rows(sequence.boxes), [bool(flag) for flag in sequence.absent])
        for key, expected in by_hand.items():
            check(value([terms], convention.metrics[key]), expected, f"case {seed} {key}")


def test_vot_multistart_equals_the_definition_on_random_sequences() -> None:
    convention = CONVENTIONS["vot-multistart"]
    for seed in range(CASES):
        sequence, found = random_case(seed)
        passes = multi_starts(sequence)
        starts = [
            vot_start_by_hand([as_rows(found)[i] for i in frames], [as_rows(sequence.boxes)[i] for i in frames])
            for frames in passes
        ]
        runs = tuple(one_run(found[list(frames)], frames[0], frames.step) for frames in passes)
        terms = convention.terms(sequence, runs)
        lasted, total = sum(end for _, end in starts), sum(len(overlaps) for overlaps, _ in starts)
        accuracy = sum(sum(overlaps[:end]) for overlaps, end in starts) / lasted if lasted else 0.0
        check(value([terms], convention.metrics["accuracy"]), accuracy, f"case {seed} accuracy")
        check(value([terms], convention.metrics["robustness"]), lasted / total, f"case {seed} robustness")
        for length in (1, 2, 5, 10, 11, 15, 29, 30, 31, 120, 754):
            expected, count = expected_overlap(starts, length)
            assert terms["eao"].denominator[length] == count
            check(terms["eao"].numerator[length], expected, f"case {seed} overlap over {length} frames")


def test_vot_scores_of_several_sequences_are_weighted_as_the_toolkit_weights_them() -> None:
    convention = CONVENTIONS["vot-multistart"]
    terms, hand = [], []
    for seed in range(40):
        sequence, found = random_case(seed)
        passes = multi_starts(sequence)
        rows, truth = as_rows(found), as_rows(sequence.boxes)
        starts = [vot_start_by_hand([rows[i] for i in frames], [truth[i] for i in frames]) for frames in passes]
        runs = tuple(one_run(found[list(frames)], frames[0], frames.step) for frames in passes)
        terms.append(convention.terms(sequence, runs))
        hand.append((starts, len(sequence)))
    lasted = [sum(end for _, end in starts) for starts, _ in hand]
    shared = sum(sum(overlaps[:end]) for starts, _ in hand for overlaps, end in starts)
    totals = [sum(len(overlaps) for overlaps, _ in starts) for starts, _ in hand]
    lengths = [length for _, length in hand]
    robust = sum(a / b * length for a, b, length in zip(lasted, totals, lengths, strict=True)) / sum(lengths)
    curve = []
    for length in range(115, 755):
        sums = [expected_overlap(starts, length) for starts, _ in hand]
        count = sum(n for _, n in sums)
        curve.append(sum(total for total, _ in sums) / count if count else 0.0)
    check(value(terms, convention.metrics["accuracy"]), shared / sum(lasted), "accuracy")
    check(value(terms, convention.metrics["robustness"]), robust, "robustness")
    check(value(terms, convention.metrics["eao"]), sum(curve) / len(curve), "EAO")


# Facts of each convention that are known without any implementation.


def perfect(length: int) -> tuple[Sequence, np.ndarray]:
    boxes = np.tile([10.0, 10.0, 20.0, 20.0], (length, 1))
    return Sequence("perfect", (Path("none"),), boxes, 0, np.zeros(length, np.bool_)), boxes.copy()


def scores(name: str, sequence: Sequence, *runs: Run) -> dict[str, float]:
    convention = CONVENTIONS[name]
    terms = convention.terms(sequence, runs)
    return {key: value([terms], metric) for key, metric in convention.metrics.items()}


def test_a_perfect_tracker_scores_20_of_21_under_otb() -> None:
    sequence, boxes = perfect(7)
    assert scores("otb", sequence, one_run(boxes)) == pytest.approx(
        {"auc": 20 / 21, "precision_20px": 1, "success_50": 1}
    )


def test_a_perfect_tracker_scores_1_under_got10k() -> None:
    sequence, boxes = perfect(7)
    assert scores("got10k", sequence, one_run(boxes)) == pytest.approx({"ao": 1, "sr_50": 1, "sr_75": 1})


@pytest.mark.parametrize("name", ["otb", "lasot"])
def test_a_centre_off_by_the_threshold_is_a_hit_and_an_overlap_of_the_threshold_is_none(name: str) -> None:
    sequence, boxes = perfect(4)
    boxes[1, :2] += [12, 16]  # 20 px off
    boxes[2, 3] = 10  # half of it, 5 px off
    found = scores(name, sequence, one_run(boxes))
    assert found["precision_20px"] == 1
    success = CONVENTIONS[name].terms(sequence, (one_run(boxes),))["success"]
    overlaps = [1, 8 * 4 / (800 - 8 * 4), 0.5, 1]
    assert success.numerator.tolist() == [sum(overlap > k / 20 for overlap in overlaps) / 4 for k in range(21)]
    assert success.numerator[10] == 0.5


def test_the_vot_toolkit_counts_the_frame_of_initialisation_against_accuracy() -> None:
    sequence, boxes = perfect(20)
    found = scores("vot-multistart", sequence, one_run(boxes), one_run(boxes[::-1], 19, -1))
    assert found["accuracy"] == pytest.approx(19 / 20)
    assert found["robustness"] == 1


def test_a_frame_without_ground_truth_fails_twice_under_otb_and_hits_precision_nowhere() -> None:
    sequence, boxes = perfect(4)
    sequence.boxes[2] = np.nan
    assert scores("otb", sequence, one_run(boxes)) == pytest.approx(
        {"auc": 0.75 * 20 / 21, "precision_20px": 0.75, "success_50": 0.75}
    )


def test_lasot_counts_an_absent_frame_in_the_length_only() -> None:
    sequence, boxes = perfect(4)
    sequence.absent[2] = True
    assert scores("lasot", sequence, one_run(boxes))["precision_20px"] == 0.75


def test_lasot_counts_ground_truth_that_is_not_positive_as_a_hit_in_precision_only() -> None:
    sequence, boxes = perfect(4)
    sequence.boxes[2] = [0, 10, 20, 20]
    run = one_run(boxes)
    found = scores("lasot", sequence, run)
    assert (found["auc"], found["precision_20px"]) == pytest.approx((0.75 * 20 / 21, 1))
    terms = CONVENTIONS["lasot"].terms(sequence, (run,))
    assert [terms[name].numerator[0] for name in ("success", "precision", "norm_precision")] == [0.75, 1, 1]


def test_lasot_repeats_the_last_box_in_place_of_an_empty_one() -> None:
    sequence, boxes = perfect(4)
    boxes[2, 2] = 0
    assert scores("lasot", sequence, one_run(boxes))["auc"] == pytest.approx(20 / 21)


def test_got10k_moves_a_box_into_the_image_without_making_it_smaller() -> None:
    sequence, boxes = perfect(2)
    sequence.boxes[1], boxes[1] = [0, 0, 10, 10], [-5, 0, 10, 10]
    assert scores("got10k", sequence, one_run(boxes))["ao"] == pytest.approx(1)


def test_a_start_that_fails_from_the_first_frame_on_has_no_progress_under_vot() -> None:
    sequence, boxes = perfect(30)
    boxes[1:] += [500, 0, 0, 0]
    assert scores("vot-multistart", sequence, one_run(boxes))["robustness"] == 0


def test_nine_frames_off_target_are_no_failure_under_vot_and_ten_are() -> None:
    for frames, robustness in ((9, 1.0), (10, 5 / 30)):
        sequence, boxes = perfect(30)
        boxes[5 : 5 + frames] += [500, 0, 0, 0]
        assert scores("vot-multistart", sequence, one_run(boxes))["robustness"] == pytest.approx(robustness)


def test_frames_after_a_failure_have_no_overlap_under_vot_though_the_box_still_touches_the_target() -> None:
    """From the fifth frame on a corner of 6 x 6 of 20 x 20 pixels is shared: 36 of 764, less than a tenth."""
    sequence, boxes = perfect(30)
    boxes[5:] += [14, 14, 0, 0]
    overlap = CONVENTIONS["vot-multistart"].terms(sequence, (one_run(boxes),))["eao"]
    assert overlap.numerator[[4, 8, 29]] == pytest.approx([1, 4 / 8, 4 / 29])


def test_a_frame_without_ground_truth_has_no_overlap_under_vot_wherever_the_box_is() -> None:
    """The toolkit's raster has such a region at the origin, which this box covers."""
    sequence, boxes = perfect(5)
    boxes[2] = [0, 0, 20, 20]
    sequence.boxes[2] = np.nan
    assert scores("vot-multistart", sequence, one_run(boxes))["accuracy"] == pytest.approx(3 / 5)


def test_a_tracker_that_begins_late_has_failed_before_under_got10k() -> None:
    """The target is there from the fourth of ten frames on: nine count, and two of them have no box to compare with."""
    sequence, boxes = perfect(10)
    boxes[:3] = np.nan
    found = scores("got10k", sequence, one_run(boxes))
    assert found == pytest.approx({"ao": 7 / 9, "sr_50": 7 / 9, "sr_75": 7 / 9})


def test_a_single_frame_has_a_score_in_every_convention_that_has_frames_to_count() -> None:
    sequence, boxes = perfect(1)
    run = one_run(boxes)
    assert scores("otb", sequence, run)["auc"] == pytest.approx(20 / 21)
    assert scores("lasot", sequence, run)["auc"] == pytest.approx(20 / 21)
    assert scores("got10k", sequence, run)["ao"] == 0
    assert scores("vot-multistart", sequence, run) == pytest.approx({"eao": 0, "accuracy": 0, "robustness": 1})


def test_an_unknown_convention_names_the_known_ones() -> None:
    with pytest.raises(SourceError, match="unknown convention 'votlt'") as caught:
        get_convention("votlt")
    assert caught.value.hint == "choose one of otb, got10k, lasot, vot-multistart"
