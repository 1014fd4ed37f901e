"""Losses for TensorBoard, where it is installed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from siamedge.runtime.errors import ExportError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from siamedge.training.job import AnyProgress


class ScalarLog:
    """Writes the losses and the learning rate over the pairs seen.

    Args:
        writer: TensorBoard's.
    """

    def __init__(self, writer: "SummaryWriter") -> None:
        self._writer = writer

    def add(self, progress: "AnyProgress") -> None:
        """Write one row of the log."""
        for name, value in progress._asdict().items():
            if name not in ("pairs", "total_pairs"):
                self._writer.add_scalar(f"train/{name}", value, progress.pairs)


@contextmanager
def open_log(out: Path | None, start: int = 0) -> Iterator[ScalarLog | None]:
    """Open a log in a folder's `tensorboard`; without a folder give None.

    Args:
        out: The run's folder, or None.
        start: TensorBoard hides what an earlier log in the folder says of so many pairs and more.

    Raises:
        ExportError: TensorBoard is not installed.
    """
    if out is None:
        yield None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ExportError("--tensorboard needs tensorboard", hint="pip install 'siamedge[tensorboard]'") from error
    with SummaryWriter(str(out / "tensorboard"), purge_step=start) as writer:
        yield ScalarLog(writer)
