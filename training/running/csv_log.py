"""Rows of figures, appended to a CSV file while a run goes on."""

import csv
from collections.abc import Mapping
from pathlib import Path

from siamedge.runtime.places import write_whole


def append_row(path: Path, row: Mapping[str, float]) -> None:
    """Add a row, with a heading if the file is new; whole numbers stay what they are, others have six digits."""
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        if is_new:
            writer.writeheader()
        writer.writerow({name: value if isinstance(value, int) else f"{value:.6g}" for name, value in row.items()})


def drop_later_rows(path: Path, pairs: int) -> None:
    """Keep the rows of at most so many pairs, which stand in the first column, and of these the whole ones."""
    if not path.is_file():
        return
    with path.open(newline="", encoding="utf-8") as file:
        heading, *rows = file.readlines() or [""]
    kept = [row for row in rows if row.endswith("\n") and float(row.partition(",")[0]) <= pairs]
    write_whole(path, "".join([heading, *kept]).encode())
