"""What a run was asked to do, kept in its folder so that it can go on and say what it was."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from siamedge.runtime.bundles.records import parse
from siamedge.runtime.errors import SourceError

SCHEMA = 1
DEFAULT = "default"
"""Word for the weights that come with siamedge."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What to train.

    Attributes:
        recipe: A key of ALL_RECIPES.
        data: Recordings and folders of crops, absolute.
        init: Weights to start from: a path, absolute, "default" for those that come with siamedge, or None.
        holdout: What judges instead of training.
        pairs: Length of the run; None: the recipe's.
        teacher: The published nanotrackv3.pth, absolute, to learn from too, or None.
    """

    recipe: str
    data: tuple[str, ...] = ()
    init: str | None = None
    holdout: tuple[str, ...] = ()
    pairs: int | None = None
    teacher: str | None = None

    def save(self, out: Path) -> None:
        """Write run.json into a folder."""
        text = json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2, sort_keys=True)
        (out / "run.json").write_text(text + "\n", encoding="utf-8")


def load_settings(out: Path) -> Settings:
    """Read the run.json of a folder.

    Raises:
        SourceError: There is none, or it cannot be read.
    """
    path = out / "run.json"
    if not path.is_file():
        raise SourceError(f"{out}: no run to resume", hint="leave --resume away to start one")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("schema") != SCHEMA:
            raise SourceError(f"{path}: written by another siamedge", hint="start the run again in another --out")
        settings: Settings = parse(Settings, values, "")
        return settings
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SourceError(f"{path}: cannot be read: {error}", hint="start the run again in another --out") from error
