"""The table of accuracy.py: its rows, those that stand in a file already, and its lines."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from siamedge.export.evaluation.bootstrap import Estimate
from siamedge.export.evaluation.sequences import Sequence
from siamedge.runtime.errors import PlaceError

Row = dict[str, object]
"""A tracker's figures, or its error, as in the JSON file."""
HEADER = (
    "tracker",
    "backend",
    "precision",
    "AUC [95 %]",
    "target present",
    "precision at 20 px",
    "AUC minus fp32 [95 %]",
    "note",
)


def rows_before(output: Path, dataset: str, sequences: tuple[Sequence, ...]) -> list[Row]:
    """The rows that stand in --output already.

    Raises:
        PlaceError: They are of other sequences.
    """
    kept = output.with_name(f"{output.name}.json")
    if not kept.exists():
        return []
    found = json.loads(kept.read_text())
    names = {item.name for item in sequences}
    if found["dataset"] != dataset or any(set(item.get("auc_by_sequence", names)) != names for item in found["rows"]):
        raise PlaceError(
            f"{kept}: holds figures of {found['dataset']}, which are of other sequences than those of {dataset}",
            hint="choose another --output",
        )
    return list(found["rows"])


def merged(before: list[Row], rows: list[Row]) -> list[Row]:
    """Put new rows where the same tracker, backend and precision stood, else at the end; figures outlive an error."""
    table = {tuple(item[key] for key in HEADER[:3]): item for item in before}
    for item in rows:
        key = tuple(item[key] for key in HEADER[:3])
        if key in table and "error" in item:
            print(f"{' '.join(map(str, key))} keeps its row: {item['error']}", file=sys.stderr)
        else:
            table[key] = item
    return list(table.values())


def markdown(rows: list[Row]) -> Iterator[str]:
    yield f"| {' | '.join(HEADER)} |"
    yield "|" + "---|" * len(HEADER)
    for found in rows:
        yield f"| {' | '.join(cells(found))} |"


def cells(found: Row) -> list[str]:
    first = [str(found[key]) for key in ("tracker", "backend", "precision")]
    scores, gap = found.get("scores"), found.get("minus_fp32")
    if not isinstance(scores, dict):
        return [*first, "", "", "", "", str(found["error"])]
    auc, precision = Estimate(**scores["auc"]), Estimate(**scores["precision_20px"])
    present = f"{found['auc_present']:.3f}"
    change = interval(Estimate(**gap), "+") if isinstance(gap, dict) else ""
    return [*first, interval(auc, ""), present, f"{precision.value:.3f}", change, ""]


def interval(found: Estimate, sign: str) -> str:
    return f"{found.value:{sign}.3f} [{found.low:{sign}.3f}, {found.high:{sign}.3f}]"
