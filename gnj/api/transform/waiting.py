"""Those who wait for the ends of runs, without a thread for each.

One thread, while anybody waits, hears of every change of a run from the feed, this process's at once and those of others soon
after their commits, and tells whoever waited for one that has ended. What the feed missed while it was told of nobody who
follows, it finds with a look of its own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from gnj.api.runs import Behind, Run
from gnj.queue.later import Get, Later, Spawn
from gnj.queue.model_transform import RUN_OVER, RunStatus, TransformRun
from gnj.queue.service import Queue
from gnj.queue.storage import Select
from gnj.queue.where import equal
from gnj.transform.errors import StillRunning

logger = logging.getLogger("gnj.api")

LOOK: Final = 1.0
"""Seconds after which those who wait are looked for though nothing was heard of: one statement for all of them."""


@dataclass(eq=False, slots=True)
class _Waiter:
    """Somebody who waits."""

    run: int
    since: float
    wake: Callable[[], None]
    """Called once, when it is known how the run has ended, or that nobody waits any longer."""
    is_new: bool = True
    """Whether its run was not looked at yet: it may have ended before it was waited for."""
    ended_well: bool | None = None
    """None: it has not ended."""
    until: float = 0.0
    """When it was given up."""

    def answer(self) -> bool:
        if self.ended_well is None:
            raise StillRunning(self.run, round(self.until - self.since, 1))
        return self.ended_well


class Waiting:
    """Everybody who waits for runs of one application.

    Args:
        queue: Where the runs are.
        seconds: For how long somebody waits.
    """

    def __init__(self, queue: Queue, seconds: float) -> None:
        self._queue = queue
        self._seconds = seconds
        self._lock = threading.Lock()
        self._waiters: set[_Waiter] = set()
        self._run: Run | None = None

    def end_of(self, run: TransformRun) -> Later[bool]:
        """Whether the run ends well. Raises `StillRunning`, when it was asked for, for one that has not ended in time."""
        return Later(partial(self._wait, run.id), partial(self._tell, run.id))

    def close(self) -> None:
        """Nobody waits any longer: whoever does is told that the run has not ended."""
        with self._lock:
            waiters, self._waiters = self._waiters, set()
            if self._run is not None:
                self._run.wake()
        self._end(waiters)

    def _wait(self, run: int) -> bool:
        bell = threading.Event()
        waiter = _Waiter(run, time.monotonic(), bell.set)
        self._join(waiter)
        bell.wait()
        return waiter.answer()

    def _tell(self, run: int, spawn: Spawn, told: Callable[[Get[bool]], None]) -> None:
        waiter = _Waiter(run, time.monotonic(), lambda: spawn(lambda: told(waiter.answer)))
        self._join(waiter)

    def _join(self, waiter: _Waiter) -> None:
        with self._lock:
            self._waiters.add(waiter)
            if self._run is not None:
                self._run.wake()
                return
            self._run = following = Run(self._queue.feed)
        try:
            threading.Thread(target=self._follow, args=(following,), name="gnj-runs", daemon=True).start()
        except RuntimeError:  # the machine has none left
            following.following.close()
            with self._lock:
                self._run = None
                waiters, self._waiters = self._waiters, set()
            self._end(waiters)

    def _follow(self, following: Run) -> None:
        heard: set[int] = set()
        looked = 0.0
        with following.following:
            while True:
                with self._lock:
                    if not self._waiters:
                        self._run = None
                        return
                    waiters = set(self._waiters)
                now = time.monotonic()
                first = min(waiter.since for waiter in waiters) + self._seconds
                if now >= min(first, looked + LOOK) or any(w.is_new or w.run in heard for w in waiters):
                    looked = now
                    self._look(waiters)
                    heard = set()
                    continue
                try:
                    changes = following.take(min(first, looked + LOOK) - now)
                    heard = {change.value[0] for change in changes if change.topic == "transform"}
                except Behind:
                    looked = 0.0

    def _look(self, waiters: set[_Waiter]) -> None:
        """Tells those whose runs have ended, and those who have waited for long enough."""
        found = self._statuses({waiter.run for waiter in waiters})
        now = time.monotonic()
        over = set()
        for waiter in waiters:
            waiter.is_new = False
            if found is not None:
                status = found.get(waiter.run)  # a run that is not there any more has not ended well
                if status is None or status in RUN_OVER:
                    waiter.ended_well = status is RunStatus.SUCCESSFUL
            if waiter.ended_well is not None or now >= waiter.since + self._seconds:
                over.add(waiter)
        with self._lock:
            over &= self._waiters
            self._waiters -= over
        self._end(over)

    def _statuses(self, runs: set[int]) -> dict[int, RunStatus] | None:
        try:
            rows = self._queue.storage.columns(
                TransformRun, ["id", "status"], Select(equal(TransformRun, id=tuple(runs)))
            )
        except Exception as error:  # noqa: BLE001 - the next look may be answered, and whoever waits is told in time
            logger.warning("whether runs have ended is not known now: %s", error)
            return None
        return dict(rows)

    def _end(self, waiters: set[_Waiter]) -> None:
        now = time.monotonic()
        for waiter in waiters:
            waiter.until = now
            waiter.wake()
