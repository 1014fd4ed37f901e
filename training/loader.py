"""Batches made ahead of time in other processes, in an order that does not depend on how many."""

import signal
from collections.abc import Iterator, Sequence
from typing import Any, cast

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from siamedge.training.pairs import Batch, PairMaker
from siamedge.training.teacher import Teacher


class _Batches(Dataset[Batch]):
    def __init__(self, maker: PairMaker, starts: Sequence[int], size: int, teacher: Teacher | None) -> None:
        self._maker, self._starts, self._size, self._teacher = maker, starts, size, teacher

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> Batch:
        if index >= len(self._starts):
            raise IndexError(index)
        batch = self._maker.batch(self._starts[index], self._size)
        return batch if self._teacher is None else batch._replace(view=self._teacher.view(*batch[:3]))


def batches(
    maker: PairMaker, starts: Sequence[int], size: int, workers: int, teacher: Teacher | None = None
) -> Iterator[Batch]:
    """Make one batch for each start, in order.

    Args:
        maker: Makes pairs.
        starts: Number of each batch's first pair.
        size: Pairs in a batch.
        workers: Processes, forked so that they share the crops; 0 for none.
        teacher: Adds its view to every batch.
    """
    dataset = _Batches(maker, starts, size, teacher)
    if not workers:
        return iter(dataset)
    loader = DataLoader(
        dataset,
        batch_size=None,
        num_workers=workers,
        multiprocessing_context="fork",
        prefetch_factor=6,
        collate_fn=_unchanged,
        worker_init_fn=_single_threaded,
    )
    return cast("Iterator[Batch]", iter(loader))


def _unchanged(batch: Any) -> Any:
    return batch


def _single_threaded(_: int) -> None:
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group; the training process saves, then ends us
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
