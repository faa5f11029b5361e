"""Transactions of requests are broken off when their time is up, also where the database says nothing any more.

A request has a limit (`gnj.queue.deadline`). PostgreSQL and MariaDB keep the one of a statement themselves (`Dialect.begin`),
which is no help when the server hangs, or the network has lost it: the thread would wait in the driver. Here a thread of
the process's own looks at the transactions of requests that are open, and shuts the socket of one that is over its time;
SQLite, which has no such setting, is interrupted. It ends when there has been nothing to look at for a while.

Costs a transaction of a request about 2 µs; others nothing.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, Final

from gnj.queue.deadline import Deadline
from gnj.queue.errors import TimedOut
from gnj.storage.sql.forks import call_after_fork

TICK: Final = 0.1
"""Seconds between two looks."""
IDLE: Final = 20
"""Looks without anything to see after which the thread ends."""
GRACE: Final = 0.5
"""Seconds a server has to break a statement off by itself, so that the connection stays."""


class Watch:
    """One transaction under watch.

    Args:
        abort: Breaks off what its connection is waiting for; called from another thread, again and again.
        deadline: What it has to keep.
        grace: Seconds that a statement may take beyond that.
    """

    __slots__ = ("_abort", "_statement", "committing", "deadline", "fired", "since")

    def __init__(self, abort: Callable[[], None], deadline: Deadline, grace: float) -> None:
        self._abort = abort
        self._statement = deadline.statement + grace
        self.deadline = deadline
        self.fired = False
        self.committing = False
        self.since: float | None = None
        """When the statement that runs began."""

    @contextmanager
    def statement(self, *, commits: bool = False) -> Iterator[None]:
        """Measures the statement run in the block. `commits`: what happens to it is not known if it is broken off."""
        self.committing = commits
        self.since = time.monotonic()
        try:
            yield
        finally:
            self.since = None

    def look(self, now: float) -> None:
        """Breaks it off, if its time is up."""
        since = self.since
        if now > self.deadline.ends or (since is not None and now - since > self._statement):
            self.fired = True
            with suppress(Exception):  # it may have ended, or been lost, at this very moment
                self._abort()

    def told(self, error: BaseException) -> BaseException:
        """What to raise in the place of `error`, which is how the driver took it if it was broken off."""
        if not self.fired or isinstance(error, TimedOut) or not isinstance(error, Exception):
            return error
        if self.committing:
            return TimedOut(
                "The operation took longer than it may and was broken off while it was being committed: it may have "
                "taken effect, or not"
            )
        return TimedOut()


def measured(watch: Watch | None, *, commits: bool = False) -> AbstractContextManager[None]:
    """`Watch.statement`, or nothing where there is no watch."""
    return nullcontext() if watch is None else watch.statement(commits=commits)


class Watchdog:
    """Looks at the open transactions of requests. One for each storage."""

    def __init__(self) -> None:
        self._begin_anew()
        call_after_fork(self._begin_anew)

    def _begin_anew(self) -> None:
        self._lock = threading.Lock()
        self._watches: set[Watch] = set()
        self._thread: threading.Thread | None = None

    def begin(self, raw: Any, deadline: Deadline) -> Watch | None:
        """Watches the transaction on a driver's connection; None if there is no way to break that off."""
        abort = _abort(raw)
        if abort is None:
            return None
        watch = Watch(abort, deadline, 0.0 if hasattr(raw, "interrupt") else GRACE)
        with self._lock:
            self._watches.add(watch)
            if self._thread is None or not self._thread.is_alive():  # it does not survive a fork
                self._thread = threading.Thread(target=self._run, name="gnj-watch", daemon=True)
                self._thread.start()
        return watch

    def end(self, watch: Watch) -> None:
        """The transaction has ended: its connection, which another one may have next, is touched no more."""
        with self._lock:
            self._watches.discard(watch)

    def _run(self) -> None:
        idle = 0
        while True:
            time.sleep(TICK)
            with self._lock:
                idle = 0 if self._watches else idle + 1
                if idle > IDLE:
                    self._thread = None
                    return
                now = time.monotonic()
                for watch in self._watches:
                    watch.look(now)


def _abort(raw: Any) -> Callable[[], None] | None:
    if hasattr(raw, "interrupt"):  # sqlite3
        return raw.interrupt  # type: ignore[no-any-return]
    if hasattr(raw, "fileno"):  # psycopg, psycopg2
        return lambda: _shut(raw.fileno())
    if hasattr(raw, "_sock"):  # PyMySQL
        return lambda: raw._sock.shutdown(socket.SHUT_RDWR)  # noqa: SLF001 - there is no other way to it
    return None


def _shut(number: int) -> None:
    # a copy: closing the socket object must not close the driver's own
    with socket.socket(fileno=os.dup(number)) as copy:
        copy.shutdown(socket.SHUT_RDWR)
