"""Hands sequences to this process, to several processes (joblib) or to a Dask cluster."""

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Rows
from functools import partial
from importlib import import_module
from typing import TypeVar

from siamedge.runtime.errors import SourceError

Task = TypeVar("Task")
Answer = TypeVar("Answer")


def run_all(
    function: Callable[[Task], Answer], tasks: Rows[Task], *, jobs: int = 1, dask: str | None = None
) -> Iterator[tuple[int, Answer]]:
    """Run a function over tasks and give each answer with the task's position, as they become ready.

    Args:
        function: Picklable where it runs in other processes.
        tasks: Picklable likewise.
        jobs: Processes on this machine; -1: one a core.
        dask: Address of a Dask scheduler; it is used instead of processes.

    Raises:
        SourceError: The library that was asked for is missing, or there is no scheduler at the address.
    """
    work = partial(_indexed, function)
    pairs = list(enumerate(tasks))
    if dask is not None:
        yield from _on_cluster(work, pairs, dask)
    elif jobs == 1 or len(pairs) < 2:
        yield from map(work, pairs)
    else:
        yield from _in_processes(work, pairs, jobs)


def _indexed(function: Callable[[Task], Answer], pair: tuple[int, Task]) -> tuple[int, Answer]:
    return pair[0], function(pair[1])


def _in_processes(
    work: Callable[[tuple[int, Task]], tuple[int, Answer]], pairs: list[tuple[int, Task]], jobs: int
) -> Iterator[tuple[int, Answer]]:
    try:
        joblib = import_module("joblib")
    except ImportError as error:
        raise SourceError("--jobs needs joblib", hint="pip install 'siamedge[eval]', or use --jobs 1") from error
    parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
    yield from parallel(joblib.delayed(work)(pair) for pair in pairs)


def _on_cluster(
    work: Callable[[tuple[int, Task]], tuple[int, Answer]], pairs: list[tuple[int, Task]], address: str
) -> Iterator[tuple[int, Answer]]:
    if not address.rpartition(":")[2].isdecimal():  # Dask says so too, but prints a traceback of its own after it
        raise SourceError(f"{address!r}: no address of a Dask scheduler", hint="--dask tcp://HOST:PORT")
    try:
        distributed = import_module("distributed")
    except ImportError as error:
        raise SourceError("--dask needs dask and distributed", hint="pip install 'siamedge[dask]'") from error
    try:
        client = distributed.Client(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise SourceError(f"no Dask scheduler at {address}: {error}", hint="start one with `dask scheduler`") from error
    with client:
        futures = [client.submit(work, pair, pure=False) for pair in pairs]
        for future in distributed.as_completed(futures, loop=client.loop):
            yield future.result()
