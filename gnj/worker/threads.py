"""Where handlers run: threads of our own for sync ones, one event loop for async ones.

Threads of `concurrent.futures` are joined when the interpreter exits, so a handler that never returns would keep its
process alive for ever. These are daemons.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

logger = logging.getLogger("gnj.worker")


def join(thread: threading.Thread, until: float) -> bool:
    """Waits for the end of `thread`, not beyond `until` (`time.monotonic`) nor for the caller's own; whether it ended."""
    if thread is not threading.current_thread():
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

    async def hop(self, task: Callable[[], T]) -> T:
        """Runs `task` on a thread while the event loop goes on; what it returns or raises."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def attempt() -> Callable[[], None]:
            try:
                result = task()
            except BaseException as error:  # noqa: BLE001 - it is raised again where it is waited for
                failure = error
                return lambda: future.set_exception(failure)
            return lambda: future.set_result(result)

        def deliver(tell: Callable[[], None]) -> None:
            if not future.done():  # a cancelled handler does not wait any more
                tell()

        def then(tell: Callable[[], None]) -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(deliver, tell)

        self.run(attempt, then)
        return await future

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


class Coroutines:
    """One daemon thread with an event loop.

    Args:
        name: The name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._closing = False
        self._finished = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def run(self, start: Callable[[], Coroutine[Any, Any, T]], then: Callable[[T | None], None]) -> Callable[[], None]:
        """Runs the coroutine that `start` makes, and `then`, on the loop's thread, with what it returned.

        It must not raise, but may be cancelled: by the function this returns, which any thread may call. Cancelled before
        it began, it returns None.
        """
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            task = self._loop.create_task(start())
            task.add_done_callback(lambda task: then(None if task.cancelled() else task.result()))
            tasks.append(task)

        def cancel() -> None:
            for task in tasks:
                task.cancel()

        self._loop.call_soon_threadsafe(begin)
        return lambda: self._tell(cancel)

    def close(self, until: float) -> None:
        """Cancels what still runs, and ends the loop and its thread; returns at `until` whether it has or not."""
        self._tell(lambda: self._begin_to_finish(until))
        join(self._thread, until)

    def _tell(self, what: Callable[[], Any]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nothing is left to be told
            self._loop.call_soon_threadsafe(what)

    def _begin_to_finish(self, until: float) -> None:
        if not self._closing:
            self._closing = True
            self._finishing = self._loop.create_task(self._finish(until))  # a loop keeps no task alive by itself

    async def _finish(self, until: float) -> None:
        try:
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            for task in rest:
                task.cancel()
            if rest:
                await asyncio.wait(rest, timeout=max(0.0, until - time.monotonic()))
            await self._loop.shutdown_asyncgens()
        finally:
            self._finished = True
            self._loop.stop()

    def _work(self) -> None:
        asyncio.set_event_loop(self._loop)
        while not self._finished:
            try:
                self._loop.run_forever()
            except BaseException:  # asyncio lets SystemExit of a task that a handler made through
                logger.exception("a task of an async handler tried to end the event loop")
        self._loop.close()
