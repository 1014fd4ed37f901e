"""Uncertainty, charts, the comparison page and the command line."""

import json
import math
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from siamedge.export.evaluation.bootstrap import difference, estimate, resampled
from siamedge.export.evaluation.charts import HEIGHT, WIDTH, Chart, Line, to_png, to_svg
from siamedge.export.evaluation.conventions import CONVENTIONS, Metric
from siamedge.export.evaluation.datasets import open_dataset
from siamedge.export.evaluation.evaluation import Order, evaluate
from siamedge.export.evaluation.outputs import score
from siamedge.export.evaluation.specs import TrackerSpec
from siamedge.export.evaluation.terms import Ratio, Terms, mean_curve

sys.path.insert(0, str(Path(__file__).parent))
from scenes import write_scene

FIRST = Metric("curve", (0, 1), "first")


def terms_of(values: list[float]) -> list[Terms]:
    return [{"curve": mean_curve(np.array([number]))} for number in values]


def test_the_standard_error_of_a_mean_is_that_of_the_textbook() -> None:
    values = np.random.default_rng(3).uniform(0, 1, 60)
    found = estimate(terms_of(list(values)), FIRST)
    assert found.value == pytest.approx(values.mean())
    assert found.standard_error == pytest.approx(values.std() / math.sqrt(60), rel=0.03)
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / math.sqrt(60), rel=0.05)


def test_the_interval_of_a_share_is_that_of_the_binomial_distribution() -> None:
    """Half of a hundred: 40 or fewer have a probability of .028 and 39 or fewer one of .018, as have 60 and 61."""
    found = estimate(terms_of([0.0, 1.0] * 50), FIRST)
    assert (found.low, found.high) == pytest.approx((0.40, 0.60))


def test_a_score_that_is_the_mean_of_a_curve_is_so_in_every_draw() -> None:
    """Two bins that always add up to 1 have a mean without any spread."""
    terms: list[Terms] = [{"curve": mean_curve(np.array([share, 1 - share]))} for share in (0.1, 0.4, 0.9)]
    found = estimate(terms, Metric("curve", (0, 2), "both"))
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
    assert found.standard_error == pytest.approx(0, abs=1e-12)


def test_a_pooled_score_is_resampled_as_sums_and_not_as_a_mean_of_means() -> None:
    terms: list[Terms] = [
        {"curve": Ratio(np.array([90.0]), np.array([100.0]))},
        {"curve": Ratio(np.array([0.0]), np.array([1.0]))},
    ]
    found = estimate(terms, FIRST)
    assert found.value == pytest.approx(90 / 101)
    draws_hold = {0.9, 90 / 101, 0.0}
    assert found.low in draws_hold
    assert found.high in draws_hold


def test_paired_differences_vary_less_than_the_scores() -> None:
    rng = np.random.default_rng(5)
    base = rng.uniform(0, 1, 40)
    shift = rng.normal(0.02, 0.005, 40)
    found = difference(terms_of(list(base + shift)), terms_of(list(base)), FIRST)
    alone = estimate(terms_of(list(base)), FIRST)
    assert found.value == pytest.approx(shift.mean())
    assert found.standard_error == pytest.approx(shift.std() / math.sqrt(40), rel=0.05)
    assert found.standard_error < alone.standard_error / 10
    assert found.low > 0


def test_equal_runs_have_no_difference_at_all() -> None:
    terms = terms_of([0.1, 0.5, 0.8])
    found = difference(terms, terms, FIRST)
    assert (found.value, found.standard_error, found.low, found.high) == (0, 0, 0, 0)


def test_intervals_are_the_same_every_time_and_missing_for_one_sequence() -> None:
    terms = terms_of([0.1, 0.5, 0.8])
    assert estimate(terms, FIRST) == estimate(terms, FIRST)
    assert math.isnan(estimate(terms[:1], FIRST).low)
    draws = resampled(terms, FIRST, 1234, seed=5)
    assert draws.shape == (1234,)
    assert np.array_equal(draws, resampled(terms, FIRST, 1234, seed=5))
    assert not np.array_equal(draws, resampled(terms, FIRST, 1234, seed=6))


