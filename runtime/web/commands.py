"""Commands for the tracking thread from the others, which it runs between two frames."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswerError  # its own kind before Python 3.11
from typing import TypeVar

from siamedge.runtime.errors import SourceError

T = TypeVar("T")
COMMAND_TIMEOUT_S = 15.0


class Commands:
    """What is asked of the tracking thread; that thread calls run_all and wait, the others do and wake."""

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._woken = threading.Event()

    def do(self, command: Callable[[], T]) -> T:
        """Run something between two frames and wait for its result; what it raises is raised here.

        Raises:
            SourceError: The tracking thread does not answer.
        """
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(command())
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to who asked; tracking goes on
                done.set_exception(error)

        self._asked.put(run)
        self.wake()
        try:
            return done.result(COMMAND_TIMEOUT_S)
        except NoAnswerError as error:
            raise SourceError(f"the tracker did not answer within {COMMAND_TIMEOUT_S:g} s") from error

    def wake(self) -> None:
        """End the tracking thread's waiting."""
        self._woken.set()

    def run_all(self) -> None:
        """Run what was asked."""
        self._woken.clear()
        while not self._asked.empty():
            self._asked.get()()

    def wait(self) -> None:
        """Wait for a command, but not longer than a second."""
        self._woken.wait(1.0)
