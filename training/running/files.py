"""The files that a training run leaves in its folder."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from siamedge.runtime.errors import PlaceError
from siamedge.training.running.csv_log import drop_later_rows


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
    def fixed(self) -> Path:
        """What the weights made of the fixed pairs, at each look."""
        return self.out / "fixed.csv"

    @property
    def checkpoint(self) -> Path:
        """All that the run needs to go on."""
        return self.out / "checkpoint.pt"

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep the folder, which is there, from other processes that train.

        Raises:
            PlaceError: Another one has it.
        """
        with (self.out / "lock").open("w") as lock:
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock not passed on to the workers
            except (BlockingIOError, PermissionError) as error:
                raise PlaceError(
                    f"{self.out}: another `siamedge train` is under way there",
                    hint="wait for it, or choose another --out",
                ) from error
            yield

    def rewind(self, pairs: int) -> None:
        """Drop what the logs say of the time after so many pairs: a run that goes on from there says it again."""
        for log in (self.log, self.fixed):
            drop_later_rows(log, pairs)

    def start_anew(self) -> None:
        """Delete the logs of a run before."""
        for log in (self.log, self.fixed):
            log.unlink(missing_ok=True)
