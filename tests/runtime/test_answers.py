"""A bundle's answers: a device that computes the same passes; one that computes something else is told and not used."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import Run

from siamedge.devices.boards.profiles import Choice
from siamedge.devices.on_device import check
from siamedge.export.bundles.packing import entry_of, write_bundle
from siamedge.runtime.backends.backend import Format, Precision
from siamedge.runtime.bundles.answers import ANSWERS, Answers, check_answers, read_answers
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.bundles.picking import Candidate, load_sessions
from siamedge.runtime.errors import BackendError, BundleError

KIND: tuple[Format, Precision] = ("onnx", "fp32")
CHOICE = Candidate("onnxruntime", "fp32", "CPU", "")
HINT = "export the bundle again with this siamedge, or use another precision"
ELSEWHERE = "onnx-fp32 computes something else here than where it was exported: "
Maps = dict[str, np.ndarray]


def read(bundle: Path) -> Answers:
    answers = read_answers(Bundle.open(bundle))
    assert answers is not None
    return answers


def with_content(bundle: Path, out: Path, content: bytes | None) -> Path:
    """A copy of a bundle with another file of answers, or none."""
    manifest = Bundle.open(bundle).manifest
    files = {entry.path: (bundle / entry.path).read_bytes() for entry in manifest.files if entry.path != ANSWERS}
    documents = () if content is None else (entry_of(ANSWERS, content),)
    write_bundle(out, manifest._replace(documents=documents), files if content is None else {**files, ANSWERS: content})
    return out


def changed(bundle: Path, out: Path, change: Callable[[Maps], None]) -> Path:
    """A copy of a bundle that was exported where something else was computed."""
    answers = read(bundle)
    maps = {key: value.copy() for key, value in answers.given.items()}
    change(maps)
    return with_content(bundle, out, replace(answers, given=maps).content)


def ask(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    check_answers(read(bundle), KIND, load_sessions(opened, CHOICE), opened.manifest.tracker.params)


def turn_scores(maps: Maps) -> None:
    maps["onnx-fp32/cls"] *= -1


def grow_boxes(factor: float) -> Callable[[Maps], None]:
    def grow(maps: Maps) -> None:
        maps["onnx-fp32/log_ltrb"] += np.float32(np.log(factor))

    return grow


def test_an_export_carries_drawn_crops_and_what_each_model_gave_for_them(default_bundle: Path) -> None:
    answers, params = read(default_bundle), Bundle.open(default_bundle).manifest.tracker.params
    assert answers.templates.shape[1:] == (params.template_px, params.template_px, 3)
    assert answers.searches.shape == (8, params.search_px, params.search_px, 3)
    assert {key: value.shape for key, value in answers.given.items()} == {
        "onnx-fp32/cls": (8, 1, 196),
        "onnx-fp32/log_ltrb": (8, 4, 196),
        "onnx-fp32/quality": (8, 1, 196),
        "onnx-fp32/features": (1, 64, 14, 14),
    }


def test_where_it_was_exported_a_model_gives_the_same(default_bundle: Path) -> None:
    ask(default_bundle)


def test_a_little_is_allowed(default_bundle: Path, tmp_path: Path) -> None:
    ask(changed(default_bundle, tmp_path / "a.siamedge", grow_boxes(1.0005)))


def test_boxes_that_are_elsewhere_are_told_in_pixels(default_bundle: Path, tmp_path: Path) -> None:
    """With boxes grown by a tenth of themselves each edge is off by a tenth of its distance."""
    bundle, params = Bundle.open(default_bundle), Bundle.open(default_bundle).manifest.tracker.params
    given, distances = read(default_bundle).of(KIND), []
    for maps in given:
        distances.append(params.distance_scale * np.exp(maps["log_ltrb"][:, maps["cls"][0].argmax()]))
    with pytest.raises(BackendError) as caught:
        ask(changed(bundle.path, tmp_path / "a.siamedge", grow_boxes(1.1)))
    assert str(caught.value) == f"{ELSEWHERE}boxes are {0.1 * np.mean(distances):.2f} px off, allowed 0.15"
    assert caught.value.hint == HINT


@pytest.mark.parametrize(("factor", "percent"), [(1.25, 20), (-1.0, 200)])
def test_features_that_are_others_are_told_though_peaks_and_boxes_are_the_same(
    default_bundle: Path, tmp_path: Path, factor: float, percent: int
) -> None:
    def change(maps: Maps) -> None:
        maps["onnx-fp32/features"] *= factor

    with pytest.raises(BackendError) as caught:
        ask(changed(default_bundle, tmp_path / "a.siamedge", change))
    assert str(caught.value) == f"{ELSEWHERE}features are {percent} % off, allowed 10 %"


def test_peaks_that_are_elsewhere_are_counted(default_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=f"^{ELSEWHERE}the peak is elsewhere on 8 of 8 crops"):
        ask(changed(default_bundle, tmp_path / "a.siamedge", turn_scores))


def test_a_model_that_was_not_asked_passes(default_bundle: Path, tmp_path: Path) -> None:
    ask(changed(default_bundle, tmp_path / "a.siamedge", Maps.clear))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda maps: maps.update({"onnx-fp32/cls": maps["onnx-fp32/cls"][..., :-1]}), "cls is (1, 196), was (1, 195)"),
        (lambda maps: maps.pop("onnx-fp32/log_ltrb"), "log_ltrb is (4, 196), was missing"),
        (lambda maps: maps.update({"onnx-fp32/more": maps["onnx-fp32/cls"]}), "more is missing, was (1, 196)"),
    ],
)
def test_outputs_that_are_others_are_told_and_the_next_choice_is_tried(
    default_bundle: Path, tmp_path: Path, change: Callable[[Maps], None], message: str
) -> None:
    other = changed(default_bundle, tmp_path / "b", change)
    with pytest.raises(BackendError) as caught:
        ask(other)
    assert str(caught.value) == ELSEWHERE + message
    assert caught.value.hint == HINT
    with pytest.raises(BackendError) as caught:
        check.first_that_runs(Bundle.open(other), [Choice("onnxruntime", "CPU", "fp32")] * 2, 1)
    assert str(caught.value).count(message) == 2


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", Answers(*[np.zeros(1)] * 3, {}).content[:-40]])
def test_damaged_answers_are_one_line(default_bundle: Path, tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BundleError, match=r"^a\.siamedge: answers\.npz holds no answers \("):
        read(with_content(default_bundle, tmp_path / "a.siamedge", content))


def test_tune_does_not_choose_what_computes_something_else(siamedge: Run, default_bundle: Path, tmp_path: Path) -> None:
    odd = changed(default_bundle, tmp_path / "odd.siamedge", turn_scores)
    code, out, message = siamedge("tune", odd, "--rounds", "1", "--fps", "200")
    assert (code, out) == (1, "")
    assert message.startswith("siamedge: nothing in odd.siamedge can be tuned here: ")
    assert f"onnxruntime fp32: {ELSEWHERE}the peak is elsewhere on 8 of 8 crops" in message
    plain = with_content(default_bundle, tmp_path / "plain.siamedge", None)
    assert siamedge("tune", plain, "--rounds", "1", "--fps", "200").code == 0


def test_the_health_check_of_a_flash_refuses_it(
    default_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "device.json"
    settings.write_text(json.dumps({"backends": [["onnxruntime", "CPU", "fp32"]], "threads": 1}))
    assert check.main(str(default_bundle), str(settings)) == 0
    capsys.readouterr()
    odd = changed(default_bundle, tmp_path / "odd.siamedge", turn_scores)
    assert check.main(str(odd), str(settings)) == 1
    expected = f"no backend runs the bundle: onnxruntime CPU fp32: {ELSEWHERE}the peak is elsewhere on 8 of 8 crops"
    assert capsys.readouterr().err.startswith(expected)
