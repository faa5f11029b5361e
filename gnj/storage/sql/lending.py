"""Which connection a block of hot statements has (`direct`).

A few are kept for them: to take one from the pool and to give it back was 50 of the 130 µs that Python added to the 200 of an
INSERT in SQLite.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.pool import Pool

from gnj.queue.deadline import Deadline
from gnj.storage.sql.direct import Direct, Link
from gnj.storage.sql.faults import faults, of_driver
from gnj.storage.sql.forks import call_after_fork
from gnj.storage.sql.watch import Watch, Watchdog, measured

KEPT: Final = 2
"""Connections that do not go back to the pool; fewer than it has, so that other transactions find one."""


class Lent:
    """A connection that one block has, and how statements are sent through it."""

    __slots__ = ("begun", "connection", "direct", "link", "pool", "watch")

    def __init__(self, direct: Direct, link: Link, connection: Any, watch: Watch | None, pool: Pool | None) -> None:
        self.direct, self.link, self.connection, self.watch = direct, link, connection, watch
        self.pool = pool
        """Where one that is kept came from; None for others."""
        self.begun = False


class Lending:
    """Lends connections of an engine of ours. One for each storage.

    Args:
        engine: Where they come from.
        direct: Its driver's ways.
        watchdog: Looks at those that requests have.
        keeps: How many do not go back to the pool.
        reads: Whether those who only read have them as well.
    """

    def __init__(self, engine: Engine, direct: Direct, watchdog: Watchdog, *, keeps: int, reads: bool) -> None:
        self._engine, self._direct, self._watchdog, self._keeps, self._reads = engine, direct, watchdog, keeps, reads
        self._kept: list[tuple[Any, Pool]] = []
        """Those, while nobody has them, and where they came from."""
        self._parents: list[tuple[Any, Pool]] = []
        call_after_fork(self._forget)

    def take(self, limit: Deadline | None, *, write: bool) -> Lent | None:
        """A connection; None if none of this database's can be used so. Those that died while nobody had them are given up."""
        while True:
            connection, pool = self._found(keeps=write or self._reads)
            if not self._direct.serves(connection):
                connection.close()
                return None
            watch = None if limit is None else self._watchdog.begin(connection.dbapi_connection, limit)
            try:
                with measured(watch):
                    link = self._direct.link(connection, None if limit is None else limit.statement)
            except BaseException as error:  # also an interrupt: what is watched for ever would be broken off for others
                self._end(connection, watch, lost=True)
                told = watch.told(error) if watch is not None else error
                if told is error and not isinstance(error, self._direct.error):
                    raise
                raise (of_driver(error, lost=True) if told is error else told) from error
            if link is not None:
                return Lent(self._direct, link, connection, watch, pool)
            self._end(connection, watch, lost=True)

    def begin(self, lent: Lent) -> None:
        """Begins a transaction, if statements are none by themselves."""
        if not lent.link.alone:
            lent.begun = True
            with self._direct.faults(lent.link), measured(lent.watch):
                lent.link.begin()

    def give_back(self, lent: Lent, limit: Deadline | None) -> None:
        """Commits what was begun, unless its time is up. After what it raises as after any other failure: `give_up`."""
        if lent.begun:
            if limit is not None:
                limit.check()
            with self._direct.faults(lent.link), measured(lent.watch, commits=True):
                lent.link.end("COMMIT")
        if lent.pool is None or lent.pool is not self._engine.pool or len(self._kept) >= self._keeps:
            self._end(lent.connection, lent.watch, lost=lent.link.is_lost())
            return
        if lent.watch is not None:
            self._watchdog.end(lent.watch)
        self._kept.append((lent.connection, lent.pool))

    def give_up(self, lent: Lent, error: BaseException) -> BaseException:
        """Rolls back what was begun; what to raise in the place of `error`. Of what was kept, nothing can be left open so."""
        if lent.begun:
            with suppress(self._direct.error):
                lent.link.end("ROLLBACK")
        told = lent.watch.told(error) if lent.watch is not None else error
        self._end(lent.connection, lent.watch, lost=lent.link.is_lost())
        return told

    def close(self) -> None:
        """Closes what is kept and nobody has."""
        kept, self._kept = self._kept, []
        for connection, _ in kept:
            _ended(connection)

    def _found(self, *, keeps: bool) -> tuple[Any, Pool | None]:
        while keeps and self._kept:
            try:
                connection, pool = self._kept.pop(
                    0
                )  # in turn: so that each has prepared what is asked before it matters
            except IndexError:  # another thread was faster
                break
            if pool is self._engine.pool:
                return connection, pool
            _ended(connection)  # the engine has given up its connections: the file may be another one
        try:
            with faults():
                connection = self._engine.raw_connection()
        except self._direct.error as error:  # SQLAlchemy wraps those of statements only
            raise of_driver(error, lost=True) from error
        return connection, self._engine.pool if keeps and self._keeps else None

    def _end(self, connection: Any, watch: Watch | None, *, lost: bool) -> None:
        if watch is not None:
            self._watchdog.end(watch)
            lost = lost or (watch.fired and self._engine.dialect.name != "sqlite")  # which is only interrupted
        if lost:
            connection.invalidate()
        connection.close()

    def _forget(self) -> None:
        """As `forgets_after_fork`."""
        self._parents += self._kept
        self._kept = []


def _ended(connection: Any) -> None:
    connection.detach()
    connection.close()
