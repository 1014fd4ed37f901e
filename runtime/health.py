"""Temperature and throttling, as far as the system tells."""

from dataclasses import dataclass
from pathlib import Path

THROTTLED_BITS = 0b1110
"""Frequency capped, throttled, soft temperature limit: vcgencmd get_throttled in the Raspberry Pi documentation."""


@dataclass(frozen=True, slots=True)
class Health:
    """The machine's state at one moment.

    Attributes:
        temperature_c: Hottest thermal zone; None where none is told.
        is_throttled: The processor is slowed down now; None where it is not told.
    """

    temperature_c: float | None
    is_throttled: bool | None

    @property
    def reason(self) -> str | None:
        """Why times taken now are not valid; None if they are, as far as the system tells."""
        return "the processor is throttled" if self.is_throttled else None


def read_health(root: Path = Path("/")) -> Health:
    """Read what the system tells.

    Args:
        root: Of the file system; another one for tests.
    """
    zones = root.glob("sys/class/thermal/thermal_zone*/temp")
    degrees = [value / 1000 for value in (_number(path, 10) for path in zones) if value is not None]
    bits = _number(root / "sys/devices/platform/soc/soc:firmware/get_throttled", 16)
    return Health(max(degrees, default=None), None if bits is None else bool(bits & THROTTLED_BITS))


def _number(path: Path, base: int) -> int | None:
    try:
        return int(path.read_text(encoding="ascii").strip(), base)
    except (OSError, ValueError):
        return None
