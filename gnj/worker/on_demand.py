"""A worker that is there only while there is something for it."""

from __future__ import annotations

import math
import time

from gnj.worker.handlers import Handlers
from gnj.worker.source import QueueSource
from gnj.worker.worker import Worker


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
