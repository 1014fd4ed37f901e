"""Verification finds an error that was planted in a network, names the tensor, and passes what is equal."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from tiny import CONFIG, make_network, make_weights

from siamedge.export.bundles.description import recommend
from siamedge.export.calibration.crop_sets import CalibrationSet
from siamedge.export.calibration.rollout import render_crops
from siamedge.export.checkpoints.reading import default_weights, load_network
from siamedge.export.families.dart import Dart
from siamedge.export.families.source import SourceNetwork
from siamedge.export.families.torch_session import TorchSession, one_torch_thread
from siamedge.export.verification.tensors import (
    BUDGETS,
    Budget,
    Measured,
    Reference,
    box_difference,
    difference,
    judge,
    peak_agreement,
    reference_of,
    search_latency_ms,
    verify_pair,
)
from siamedge.runtime.backends.backend import Precision
from siamedge.runtime.bundles.manifest import Difference, Verification
from siamedge.runtime.bundles.records import to_json
from siamedge.runtime.errors import ExportError
from siamedge.runtime.tensors import Array
from siamedge.runtime.tracking.params import AnchorFreeParams

PARAMS = AnchorFreeParams(32, 64, 8, 2, -4.0, "sigmoid", 0.4, 0.1, 0.4, distance_scale=2.0, max_log_distance=3.0)


def make_crops() -> CalibrationSet:
    random = np.random.default_rng(5)
    sides = ((2, 32), (6, 64))
    templates, searches = (random.integers(0, 256, (n, side, side, 3), np.uint8) for n, side in sides)
    return CalibrationSet(templates, searches, np.array([0, 1, 0, 1, 0, 1]))


def make_decided_weights() -> Dart:
    """Weights whose scores lie further apart than a tie."""
    weights = make_weights()
    with torch.no_grad():
        weights.cls.weight.mul_(200)
    return weights


WEIGHTS = make_decided_weights()
NETWORK, CROPS = make_network(WEIGHTS), make_crops()
SOURCE = reference_of(NETWORK, CROPS)


def verify(network: SourceNetwork, precision: Precision = "fp32") -> Verification:
    """Verify a network as if it were what NETWORK had been exported to."""
    template, search = TorchSession(network, "template"), TorchSession(network, "search")
    with one_torch_thread():
        return verify_pair(template, search, NETWORK, SOURCE, ("onnx", precision)).verification


def damaged(change: Callable[[Dart], object]) -> SourceNetwork:
    """The two graphs of WEIGHTS some of which were changed."""
    weights = copy.deepcopy(WEIGHTS)
    with torch.no_grad():
        change(weights)
    return make_network(weights)


def scale(layer: str) -> Callable[[Dart], object]:
    return lambda network: network.get_parameter(layer).mul_(4)


def swap(layer: str, one: int, other: int) -> Callable[[Dart], object]:
    def exchange(network: Dart) -> None:
        weight = network.get_parameter(layer)
        weight[[one, other]] = weight[[other, one]].clone()

    return exchange


def test_an_equal_pair_passes_without_a_difference() -> None:
    found = verify(copy.deepcopy(NETWORK))
    assert (found.verdict, found.reason, found.crops) == ("pass", "within budget", 6)
    assert found.differences.keys() == {"mixer", "look", "cls", "log_ltrb"}
    assert {difference.max_abs for difference in found.differences.values()} == {0.0}
    assert (found.peak_agreement, found.box_px) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (scale("backbone.2.weight"), "mixer"),
        (scale("cls_tower.0.weight"), "cls"),
        (scale("box_tower.0.weight"), "log_ltrb"),
        (swap("mix.weight", 0, 5), "mixer"),
        (swap("backbone.1.weight", 2, 3), "mixer"),
        (swap("box.bias", 0, 2), "log_ltrb"),
    ],
)
def test_a_planted_error_is_found_and_its_tensor_named(change: Callable[[Dart], object], named: str) -> None:
    found = verify(damaged(change))
    assert found.verdict == "not recommended"
    first = found.differences[named]
    largest = max(np.abs(maps[named]).max() for maps in (*SOURCE.kernels, *SOURCE.outputs) if named in maps)
    assert found.reason == f"{named} differs by {first.max_abs:.3g}, budget {1e-3 * largest:.3g}"


def test_swapped_colors_are_found() -> None:
    assert verify(replace(NETWORK, color="RGB")).reason.startswith("mixer differs by ")


def test_a_wrong_box_edge_is_found_where_tensors_may_differ() -> None:
    found = verify(damaged(lambda network: network.box.bias[2].add_(1)), "int8")
    assert found.verdict == "not recommended"
    assert found.reason == f"boxes differ by {found.box_px:.2f} px, budget 0.5 px"


class Altered:
    """A session whose outputs are changed by a function."""

    def __init__(self, session: TorchSession, change: Callable[[dict[str, Array]], object]) -> None:
        self._session, self._change = session, change
        self.inputs, self.outputs = session.inputs, session.outputs

    def run(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        given = {name: values.copy() for name, values in self._session.run(feeds).items()}
        self._change(given)
        return given

    def close(self) -> None:
        self._session.close()


@cache
def default_network() -> tuple[SourceNetwork, Reference, dict[str, TorchSession]]:
    """It, what it gives for some drawn crops, and its graphs."""
    network = load_network(default_weights())
    sessions = {role: TorchSession(network, role) for role in ("template", "search")}
    return network, reference_of(network, render_crops(network, 6, (1,))), sessions


def test_a_missing_output_is_an_error_in_every_precision() -> None:
    network, source, sessions = default_network()
    search = Altered(sessions["search"], lambda given: given.pop("features"))
    with pytest.raises(ExportError, match="gives cls, log_ltrb, quality, but not features"):
        verify_pair(sessions["template"], search, network, source, ("onnx", "int8"))


@pytest.mark.parametrize(
    ("role", "name", "change"),
    [
        ("search", "cls", lambda given: np.subtract(given["cls"], 12, out=given["cls"])),
        ("search", "quality", lambda given: given["quality"].fill(-20)),
        ("search", "quality", lambda given: np.negative(given["quality"], out=given["quality"])),
        ("search", "features", lambda given: given["features"].fill(0)),
        ("template", "look", lambda given: given["look"].fill(0)),
    ],
    ids=["level of scores", "no quality", "turned quality", "no features", "no look"],
)
def test_what_neither_peaks_nor_boxes_show_is_found_in_int8(role: str, name: str, change: Callable) -> None:
    """The default network: its tracker compares scores with thresholds, and learns from the features."""
    network, source, sessions = default_network()
    whole = verify_pair(sessions["template"], sessions["search"], network, source, ("onnx", "int8")).verification
    assert whole.verdict == "pass"
    changed = {**sessions, role: Altered(sessions[role], change)}
    found = verify_pair(changed["template"], changed["search"], network, source, ("onnx", "int8")).verification
    assert (found.verdict, found.peak_agreement, found.box_px) == ("not recommended", 1.0, 0.0)
    assert found.reason.startswith(name)


def test_a_moved_peak_is_found_where_tensors_may_differ() -> None:
    found = verify(damaged(lambda network: network.cls.weight.neg_()), "int8")
    assert found.verdict == "not recommended"
    assert found.reason == f"peak agreement {found.peak_agreement:.3f}, budget 0.95"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_values_that_are_no_numbers_never_pass(value: float, precision: Precision) -> None:
    found = verify(damaged(lambda network: network.cls.bias.fill_(value)), precision)
    assert (found.verdict, found.reason) == ("not recommended", "cls has values that are no finite numbers")
    boxes = verify(damaged(lambda network: network.box.bias.fill_(value)), precision)
    assert boxes.reason == "log_ltrb has values that are no finite numbers"
    assert boxes.box_px is not None
    assert boxes.box_px <= CONFIG.search_px
    assert "max_abs" in to_json(boxes)


def test_a_difference_is_the_largest_one_and_the_angle_between_all_values() -> None:
    ours = [np.array([[3.0, 0.0]], np.float32), np.array([[0.0, 0.0]], np.float32)]
    source = [np.array([[3.0, 4.0]], np.float32), np.array([[0.0, 0.0]], np.float32)]
    assert difference(ours, source) == Difference(4.0, pytest.approx(0.6), pytest.approx(0.8))
    assert difference(source, source) == Difference(0.0, 1.0, 0.0)
    nothing = [0 * values for values in source]
    assert difference(nothing, source) == Difference(4.0, 0.0, 1.0)
    assert difference(nothing, nothing) == Difference(0.0, 1.0, 0.0)


def reference(cls: list[list[float]], log_ltrb: list[float]) -> Reference:
    """One crop with a 2 x 2 response that has the same distances everywhere."""
    maps = {"cls": np.array([cls], np.float32), "log_ltrb": np.tile(np.array(log_ltrb, np.float32), (2, 2, 1)).T}
    return Reference(CROPS, (), (maps,))


def test_boxes_are_compared_in_crop_pixels_at_the_source_s_peak() -> None:
    source = reference([[0, 1], [2, 0]], [0.0, 0.0, 0.0, 0.0])
    ours = reference([[9, 1], [2, 0]], [float(np.log(2)), 0.0, 0.0, 5.0])
    clipped_apart = np.exp(3.0) - 1
    assert box_difference(ours, source, PARAMS) == pytest.approx(2.0 * (1 + clipped_apart) / 4, rel=1e-6)


def test_peaks_agree_where_the_highest_cell_is_the_same() -> None:
    one, other = reference([[0, 1], [2, 0]], [0.0] * 4), reference([[3, 1], [2, 0]], [0.0] * 4)
    both = Reference(CROPS, (), (*one.outputs, *other.outputs))
    assert peak_agreement(both, Reference(CROPS, (), (*one.outputs, *one.outputs))) == 0.5


@pytest.mark.parametrize(("behind", "agreement"), [(0.04, 1.0), (0.06, 0.0)])
def test_cells_that_the_source_ranks_alike_are_one_peak(behind: float, agreement: float) -> None:
    ours, source = reference([[3, 0], [2, 0]], [0.0] * 4), reference([[2 - behind, 0], [2, 0]], [0.0] * 4)
    assert peak_agreement(ours, source) == agreement


def test_the_peak_of_two_logits_is_that_of_their_difference() -> None:
    background, target = [[0.0, 5.0], [1.0, 0.0]], [[1.0, 5.0], [3.0, 0.0]]
    two = Reference(CROPS, (), ({"cls": np.array([background, target], np.float32)},))
    assert peak_agreement(two, reference([[0, 0], [1, 0]], [0.0] * 4)) == 1.0


def plain(**changes: object) -> Verification:
    same = {"cls": Difference(0.0, 1.0)}
    return Verification("onnx", "fp16", 6, same, 1.0, 0.0, "pass", "")._replace(**changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"differences": {"cls": Difference(0.2, 1.0)}}, (True, "within budget")),
        ({"differences": {"cls": Difference(0.21, 1.0)}}, (False, "cls differs by 0.21, budget 0.2")),
        ({"peak_agreement": 0.9}, (True, "within budget")),
        ({"peak_agreement": 0.875}, (False, "peak agreement 0.875, budget 0.9")),
        ({"box_px": 0.5}, (True, "within budget")),
        ({"box_px": 0.75}, (False, "boxes differ by 0.75 px, budget 0.5 px")),
        ({"box_px": None}, (True, "within budget")),
        ({"differences": {"cls": Difference(0.0, 1.0, 0.2)}}, (True, "within budget")),
        (
            {"differences": {"cls": Difference(0.0, 1.0, 0.21)}},
            (False, "cls is off by 21% (root mean square), budget 0.2"),
        ),
    ],
)
def test_the_figure_that_breaks_the_budget_decides(changes: dict, expected: tuple[bool, str]) -> None:
    source = reference([[0, -2], [1, 0]], [0.0] * 4)
    budget = Budget(relative_error=0.1, peak_agreement=0.9, box_px=0.5, relative_rms=0.2)
    assert judge(plain(**changes), source, budget) == expected


def test_float_budgets_are_stricter_than_those_of_smaller_precisions() -> None:
    assert BUDGETS["fp32"].relative_error < BUDGETS["fp16"].relative_error < BUDGETS["int8"].relative_error


def measured(precision: Precision, latency_ms: float, verdict: str = "pass", format_name: str = "onnx") -> Measured:
    return Measured(plain(format=format_name, precision=precision, verdict=verdict), latency_ms)


@pytest.mark.parametrize(
    ("rows", "precision", "reason"),
    [
        ([measured("fp32", 1.0)], "fp32", "within budget"),
        (
            [measured("fp32", 1.0), measured("fp16", 1.0), measured("int8", 0.5)],
            "int8",
            "within budget; at least 10% faster than fp32, where it was exported",
        ),
        (
            [measured("fp32", 1.0), measured("int8", 0.95)],
            "fp32",
            "within budget; int8 not 10% faster, where it was exported",
        ),
        (
            [measured("fp32", 1.0), measured("fp16", 0.8), measured("int8", 0.75)],
            "fp16",
            "within budget; at least 10% faster than fp32, int8 not 10% faster, where it was exported",
        ),
        (
            [measured("fp32", 1.0), measured("int8", 0.2, "not recommended")],
            "fp32",
            "within budget; int8 beyond budget",
        ),
        (
            [measured("fp32", 1.0), measured("fp16", 2.0), measured("int8", 0.2, "not recommended")],
            "fp32",
            "within budget; fp16 not 10% faster, where it was exported; int8 beyond budget",
        ),
    ],
)
def test_the_fastest_within_budget_is_recommended(rows: list[Measured], precision: str, reason: str) -> None:
    chosen = recommend(rows)["onnx"]
    assert (chosen.precision, chosen.reason) == (precision, reason)


def test_formats_are_recommended_on_their_own_and_none_where_none_passes() -> None:
    rows = [
        measured("fp32", 5.0),
        measured("int8", 1.0, format_name="tflite"),
        measured("fp32", 1.0, "not recommended"),
    ]
    rows.append(measured("fp16", 1.0, "not recommended", "openvino"))
    assert {name: item.precision for name, item in recommend(rows).items()} == {"onnx": "fp32", "tflite": "int8"}


@pytest.mark.parametrize(
    ("cpu_s", "passed_s", "expected_ms"),
    [(0.009, 0.005, 5.0), (0.004, 0.012, 4.0)],
    ids=["another thread spins", "another process has the core"],
)
def test_a_graphs_time_is_neither_that_of_a_spinning_thread_nor_of_another_process(
    monkeypatch: pytest.MonkeyPatch, cpu_s: float, passed_s: float, expected_ms: float
) -> None:
    """Clocks of our own that move while the graph runs, and only then."""
    network = make_network()
    template, search = TorchSession(network, "template"), TorchSession(network, "search")
    now = {"cpu": 0.0, "passed": 0.0}
    run = search.run

    def running(feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        now["cpu"] += cpu_s
        now["passed"] += passed_s
        return run(feeds)

    monkeypatch.setattr(search, "run", running)
    monkeypatch.setattr("siamedge.export.verification.tensors.time.process_time", lambda: now["cpu"])
    monkeypatch.setattr("siamedge.export.verification.tensors.time.perf_counter", lambda: now["passed"])
    assert search_latency_ms(template, search, make_crops()) == pytest.approx(expected_ms)
