"""What the arguments of `siamedge track` need of a device."""

from collections.abc import Sequence

from siamedge.devices.boards.profiles import DeviceProfile

_EXTRAS = ("web", "mqtt")
"""Of siamedge, named as the options that need them."""
_SERIAL_GROUP = "dialout"


def extras_of(track: Sequence[str]) -> tuple[str, ...]:
    """Extras of siamedge whose packages the arguments need besides a backend's."""
    given = {word.split("=")[0] for word in track}
    return tuple(extra for extra in _EXTRAS if f"--{extra}" in given)


def groups_of(track: Sequence[str], profile: DeviceProfile) -> tuple[str, ...]:
    """Groups that the service needs: the profile's, and that of serial lines if one is used."""
    return (*profile.groups, *((_SERIAL_GROUP,) if uses_serial(track) else ()))


def serves_page(track: Sequence[str]) -> bool:
    """Whether the page is served, which leaves no lines to print."""
    return any(word.split("=")[0] == "--web" for word in track)


def uses_network(track: Sequence[str]) -> bool:
    """Whether an argument names a network address or asks for the page."""
    return serves_page(track) or any("://" in word for word in track)


def uses_serial(track: Sequence[str]) -> bool:
    """Whether an argument names a serial line, such as serial:/dev/ttyUSB0."""
    return any(word.removeprefix("--pan-tilt=").startswith("serial:") for word in track)
