"""Systems for which a release can be made without asking a device."""

from collections.abc import Mapping
from typing import NamedTuple

from siamedge.devices.boards.capabilities import PythonFound
from siamedge.devices.boards.profiles import profile_named
from siamedge.devices.flashing.preflight import Fit, usable
from siamedge.devices.releases.wheelhouse import Platform
from siamedge.runtime.errors import DeviceError


class System(NamedTuple):
    """A system release with its own Python.

    Attributes:
        title: For people.
        python: Its /usr/bin/python3.
        glibc: Its C library.
    """

    title: str
    python: tuple[int, int]
    glibc: tuple[int, int]


SYSTEMS: Mapping[str, System] = {
    "bookworm": System("Raspberry Pi OS or Debian 12", (3, 11), (2, 36)),
    "trixie": System("Raspberry Pi OS or Debian 13", (3, 13), (2, 41)),
    "jetpack6": System("JetPack 6 (Ubuntu 22.04)", (3, 10), (2, 35)),
    "jetpack7": System("JetPack 7 (Ubuntu 24.04)", (3, 12), (2, 39)),
    "jammy": System("Ubuntu 22.04", (3, 10), (2, 35)),
    "noble": System("Ubuntu 24.04", (3, 12), (2, 39)),
}
"""By name on the command line."""


def assume(board: str, system: str, formats: tuple[str, ...], wanted: tuple[str, ...] = ()) -> tuple[Fit, Platform]:
    """How a board with a system will fit, and its platform, from tables alone.

    Raises:
        DeviceError: The board or the system is unknown, or no backend fits.
    """
    profile = profile_named(board)
    if profile is None:
        raise DeviceError(f"board {board!r} is unknown", hint="--board pi5, for example; docs/devices.md lists them")
    if system not in SYSTEMS:
        raise DeviceError(f"system {system!r} is unknown", hint=f"--system {', '.join(SYSTEMS)}")
    row = SYSTEMS[system]
    machine = "x86_64" if profile.family in ("x86-64", "intel-npu") else "aarch64"
    choices, notes = usable(profile, machine, row.glibc, formats, wanted)
    if not choices:
        raise DeviceError(
            f"no backend of {board} fits {system} and this bundle: {'; '.join(notes)}",
            hint="export more --formats, or take another of the --backends",
        )
    python = PythonFound("/usr/bin/python3", (*row.python, 0), "cpython", 64)
    found = Fit(profile, python, choices, "system", sudo=False, base="/opt/siamedge", notes=notes)
    return found, Platform(python.tag, machine, row.glibc)