def chart() -> Chart:
    ticks = np.linspace(0, 1, 5)
    return Chart("A <b> & c", "threshold", ticks, [Line("falls", 1 - ticks), Line("half", np.full(5, 0.5))])


def test_a_chart_as_svg_is_xml_with_a_line_for_each_curve_at_its_place() -> None:
    root = ET.fromstring(to_svg(chart()))
    space = "{http://www.w3.org/2000/svg}"
    lines = [item for item in root.iter(f"{space}polyline") if item.get("stroke-width") == "2.2"]
    assert len(lines) == 2
    heights = [float(point.split(",")[1]) for point in str(lines[1].get("points")).split()]
    tops = [float(point.split(",")[1]) for point in str(lines[0].get("points")).split()]
    assert heights == pytest.approx([(tops[0] + tops[-1]) / 2] * 5)
    assert "A <b> & c" in [item.text for item in root.iter(f"{space}text")]


def test_a_chart_as_png_has_its_colours_where_the_curves_are() -> None:
    picture = cv2.imdecode(np.frombuffer(to_png(chart()), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (2 * HEIGHT, 2 * WIDTH, 3)
    middle = picture[:, WIDTH // 2 * 3 // 2]
    assert (np.abs(middle.astype(int) - (91, 73, 209)).sum(axis=1) < 30).any(), "the second curve's red"


def evaluated(folder: Path) -> list[str]:
    for number in range(3):
        write_scene(folder / "data" / f"s{number}", seed=number)
    return [
        sys.executable,
        "-c",
        "from siamedge.cli.main import main; main()",
        "eval",
        "identity",
        str(folder / "data"),
    ]


class Links(HTMLParser):
    """Collects everything that a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_loads_nothing_and_holds_the_numbers(tmp_path: Path) -> None:
    for number in range(3):
        write_scene(tmp_path / "data" / f"s{number}", seed=number)
    sequences = open_dataset(tmp_path / "data")
    spec = TrackerSpec("identity")
    evaluate(Order(spec, sequences, "one-pass", tmp_path / "other"))
    order = Order(spec, sequences, "one-pass", tmp_path / "out")
    outcome = score(order, "otb", evaluate(order), [tmp_path / "other"])
    page = outcome.html()
    links = Links()
    links.feed(page)
    assert (links.found, links.open) == ([], [])
    assert "url(" not in page
    assert "@import" not in page
    assert f"{outcome.report.scores['auc'].value:.3f}" in page
    assert all(name in page for name in ("s0", "s1", "s2", f"identity in {tmp_path / 'other'}"))


def test_the_command_prints_json_and_keeps_stdout_clean(tmp_path: Path) -> None:
    command = [*evaluated(tmp_path), "-o", str(tmp_path / "out"), "--json", "--html", str(tmp_path / "page.html")]
    first = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert first.stderr == ""
    content = json.loads(first.stdout)
    assert set(content["scores"]) == set(CONVENTIONS["otb"].metrics)
    assert (tmp_path / "page.html").is_file()
    assert first.stdout == (tmp_path / "out" / "otb" / "scores.json").read_text()
    for name in ("success.svg", "success.png", "precision.svg", "precision.png"):
        assert (tmp_path / "out" / "otb" / name).is_file()
    second = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert second.stdout == first.stdout, "taken up again"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--convention", "vot"], 1, "siamedge: unknown convention 'vot'\n  try: choose one of otb, got10k"),
        (["--realtime", "0"], 2, "0.0 frames a second"),
        (["--realtime", "30", "--realtime-rule", "loose"], 2, "'loose': choose stream or vot-toolkit"),
        (["--realtime", "30", "--jobs", "2"], 1, "latencies cannot be measured while several sequences run at once"),
        (["--against", "nowhere"], 1, "run.json: no such run"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path: Path, options: list[str], code: int, message: str) -> None:
    command = [*evaluated(tmp_path), "-o", str(tmp_path / "out"), *options]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (found.returncode, found.stdout) == (code, "")
    assert message in found.stderr
