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
        RefusedError: It was not healthy; the old release runs again.
    """
    find_release(base, release)
    with switching(base):
        before = pointed(base, "current")
        os.sync()
        point(base, "current", release)
        try:
            start(find_release(base, release) / UNIT, scope, settle_s)
        except (RefusedError, OSError) as error:
            raise RefusedError(f"release {release} {error}; {_back(base, before, scope)}") from error
        if before and before != release:
            point(base, "previous", before)


def _back(base: Path, before: str, scope: str) -> str:
    if not before:
        stop(scope)
        (base / "current").unlink()
        return "there was none before it, so nothing runs"
    point(base, "current", before)
    unit = find_release(base, before) / UNIT
    start(unit, scope, 0.0)
    return f"release {before} {'runs' if unit.is_file() else 'is on'} again"
