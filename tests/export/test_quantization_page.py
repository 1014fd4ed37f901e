"""The page about the search for int8: every attempt, what each group costs, what is recommended and why."""

import pytest
from bundles import make_manifest
from html_cells import Cells

from siamedge.export.bundles.description import recommend
from siamedge.export.quantization_page import NO_SENSITIVITY, to_html
from siamedge.export.verification.tensors import Measured
from siamedge.runtime.bundles.manifest import Manifest, QuantizationTrial, Verification

EXCLUDED = (("conv0", "conv1"), ("conv<2>", "conv3"))


def trial(purpose: str, excluded: tuple[str, ...], box_px: float, *, is_chosen: bool = False) -> QuantizationTrial:
    verdict, reason = ("pass", "within budget") if box_px <= 0.5 else ("not recommended", f"boxes {box_px} px")
    floating = 1 + len(excluded)
    return QuantizationTrial(
        "onnx", "plain", "minmax", purpose, excluded, 9 - floating, floating, 2048, 0.96, box_px, verdict, reason,
        is_chosen,
    )  # fmt: skip


TRIALS = (
    trial("default", (), 0.9),
    trial("sensitivity", EXCLUDED[0], 0.8),
    trial("sensitivity", EXCLUDED[1], 0.4, is_chosen=True),
)


def searched(int8_ms: float, trials: tuple[QuantizationTrial, ...] = TRIALS) -> tuple[Manifest, tuple[Measured, ...]]:
    """A manifest with fp32 and int8 of ONNX and what was tried; the int8 graph takes so long, fp32 takes 2 ms."""
    plain = make_manifest()
    fp32 = [item for item in plain.artifacts if item.format == "onnx"]
    note = "6 of 9 convolutions and products compute in int8; in float: end, conv<2>, conv3"
    int8 = [item._replace(precision="int8", notes=note, lost_below=0.25) for item in fp32]
    found = tuple(
        Verification("onnx", precision, 500, {}, peak, box_px, "pass", "within budget")
        for precision, peak, box_px in (("fp32", 1.0, 0.0), ("int8", 0.96, 0.4))
    )
    measured = (Measured(found[0], 2.0), Measured(found[1], int8_ms))
    manifest = plain._replace(
        artifacts=(*fp32, *int8),
        verification=found,
        recommended=recommend(list(measured)),
        quantization=trials,
    )
    return manifest, measured


def test_every_attempt_and_the_choice_are_in_the_page() -> None:
    rows = Cells(to_html(*searched(1.0))).rows
    tried = [row for row in rows if row[0].startswith("plain")]
    assert [row[0] for row in tried] == ["plain", "plain", "plain (chosen)"]
    assert [row[2] for row in tried] == ["default", "sensitivity", "sensitivity"]
    assert tried[2][3:9] == ["2 products", "6 of 9", "2", "96.0%", "0.40", "-"]
    assert tried[0][-1] == "not recommended: boxes 0.9 px"


def test_what_each_group_costs_and_what_is_float_is_in_the_page_with_odd_names_escaped() -> None:
    page = Cells(to_html(*searched(1.0)))
    assert [row for row in page.rows if row[0].startswith("conv")] == [
        ["conv0, conv1", "96.0%", "0.80"],
        ["conv<2>, conv3", "96.0%", "0.40"],
    ]
    assert "6 of 9 convolutions and products compute in int8, counted in the graph. The others: \n" in page.words
    assert "\nend, conv<2>, conv3." in page.words
    assert NO_SENSITIVITY not in to_html(*searched(1.0))
    assert NO_SENSITIVITY in to_html(*searched(1.0, (TRIALS[0]._replace(chosen=True),)))


@pytest.mark.parametrize(("int8_ms", "chosen"), [(1.0, "int8"), (1.9, "fp32"), (2.4, "fp32"), (5.0, "fp32")])
def test_int8_is_recommended_only_where_it_is_a_tenth_faster(int8_ms: float, chosen: str) -> None:
    manifest, measured = searched(int8_ms)
    assert manifest.recommended["onnx"].precision == chosen
    rows = {row[0]: row for row in Cells(to_html(manifest, measured)).rows}
    assert [name for name in ("onnx fp32", "onnx int8") if rows[name][-1]] == [f"onnx {chosen}"]
    assert rows["onnx int8"][5:7] == [f"{int8_ms:.2f}", "0.250"]
    if chosen == "fp32":
        reason = "within budget; int8 not 10% faster, where it was exported"
        assert rows["onnx fp32"][-1] == f"yes: {reason}"
