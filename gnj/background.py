"""What runs beside the faces "queues" and "content" for as long as they are served: one thread that looks, about once a
second.
"""

from __future__ import annotations

import logging
import math
import secrets
import threading
import time
from collections.abc import Collection, Sequence
from typing import Any, Final, Protocol

from gnj.push.reconciler import Reconciler
from gnj.queue import bulk
from gnj.queue.errors import GnjError
from gnj.queue.model import Job
from gnj.queue.service import Queue
from gnj.queue.states import JOB_UNFINISHED, JobStatus
from gnj.queue.sweep import Sweeper
from gnj.queue.values import Json
from gnj.queue.where import equal
from gnj.settings import Settings
from gnj.worker.context import Context
from gnj.worker.handlers import Handlers
from gnj.worker.on_demand import OnDemand
from gnj.worker.source import QueueSource

logger = logging.getLogger("gnj.background")

EVERY: Final = 1.0
"""Seconds between two looks."""
_PATIENCE: Final = 10.0
"""Seconds that `close` waits for a look that is under way."""


SLICE: Final = 10.0
"""Seconds after which a bulk job lets those of other tenants have a turn."""
LINGER: Final = 60.0
"""Seconds for which bulk jobs are looked for by claims after there was one: it may come back after a wait."""
_PROMOTED: Final = 100
"""Jobs whose time has come that are made ready with one look."""
_FAREWELL: Final = 2.0
"""Seconds that a page of a bulk job is given to end, when the server stops."""


class Ticker(Protocol):
    """Something to be looked after."""

    def tick(self) -> None:
        """Looks what there is to do, and does it or has it done elsewhere. What it raises is logged, when it first does; the next look follows."""

    def close(self) -> None:
        """Stops what it started; called once, after the last look."""


def tickers(queue: Queue, settings: Settings) -> list[Ticker]:
    """All that there is to look after for the face "queues"."""
    return [Reconciler(queue, settings.fetch_allow), BulkWorker(queue), Sweeper(queue)]


class _Turns(QueueSource):
    """Bulk jobs, one by one, of one tenant after the other: those of one that are many or long keep nobody else's waiting."""

    def __init__(self, queue: Queue) -> None:
        super().__init__(queue, f"bulk:{secrets.token_hex(6)}", "bulk")
        self._served: dict[str, float] = {}
        """When each tenant had its last turn, of those that have bulk jobs."""

    def claim(self, types: Sequence[str], limit: int, slots: int | None = None) -> list[Job]:
        """See `Source.claim`. Nothing is claimed ahead, for that would not wait for its turn here but keep it."""
        if slots == 0:
            return []
        there = self._there()
        self._served = {tenant: self._served.get(tenant, -math.inf) for tenant, _ in there}
        waiting = [tenant for tenant, status in there if status == JobStatus.QUEUED]
        for tenant in sorted(waiting, key=lambda tenant: (self._served[tenant], tenant)):
            self.tenants = [tenant]
            if claimed := super().claim(types, 1, slots):
                self._served[tenant] = time.monotonic()
                return claimed
        return []

    def is_over(self, tenant: str, begun: float) -> bool:
        """Whether a turn that began then has lasted for long enough, and another tenant waits for its own."""
        if time.monotonic() - begun < SLICE:
            return False
        return any(name != tenant and status == JobStatus.QUEUED for name, status in self._there())

    def _there(self) -> Collection[tuple[Any, ...]]:
        """Which tenants have bulk jobs that have not ended, and in which statuses."""
        unfinished = equal(Job, type=bulk.TYPE, status=JOB_UNFINISHED)
        return self.queue.storage.tally(Job, ["tenant", "status"], unfinished).keys()


class BulkWorker(OnDemand):
    """Works bulk jobs (`gnj.queue.bulk`), one at a time, with a worker that is there only while there are any.

    Args:
        queue: Where they are.
    """

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        handlers = Handlers()
        handlers.register(bulk.TYPE, self._work)
        self._turns = _Turns(queue)
        super().__init__(self._turns, handlers, concurrency=1)
        self._closing = threading.Event()
        self._busy = threading.Event()
        self._begun = False

    def tick(self) -> None:
        """Starts the worker when there is something for it, and stops it a while after there was."""
        self._tend(LINGER, wanted=self._busy.is_set() or self._waits())

    def close(self) -> None:
        """Leaves what is not done to the next claim."""
        self._closing.set()
        self._stop(_FAREWELL)

    def _waits(self) -> bool:
        """Whether there may be a bulk job that nobody works. Asks little: it is asked every second, of any number of jobs."""
        if not self._begun:  # one that was lost, or waits for its next try, from before this server was started
            found = self._queue.storage.exists(Job, equal(Job, type=bulk.TYPE, status=JOB_UNFINISHED))
            self._begun = True
            return found
        # what was lost is taken back by claims, and what is due made ready, of which there may be none
        if self._queue.storage.promote(_PROMOTED):
            self._queue.wake.set()
        return self._queue.reap() > 0 or bool(self._queue.storage.lane(bulk.TYPE, None, 1))

    def _work(self, job: Job, ctx: Context) -> Json:
        begun: float | None = None

        def stopped() -> bool:
            nonlocal begun
            over = begun is not None and self._turns.is_over(job.tenant, begun)
            begun = begun or time.monotonic()  # not before a page was done: each turn gets on
            return over or self._closing.is_set() or ctx.lease_lost

        self._busy.set()
        try:
            return bulk.work(self._queue, job, stopped)
        finally:
            self._busy.clear()


class Background:
    """Looks after what `tickers` gives, and what else it is given.

    Args:
        queue: The jobs.
        settings: Those of the `GNJ` that serves.
        queues: Whether the face "queues" is served, which needs what `tickers` gives.
        more: What else is to be looked after: for other faces.
    """

    def __init__(self, queue: Queue, settings: Settings, *, queues: bool = True, more: Sequence[Ticker] = ()) -> None:
        self._tickers = [*(tickers(queue, settings) if queues else ()), *more]
        self._failing: set[Ticker] = set()
        self._nudged = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gnj-background", daemon=True)

    def start(self) -> None:
        """Begins, unless there is nothing to look after."""
        if self._tickers:
            self._thread.start()

    def nudge(self) -> None:
        """Has the next look follow at once: something was changed here."""
        self._nudged.set()

    def close(self) -> None:
        """Ends; what was started is stopped."""
        self._stopped.set()
        self._nudged.set()
        if self._thread.ident is not None:
            self._thread.join(_PATIENCE)
        for each in self._tickers:
            try:
                each.close()
            except Exception:
                logger.exception("%s could not be ended", type(each).__name__)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._nudged.clear()
            for each in self._tickers:
                if self._stopped.is_set():
                    return
                self._look(each)
            self._nudged.wait(EVERY)

    def _look(self, ticker: Ticker) -> None:
        """Lets it tick; what is wrong is said when it begins, and when it is over, not once a second."""
        name, known = type(ticker).__name__, ticker in self._failing
        try:
            ticker.tick()
        except Exception as error:
            self._failing.add(ticker)
            if not known and isinstance(error, GnjError):
                logger.warning("%s will be tried again: %s", name, error)
            elif not known:
                logger.exception("%s will be tried again", name)
        else:
            self._failing.discard(ticker)
            if known:
                logger.warning("%s goes on", name)
