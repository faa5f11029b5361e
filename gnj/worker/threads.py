"""Where sync handlers run: threads of our own.

Threads of `concurrent.futures` are joined when the interpreter exits, so a handler that never returns would keep its
process alive for ever. These are daemons.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


def join(thread: threading.Thread, until: float) -> bool:
    """Waits for the end of `thread`, not beyond `until` (`time.monotonic`) nor for the caller's own; whether it ended."""
    if thread.is_alive() and thread is not threading.current_thread():
        thread.join(max(0.0, until - time.monotonic()))
    return not thread.is_alive()


class Threads:
    """Daemon threads, started when none is idle and reused; as many as are busy at once, for the caller bounds that.

    Args:
        name: Begins the names of the threads.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._tasks: SimpleQueue[tuple[Callable[[], Any], Callable[[Any], None]] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._busy: set[threading.Thread] = set()
        self._idle = 0
        """Threads that wait and that no queued task is meant for."""

    def run(self, task: Callable[[], T], then: Callable[[T], None]) -> None:
        """Runs `task` on a thread, and `then` with what it returned. Neither may raise.

        The thread is free again before `then` is called, so that what `then` sets off finds it.
        """
        with self._lock:
            if self._idle:
                self._idle -= 1
            else:
                thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads) + 1}", daemon=True)
                thread.start()
                self._threads.append(thread)
            self._tasks.put((task, then))

    def close(self, until: float) -> None:
        """Ends the threads; waits for the idle ones, not beyond `until`. A busy one ends when its task does."""
        with self._lock:
            threads, busy = list(self._threads), set(self._busy)
            for _ in threads:
                self._tasks.put(None)
        for thread in threads:
            if thread not in busy:
                join(thread, until)

    def _work(self) -> None:
        me = threading.current_thread()
        while (item := self._tasks.get()) is not None:
            task, then = item
            with self._lock:
                self._busy.add(me)
            # What one job sets in a context variable is nothing to the next one.
            result = contextvars.copy_context().run(task)
            with self._lock:
                self._busy.discard(me)
                self._idle += 1
            then(result)
            del item, task, then, result  # an idle thread holds on to nothing
