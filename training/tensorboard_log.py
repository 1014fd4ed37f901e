"""Losses for TensorBoard, where it is installed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from siamedge.runtime.errors import ExportError
from siamedge.training.running.checkpoints import load_checkpoint
from siamedge.training.running.files import RunFiles

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
def open_log(out: Path | None) -> Iterator[ScalarLog | None]:
    """Open a log in a folder's `tensorboard`; without a folder give None.

    TensorBoard hides what was written there for the time after the folder's checkpoint.

    Raises:
        ExportError: TensorBoard is not installed, or the checkpoint is damaged.
    """
    if out is None:
        yield None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ExportError("--tensorboard needs tensorboard", hint="pip install 'siamedge[tensorboard]'") from error
    checkpoint = load_checkpoint(RunFiles(out).checkpoint)
    purge_step = 0 if checkpoint is None else checkpoint.pairs + 1
    with SummaryWriter(str(out / "tensorboard"), purge_step=purge_step) as writer:
        yield ScalarLog(writer)
