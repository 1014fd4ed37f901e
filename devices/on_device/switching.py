"""Switching from one release to another: the new one is healthy, or the old one runs again."""

import os
from pathlib import Path

from siamedge.devices.on_device.locks import switching
from siamedge.devices.on_device.stored import find_release, point, pointed
from siamedge.devices.on_device.units import UNIT, RefusedError, start, stop


def switch(base: Path, release: str, scope: str, settle_s: float) -> None:
    """Switch to a release and start it; if it does not come up healthy, switch back and start the old one.

    A broken connection does not stop this: it ends in one of the two states by itself.

    Raises:
        RefusedError: It was not healthy; the message says what became of the old one.
    """
    find_release(base, release)
    with switching(base):
        before = pointed(base, "current")
        os.sync()
        point(base, "current", release)
        try:
            start(find_release(base, release) / UNIT, scope, settle_s)
        except (RefusedError, OSError) as error:
            raise RefusedError(f"release {release} {error}; {_back(base, before, release, scope)}") from error
        if before and before != release:
            point(base, "previous", before)


def _back(base: Path, before: str, release: str, scope: str) -> str:
    """Undo a switch, and say what is on then."""
    if before == release:
        return "it was on before, too"
    unit = base / "releases" / before / UNIT
    try:
        if not before:
            (base / "current").unlink()
            stop(scope)
            return "there was none before it, so nothing runs"
        point(base, "current", before)
        start(unit, scope, 0.0)
    except (RefusedError, OSError) as error:
        return f"release {before} is on again, but {error}" if before else f"nothing is on, but {error}"
    return f"release {before} {'runs' if unit.is_file() else 'is on'} again"
