"""Where async handlers run: one event loop on a thread of its own.

Loaded with the first async job only: `import gnj` takes 71 ms without asyncio and 91 ms with it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from gnj.worker.threads import Threads, join

T = TypeVar("T")

logger = logging.getLogger("gnj.worker")


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

        if threading.current_thread() is self._thread:  # one coroutine has ended and makes room for the next
            begin()
        else:
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


async def hop(threads: Threads, task: Callable[[], T]) -> T:
    """Runs `task` on one of `threads` while the event loop goes on; what it returns or raises."""
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

    threads.run(attempt, then)
    return await future
