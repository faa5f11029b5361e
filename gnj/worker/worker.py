"""`Worker`: runs jobs in this process until it is told to stop."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from gnj.queue.errors import InvalidInput
from gnj.queue.inputs import MAX_TYPES
from gnj.queue.service import MAX_CLAIM, Queue
from gnj.queue.values import check_int, check_seconds, shown
from gnj.worker.handlers import Handlers
from gnj.worker.loop import Loop
from gnj.worker.signals import ENDED, Inbox
from gnj.worker.source import DEFAULT_LEASE, QueueSource, Source

logger = logging.getLogger("gnj.worker")

GRACE = 25.0
"""Seconds that running handlers are given to finish: within the 30 that most supervisors wait before they kill."""


class Worker:
    """Claims jobs, calls their handlers and tells how they ended; renews its claims while they run.

    Wakes at once for work of the same process and, where the database can tell, of others.

    Args:
        source: The queue to work for. Its `policies` should be those of `handlers`.
        handlers: What runs the jobs.
        types: The types to claim; all that are registered, also later on, unless given.
        concurrency: Jobs that run at the same time at most, sync and async together.
        lease: Seconds for which a claim lasts without a sign of life; 30 unless given.
        poll: Seconds between two looks for work that nobody announced, such as delayed jobs.
        tenants: Whose jobs to claim; everybody's unless given.
        worker_id: Names this worker in its jobs; host, process and a random part unless given.

    A `Source` in place of a queue has a lease, tenants and a name of its own. Raises `InvalidInput`.
    """

    def __init__(
        self,
        source: Queue | Source,
        handlers: Handlers,
        types: Sequence[str] | None = None,
        concurrency: int = 8,
        lease: float | None = None,
        poll: float = 1.0,
        tenants: Sequence[str] | None = None,
        worker_id: str | None = None,
    ) -> None:
        if isinstance(source, Queue):
            source = QueueSource(source, worker_id, lease=DEFAULT_LEASE if lease is None else lease, tenants=tenants)
        elif (lease, tenants, worker_id) != (None, None, None):
            raise InvalidInput("a Source has a lease, tenants and a worker_id of its own: give them to it")
        if types is not None and (isinstance(types, str) or not isinstance(types, Sequence)):
            raise InvalidInput(f"types must be a list of job types, not {shown(types)}")
        self.source: Source = source
        self.handlers = handlers
        self.types = None if types is None else tuple(dict.fromkeys(types))
        self.concurrency = check_int(concurrency, "concurrency", low=1, high=MAX_CLAIM)
        self.poll = check_seconds(poll, "poll", low=0.01)
        self._lock = threading.Lock()
        self._loop: Loop | None = None

    def run(self, grace: float = GRACE) -> None:
        """Works until SIGTERM or SIGINT, or until `stop` is called; then stops as `stop(grace)` does.

        A second signal ends the grace time at once. Signals are taken only when this is the main thread; the handlers they
        had are put back in the end. Raises like `start`.
        """
        seconds = check_seconds(grace, "grace")
        with Inbox() as inbox:
            loop = self._take_up(inbox.tell)
            try:
                loop.start()
                number = inbox.get()
                if number != ENDED:
                    logger.info("%s: stopping within %g s", signal.Signals(number).name, seconds)
                    self._stop_but_listen(seconds, inbox)
            except BaseException:  # a host's handler of another signal raised
                loop.stop(0)
                raise

    def start(self) -> None:
        """Works in the background. Raises `InvalidInput` for types without a handler, `RuntimeError` if it works already."""
        self._take_up(lambda: None).start()

    def stop(self, grace: float = GRACE) -> None:
        """Claims no more, lets running handlers finish, gives back what is not done after `grace` seconds.

        Async handlers are then cancelled; sync ones cannot be, and their late results are dropped. Returns at most a second
        later, in every case. Without effect when the worker is not working; a shorter grace time shortens a longer one.
        """
        seconds = check_seconds(grace, "grace")
        with self._lock:
            loop = self._loop
        if loop is not None:
            loop.stop(seconds)

    def _stop_but_listen(self, grace: float, inbox: Inbox) -> None:
        stopping = threading.Thread(target=self.stop, args=(grace,), name="gnj-stop", daemon=True)
        stopping.start()
        if inbox.get() != ENDED:
            self.stop(0)
        stopping.join(1.0)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _take_up(self, ended: Callable[[], None]) -> Loop:
        if missing := [type for type in self.types or () if self.handlers.get(type) is None]:
            raise InvalidInput(f"no handler is registered for {', '.join(map(shown, missing))}")
        if self.types is None and not self.handlers.types:
            logger.warning("no handler is registered yet: nothing is claimed until one is")
        if (count := len(self.types or self.handlers.types)) > MAX_TYPES:
            raise InvalidInput(f"a worker takes at most {MAX_TYPES} types, not {count}: start several")

        def end() -> None:
            with self._lock:
                self._loop = None
            ended()

        with self._lock:
            if self._loop is not None:
                raise RuntimeError("the worker is working already")
            self._loop = Loop(self.source, self.handlers, self.types, self.concurrency, self.poll, end)
            return self._loop
