"""Records survive JSON unchanged, and whatever does not fit is named with its place."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from bundles import make_manifest
from hypothesis import given, settings
from hypothesis import strategies as st

from siamedge.runtime.bundles.manifest import Manifest, SiamFCTrackerEntry
from siamedge.runtime.bundles.records import RecordError, from_json, to_json
from siamedge.runtime.tracking.params import SiamFCParams


@dataclass(frozen=True, slots=True)
class Numbers:
    whole: int
    real: float
    pair: tuple[int, float]
    maybe: float | None = None


def changed(*path: str | int, value: Any) -> str:
    """The tiny manifest's JSON with one value replaced (or added)."""
    tree = json.loads(to_json(make_manifest()))
    spot = tree
    for key in path[:-1]:
        spot = spot[key]
    spot[path[-1]] = value
    return json.dumps(tree)


def message_of(text: str | bytes, kind: type = Manifest) -> str:
    with pytest.raises(RecordError) as caught:
        from_json(kind, text)
    return str(caught.value)


def test_a_manifest_survives_a_round_trip() -> None:
    manifest = make_manifest()
    siamfc = manifest._replace(tracker=SiamFCTrackerEntry("siamfc", "siamfc-alexnet", SiamFCParams()))
    assert from_json(Manifest, to_json(manifest)) == manifest
    assert from_json(Manifest, to_json(siamfc)) == siamfc


def test_keys_are_sorted_and_the_last_line_ends() -> None:
    text = to_json(make_manifest())
    tree = json.loads(text)
    assert text == json.dumps(tree, indent=1, sort_keys=True) + "\n"


@settings(deadline=None)
@given(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.none() | st.floats(-1e300, 1e300))
def test_every_number_survives_exactly(whole: int, real: float, maybe: float | None) -> None:
    record = Numbers(whole, real, (whole, real), maybe)
    assert from_json(Numbers, to_json(record)) == record


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed("colour", value=1), "unknown key 'colour'"),
        (changed("tracker", "params", "lrr", value=1), "tracker.params: unknown key 'lrr'"),
        (changed("artifacts", 1, "files", 0, "size", value=1), "artifacts[1].files[0]: unknown key 'size'"),
        (changed("name", value=7), "name: expected a text, found '7'"),
        (
            changed("artifacts", 0, "role", value="head"),
            "artifacts[0].role: expected one of template, search, found 'head'",
        ),
        (changed("artifacts", value={}), "artifacts: expected a list, found '{}'"),
        (
            changed("artifacts", 0, "inputs", 0, "shape", 1, value=1.5),
            "artifacts[0].inputs[0].shape[1]: expected an integer, found '1.5'",
        ),
        (
            changed("artifacts", 0, "inputs", 0, "zero_point", value=True),
            "artifacts[0].inputs[0].zero_point: expected an integer, found 'True'",
        ),
        (changed("tracker", "params", "lr", value="fast"), "tracker.params.lr: expected a number, found 'fast'"),
        (changed("tracker", "params", "lr", value=False), "tracker.params.lr: expected a number, found 'False'"),
        (changed("tracker", "family", value="kcf"), "tracker.family: expected one of anchor-free, found 'kcf'"),
        (changed("recommended", value=[]), "recommended: expected an object, found '[]'"),
        (
            changed("verification", 0, "differences", "cls", value=None),
            "verification[0].differences.cls: expected an object, found 'None'",
        ),
        ("[]", "expected an object, found '[]'"),
    ],
)
def test_what_does_not_fit_is_named(text: str, message: str) -> None:
    assert message_of(text) == message


def test_a_missing_key_is_named() -> None:
    tree = json.loads(to_json(make_manifest()))
    del tree["provenance"]["tools"]
    assert message_of(json.dumps(tree)) == "provenance: missing key 'tools'"


@pytest.mark.parametrize(("written", "shown"), [("NaN", "nan"), ("Infinity", "inf"), ("1e999", "inf")])
def test_a_number_that_is_not_finite_is_refused(written: str, shown: str) -> None:
    text = to_json(make_manifest()).replace('"lr": 0.4', f'"lr": {written}')
    assert message_of(text) == f"tracker.params.lr: expected a finite number, found '{shown}'"


def test_a_whole_number_too_large_for_a_float_is_refused() -> None:
    text = to_json(make_manifest()).replace('"lr": 0.4', f'"lr": 1{"0" * 400}')
    assert message_of(text).startswith("tracker.params.lr: expected a finite number, found '1000")


@pytest.mark.parametrize("text", ["", "{", "\xff", b"\xff\xfe\x00", "[" * 100_000, '{"schema": 1'])
def test_text_that_is_no_json_is_refused(text: str | bytes) -> None:
    assert message_of(text).startswith("is not JSON: ")


def test_a_tuple_of_fixed_length_keeps_it() -> None:
    assert message_of('{"whole": 1, "real": 2, "pair": [1]}', Numbers) == "pair: expected 2 values, found '[1]'"
