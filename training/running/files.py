"""The files that a training run leaves in its folder."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RunFiles:
    """Where a run of either family keeps what it makes.

    Attributes:
        out: The run's folder.
    """

    out: Path

    @property
    def weights(self) -> Path:
        """The averaged weights, safetensors; SiamFC has none before its second part."""
        return self.out / "weights.safetensors"

    @property
    def log(self) -> Path:
        """One row of progress every `log_every` steps."""
        return self.out / "log.csv"

    @property
    def checkpoint(self) -> Path:
        """All that the run needs to go on."""
        return self.out / "checkpoint.pt"
