"""`SqlStorage`: the storage protocol over SQLite, PostgreSQL and MySQL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from typing import Any, Final

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from gnj.queue.clock import Clock, system_clock
from gnj.queue.errors import InvalidInput, StorageUnavailable
from gnj.queue.storage import Rows, Storage
from gnj.storage.sql import migrate, notify_postgresql
from gnj.storage.sql.dialects import DIALECTS
from gnj.storage.sql.engine import BUSY_SECONDS, make_engine
from gnj.storage.sql.faults import faults
from gnj.storage.sql.rows import mappers
from gnj.storage.sql.schema import DEFAULT_PREFIX, tables
from gnj.storage.sql.transaction import SqlRows


class SqlStorage(Storage):
    """Keeps rows in SQLite, PostgreSQL, MySQL or MariaDB. Threads may share it.

    Args:
        database: A URL (`sqlite:///file.db`, `sqlite://`, `postgresql://…`, `mysql://…`) or a SQLAlchemy engine of the host's, which is
            left as it is: no listeners, no settings, never disposed of.
        prefix: How the names of all tables begin.
        schema: The PostgreSQL schema the tables are in; None: where the connection looks first.
        clock: Gives the present, for tests; None: the database's clock, with SQLite the host's.
        pool_size: Connections kept open; as many again are opened when needed. Only for a URL.
    """

    def __init__(
        self,
        database: str | URL | Engine,
        *,
        prefix: str = DEFAULT_PREFIX,
        schema: str | None = None,
        clock: Clock | None = None,
        pool_size: int = 10,
    ) -> None:
        self._own = not isinstance(database, Engine)
        self.engine = database if isinstance(database, Engine) else make_engine(database, pool_size)
        if self.engine.dialect.name not in DIALECTS:
            raise InvalidInput(
                f"gnj does not know {self.engine.dialect.name} databases: SQLite, PostgreSQL and MySQL work"
            )
        self.dialect = DIALECTS[self.engine.dialect.name]
        if schema is not None and self.dialect.name == "sqlite":
            raise InvalidInput("SQLite has no schemas: use a prefix, or another file")
        if schema is not None and self.dialect.name == "mysql":
            raise InvalidInput("MySQL has no schemas: use a prefix, or another database")
        self.tables = tables(prefix, schema, keyed=self.dialect.keyed)
        self._mappers = mappers(self.tables, self.dialect.now)
        self._statements: dict[Hashable, Any] = {}
        self.clock = clock if clock is not None or self.dialect.has_clock else system_clock
        shared = isinstance(self.engine.pool, StaticPool)
        # SQLite lets one transaction write at a time, and those that wait poll for their turn, unfairly: threads of this
        # process wait for each other here instead (8 threads: 1.5 to 2 times the jobs per second)
        self._shared = shared
        self._turn = None if "concurrent_claims" in _CAPABILITIES[self.dialect.name] else threading.Lock()
        lacks = {"durable", "processes"} if shared else set()
        if self.engine.driver != "psycopg":
            lacks.add("notify")  # listening needs psycopg's own ways
        self.capabilities = _CAPABILITIES[self.dialect.name] - lacks

    @contextmanager
    def begin(self, *, write: bool = True) -> Iterator[Rows]:
        """See `Storage.begin`."""
        with self._in_turn(write=write):
            with faults():
                connection = self._begun(write=write)
            try:
                yield self._rows(connection)
                with faults():
                    connection.commit()
            except BaseException:
                with suppress(SQLAlchemyError):  # a dead connection has nothing left to roll back
                    connection.rollback()
                raise
            finally:
                connection.close()

    def bind(self, connection: Any) -> AbstractContextManager[Rows]:
        """See `Storage.bind`; takes a SQLAlchemy connection or session (inside `run_sync`, for asynchronous ones)."""
        if isinstance(connection, Session):
            connection = connection.connection()
        if not isinstance(connection, Connection):
            raise InvalidInput(f"a SQLAlchemy Connection or Session is needed, not {type(connection).__name__}")
        if DIALECTS.get(connection.dialect.name) is not self.dialect:
            raise InvalidInput(f"the connection is to {connection.dialect.name}, the queue is in {self.dialect.name}")
        return nullcontext(self._rows(connection))

    def migrate(self) -> None:
        """See `Storage.migrate`."""
        with self._in_turn(write=True), faults():
            connection = self._begun(write=True)
            with closing(connection):
                migrate.upgrade(connection, self.tables)
                connection.commit()

    def check(self) -> None:
        """See `Storage.check`."""
        with self._in_turn(write=False), faults(), closing(self._begun(write=False)) as connection:
            migrate.check(connection, self.tables)

    def listen(self, wake: Callable[[], None]) -> AbstractContextManager[None]:
        """See `Storage.listen`."""
        if "notify" not in self.capabilities:
            return nullcontext()
        return notify_postgresql.listen(self.engine, self.tables, wake)

    def close(self) -> None:
        """See `Storage.close`."""
        if self._own:
            self.engine.dispose()

    def _rows(self, connection: Connection) -> SqlRows:
        return SqlRows(
            connection,
            self.tables,
            self._mappers,
            self.dialect,
            self.clock,
            self._statements,
            notifies="notify" in self.capabilities,
        )

    @contextmanager
    def _in_turn(self, *, write: bool) -> Iterator[None]:
        """Where only one can write, writers come one after the other; where all share one connection, readers too."""
        if self._turn is None or not (write or self._shared):
            yield
            return
        if not self._turn.acquire(timeout=BUSY_SECONDS):
            raise StorageUnavailable("another transaction of this process does not end")
        try:
            yield
        finally:
            self._turn.release()

    def _begun(self, *, write: bool) -> Connection:
        """A connection on which a transaction has begun.

        One that the pool kept may have died meanwhile: then all of them have, the pool forgets them, and since nothing has
        been done yet, a new one is tried.
        """
        try:
            return self._begun_on(self.engine.connect(), write=write)
        except DBAPIError as error:
            # what was raised where there is no connection yet, connecting again would wait for once more
            if not error.connection_invalidated or error.statement is None:
                raise
        return self._begun_on(self.engine.connect(), write=write)

    def _begun_on(self, connection: Connection, *, write: bool) -> Connection:
        try:
            self.dialect.begin(connection, write=write)
        except BaseException:
            connection.close()
            raise
        return connection


_CAPABILITIES: Final = {
    "postgresql": frozenset({"durable", "processes", "concurrent_claims", "notify", "connections"}),
    "mysql": frozenset({"durable", "processes", "concurrent_claims", "connections"}),
    "sqlite": frozenset({"embedded", "durable", "processes", "connections"}),
}
