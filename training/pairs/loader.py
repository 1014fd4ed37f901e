"""Batches made ahead of time in other processes, in an order that does not depend on how many."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar, cast

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

Made = TypeVar("Made")
Made_co = TypeVar("Made_co", covariant=True)
LOOK_S = 1.0
"""From one look of a worker whether its parent is there to the next."""


class Maker(Protocol[Made_co]):
    """Makes batches that depend on their number alone."""

    def batch(self, start: int, size: int) -> Made_co:
        """Make the batch of examples start .. start + size - 1."""
        ...


class _Batches(Dataset[Made]):
    def __init__(self, maker: Maker[Made], starts: Sequence[int], size: int) -> None:
        self._maker, self._starts, self._size = maker, starts, size

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> Made:
        if index >= len(self._starts):
            raise IndexError(index)
        return self._maker.batch(self._starts[index], self._size)


def batches(maker: Maker[Made], starts: Sequence[int], size: int, workers: int) -> Iterator[Made]:
    """Make one batch for each start, in order.

    Args:
        maker: Makes them.
        starts: Number of each batch's first example.
        size: Examples in a batch.
        workers: Processes, forked so that they share the crops; 0 for none.
    """
    dataset = _Batches(maker, starts, size)
    if not workers:
        return iter(dataset)
    loader = DataLoader(
        dataset,
        batch_size=None,
        num_workers=workers,
        multiprocessing_context="fork",
        prefetch_factor=6,
        collate_fn=_unchanged,
        worker_init_fn=partial(_prepare_worker, os.getpid()),
    )
    return cast("Iterator[Made]", iter(loader))


def _unchanged(batch: Any) -> Any:
    return batch


def _prepare_worker(parent: int, _: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they reach the whole group; the training process saves, then ends us
    threading.Thread(target=_end_after, args=(parent,), daemon=True).start()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def _end_after(parent: int) -> None:
    """End this process once its parent is gone: it would wait for ever to hand over a batch that nobody takes."""
    while os.getppid() == parent:
        time.sleep(LOOK_S)
    os._exit(1)
