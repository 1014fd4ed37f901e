"""The tables of docs/results are those of the JSON files beside them: of one run, and not changed by hand."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import accuracy_table
import against_opencv
import cold_start
import large_targets
import multi_target
import networks
import outside_network
import pytest
import quantization
import start_boxes
from shared import ROOT

RESULTS = ROOT / "docs/results"


def lines_of(name: str) -> list[str]:
    """The rows of a committed table, without its head."""
    return [line for line in (RESULTS / f"{name}.md").read_text().splitlines() if line.startswith("| ")][1:]


def figures_of(name: str) -> Any:
    """What was measured, without its conditions."""
    found = json.loads((RESULTS / f"{name}.json").read_text())
    return found["measured"] if isinstance(found, dict) and "measured" in found else found


def rows_of(name: str, found: Any) -> list[str]:
    """The rows that a script makes of its figures."""
    if name == "accuracy":
        return list(accuracy_table.markdown(found["rows"]))[2:]
    if name == "start_boxes":
        return start_boxes.rows(found)
    if name == "outside_network":
        return [outside_network.row(item) for item in found]
    rows = {
        "cold_start": lambda key: [cold_start.row(key, found[key])],
        "large_targets": lambda key: [large_targets.row(key, found[key])],
        "multi_target": lambda key: [multi_target.row(key, found[key]["rounds"])],
        "quantization": lambda key: [quantization.row(key, form, item) for form, item in found[key].items()],
    }
    return [line for key in found for line in rows[name](key)]


@pytest.mark.parametrize(
    "name",
    ["accuracy", "cold_start", "large_targets", "multi_target", "outside_network", "quantization", "start_boxes"],
)
def test_a_table_is_of_the_figures_beside_it(name: str) -> None:
    assert sorted(lines_of(name)) == sorted(rows_of(name, figures_of(name)))


def test_the_race_is_of_the_figures_beside_it() -> None:
    told = {}
    for line in lines_of("against_opencv"):
        size, tracker, *_, verdict = (cell.strip() for cell in line.strip("|").split("|"))
        told.setdefault(size, {})[tracker] = verdict
    found: Mapping[str, Mapping[str, Any]] = figures_of("against_opencv")
    rows = [line for size in found for line in against_opencv.rows(size, {**found[size], "verdicts": told[size]})]
    assert sorted(lines_of("against_opencv")) == sorted(rows)


def test_the_networks_latencies_and_differences_are_those_beside_them() -> None:
    records, told = figures_of("networks"), lines_of("networks")
    expected = []
    for network in networks.CHECKPOINTS:
        for item in records[network]["measured"]:
            v = item["verification"]
            box = "-" if v["box_px"] is None else f"{v['box_px']:.2f}"
            form = f"| {network} | {v['format']} {v['precision']} |"
            expected.append((form, f"| {v['peak_agreement']:.0%} | {box} | {item['latency_ms']:.2f} | {v['verdict']}"))
    assert len(told) == len(expected)
    for line, (begins, holds) in zip(told, expected, strict=True):
        assert line.startswith(begins)
        assert holds in line


def test_every_table_has_its_figures() -> None:
    names = {path.stem for path in RESULTS.iterdir()}
    assert {path.name for path in RESULTS.iterdir()} == {
        f"{name}{suffix}" for name in names for suffix in (".json", ".md")
    }
    assert all((Path(ROOT) / "benchmarks" / f"{name}.py").is_file() for name in names)
