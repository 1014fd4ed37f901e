"""The presence fits of known weights, as benchmarks/presence_fit.py wrote them."""

from functools import cache
from pathlib import Path

from siamedge.export.families.embedded import WEIGHTS
from siamedge.runtime.backends.backend import Precision
from siamedge.runtime.bundles.records import parse
from siamedge.runtime.tracking.evidence import PresenceFit

FITS = WEIGHTS / "presence.json"
"""SHA-256 of a checkpoint to precision to fit; a precision that is not there has the fit of fp32."""


def fit_of(checkpoint_sha256: str, precision: Precision) -> PresenceFit | None:
    """The fit of a checkpoint's search artifact; None if it was never fitted."""
    fits = known_fits().get(checkpoint_sha256, {})
    return fits.get(precision, fits.get("fp32"))


@cache
def known_fits() -> dict[str, dict[str, PresenceFit]]:
    """All of FITS."""
    read: dict[str, dict[str, PresenceFit]] = read_fits(FITS)
    return read


def read_fits(path: Path) -> dict[str, dict[str, PresenceFit]]:
    """Read such a file.

    Raises:
        RecordError: It does not fit.
    """
    import json

    found: dict[str, dict[str, PresenceFit]] = parse(
        dict[str, dict[str, PresenceFit]], json.loads(path.read_text(encoding="utf-8")), ""
    )
    return found
