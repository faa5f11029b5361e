"""A worker that is there only while there is something for it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from gnj.queue.model import Job
from gnj.queue.service import Queue
from gnj.worker.context import Context
from gnj.worker.handlers import Handlers
from gnj.worker.source import QueueSource
from gnj.worker.worker import Worker

_PROMOTED: Final = 100
"""Jobs whose time has come that are made ready with one look."""


class OnDemand:
    """Starts a worker when there is work, and stops it a while after there was.

    Args:
        source: Where jobs come from.
        handlers: What runs them.
        concurrency: How many at once; greater than 0.
    """

    def __init__(self, source: QueueSource, handlers: Handlers, concurrency: int) -> None:
        self._source = source
        self._handlers = handlers
        self._concurrency = concurrency
        self._worker: Worker | None = None
        self._last = -math.inf

    def _tend(self, linger: float, *, wanted: bool) -> None:
        """To be called again and again: whether there is work now, and for how many seconds the worker stays after there was."""
        now = time.monotonic()
        if wanted:
            self._last = now
        if now - self._last >= linger:
            self._stop(0)
        elif self._worker is None:
            worker = Worker(self._source, self._handlers, concurrency=self._concurrency)
            worker.start()
            self._worker = worker

    def _stop(self, grace: float) -> None:
        """Stops the worker, if there is one; its handlers have `grace` seconds to end."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop(grace)


class Counted(Handlers):
    """Handlers of which it is known how many run."""

    def __init__(self) -> None:
        super().__init__()
        self.running = 0
        self._counting = threading.Lock()

    def register(self, type: str, fn: Callable[..., Any], **policy: Any) -> None:
        """See `Handlers.register`. `fn` takes `(job, ctx)`."""

        def counted(job: Job, ctx: Context) -> Any:
            self._count(1)
            try:
                return fn(job, ctx)
            finally:
                self._count(-1)

        super().register(type, counted, **policy)

    def _count(self, number: int) -> None:
        with self._counting:
            self.running += number


def is_ready(queue: Queue, types: Sequence[str]) -> bool:
    """Whether a job of these types is ready. What was lost is taken back first, and what is due made ready."""
    if queue.storage.promote(_PROMOTED):
        queue.wake.set()
    queue.reap()
    with queue.storage.begin(write=False) as tx:
        return any(tx.lane(type, None, 1) for type in types)
