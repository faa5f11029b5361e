"""`SqlStorage`: the storage protocol over SQLite, PostgreSQL and MySQL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import Pool, StaticPool

from gnj.queue import deadline
from gnj.queue.clock import Clock, system_clock
from gnj.queue.deadline import Deadline
from gnj.queue.errors import Conflict, InvalidInput, NotMigrated, StorageUnavailable
from gnj.queue.model import Job, Record, RecordT
from gnj.queue.storage import ALL, Changes, Each, Rows, Select, Settlement, Storage
from gnj.queue.values import Json
from gnj.queue.wake import Listening, Through
from gnj.storage.sql import direct_insert, identity, migrate, notify_postgresql, settling
from gnj.storage.sql.dialects import NAMES, dialect_of
from gnj.storage.sql.direct import Direct, DirectRows, SqliteDirect
from gnj.storage.sql.direct_postgresql import PostgresqlDirect
from gnj.storage.sql.engine import BUSY_SECONDS, make_engine
from gnj.storage.sql.faults import faults, translated
from gnj.storage.sql.forks import call_after_fork, forget_after_fork
from gnj.storage.sql.lending import KEPT, Lending, Lent
from gnj.storage.sql.rows import Mappers
from gnj.storage.sql.schema import DEFAULT_PREFIX, Tables
from gnj.storage.sql.transaction import SqlRows
from gnj.storage.sql.watch import Watch, Watchdog, measured

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


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
        if hasattr(database, "sync_engine"):
            raise InvalidInput(
                "an AsyncEngine cannot be used by threads: give GNJ its URL (engine.url), and its sessions to enqueue_async"
            )
        self._own = not isinstance(database, Engine)
        self.engine = database if isinstance(database, Engine) else make_engine(database, pool_size)
        if self.engine.dialect.name not in NAMES:
            raise InvalidInput(
                f"gnj does not know {self.engine.dialect.name} databases: SQLite, PostgreSQL and MySQL work"
            )
        self.dialect = dialect_of(self.engine.dialect.name)
        if schema is not None and self.dialect.name == "sqlite":
            raise InvalidInput("SQLite has no schemas: use a prefix, or another file")
        if schema is not None and self.dialect.name == "mysql":
            raise InvalidInput("MySQL has no schemas: use a prefix, or another database")
        self.tables = Tables(prefix, schema, keyed=self.dialect.keyed, only=self.engine.dialect.name)
        self._mappers = Mappers(self.tables, self.dialect.now)
        self._statements: dict[Hashable, Any] = {}
        self._direct = _direct(self.engine) if self._own else None
        self.clock = clock if clock is not None or self.dialect.has_clock else system_clock
        shared = isinstance(self.engine.pool, StaticPool)
        if self._own and not shared:
            forget_after_fork(self.engine)
        # SQLite lets one transaction write at a time, and those that wait poll for their turn, unfairly: threads of this
        # process wait for each other here instead (8 threads: 1.5 to 2 times the jobs per second)
        self._shared = shared
        self._make_turn()
        call_after_fork(self._make_turn)
        self._watchdog = Watchdog()
        self._lending = None
        if self._direct is not None:
            turns = self._turn is not None
            keeps = 0 if shared else 1 if turns else min(KEPT, pool_size - 1)
            self._lending = Lending(self.engine, self._direct, self._watchdog, keeps=keeps, reads=not turns)
        self._known: WeakSet[Pool] = WeakSet()
        # now, since a relative path means another file after a change of the working directory
        self._place = identity.of_file(self.engine.url) if self.dialect.name == "sqlite" else None
        self._path = None if self._place is None else identity.path_of(self._place)
        lacks = {"durable", "processes", "notify"} if shared else set()
        if self._path is None and self.engine.driver != "psycopg":
            lacks.add("notify")  # listening needs psycopg's own ways, or a file
        self.capabilities = _CAPABILITIES[self.dialect.name] - lacks
        self._notifies = "notify" in self.capabilities and self._path is None

    def begin(self, *, write: bool = True) -> AbstractContextManager[Rows]:
        """See `Storage.begin`."""
        return self._transaction(write=write)

    @contextmanager
    def begin_serializable(self) -> Iterator[Rows]:
        """See `Storage.begin_serializable`. What the caller's own statements on the connection ran into counts as well."""
        with self._transaction(write=True, serializable=True) as rows:
            try:
                yield rows
            except SQLAlchemyError as error:
                if isinstance(told := translated(error), Conflict):
                    raise told from error
                raise

    @contextmanager
    def _transaction(self, *, write: bool, serializable: bool = False) -> Iterator[SqlRows]:
        # a request's transaction is held to the limit of the request
        limit = deadline.current()
        if limit is not None:
            limit.check()
        with self._in_turn(write=write):
            with faults():
                connection, watch = self._begun(limit, write=write, serializable=serializable)
            try:
                begun = connection.get_transaction()
                yield self._rows(connection, watch)
                # who was lent the connection (`Transaction.connection`) may have ended what was not theirs to end
                if write and (connection.closed or connection.get_transaction() is not begun):
                    raise RuntimeError(  # noqa: TRY301 - rolled back like any other failure
                        "its transaction was committed, rolled back or closed by whoever has the connection"
                    )
                if limit is not None:
                    limit.check()
                with faults(), measured(watch, commits=write):
                    connection.commit()
            except BaseException as error:
                told = watch.told(error) if watch is not None else error
                with suppress(SQLAlchemyError), measured(watch):  # a dead connection has nothing left to roll back
                    connection.rollback()
                if told is not error:
                    raise told from error
                raise
            finally:
                self._ended(connection, watch)

    def bind(self, connection: Any) -> AbstractContextManager[Rows]:
        """See `Storage.bind`; takes a SQLAlchemy connection or session (inside `run_sync`, for asynchronous ones)."""
        session = None
        if not isinstance(connection, Connection):
            from sqlalchemy.orm import Session  # 6 MB, which who gives a session has loaded

            session = connection if isinstance(connection, Session) else None
        if session is not None:
            connection = session.connection()
        if not isinstance(connection, Connection):
            raise InvalidInput(f"a SQLAlchemy Connection or Session is needed, not {type(connection).__name__}")
        with faults():
            self._meet(connection)
        return nullcontext(self._rows(connection, session=session))

    def _meet(self, connection: Connection) -> None:
        """Makes sure that a connection of the host's is to this database, and that the tables are there.

        Once for each pool, as soon as that is certain: tables made in a transaction of the host's end with it, if that is
        rolled back. No second connection is opened where one transaction keeps all others out.
        """
        pool, embedded = connection.engine.pool, "embedded" in self.capabilities
        known = pool in self._known
        if not known and pool is not self.engine.pool:
            identity.check(connection, self.engine, self.tables, self._place)
        self.dialect.join(connection)
        if known:
            return
        try:
            migrate.check(connection, self.tables)
        except NotMigrated:
            if not embedded:
                raise
            migrate.upgrade(connection, self.tables)
        if embedded:
            from gnj.storage.sql import hosts

            hosts.after_commit(connection, partial(self._known.add, pool))
        else:
            self._known.add(pool)

    def claim(
        self,
        types: Sequence[str],
        limit: int,
        *,
        lease: float,
        changes: Changes,
        tenants: Sequence[str] | None = None,
    ) -> list[Job]:
        """See `Rows.claim`."""
        one = self.dialect.gives_each or not any(isinstance(value, Each) for value in changes.values())
        with self._alone() if one else self.begin() as rows:
            return rows.claim(types, limit, lease=lease, changes=changes, tenants=tenants)

    def settle(self, settlements: Sequence[Settlement]) -> list[Job | None]:
        """See `Rows.settle`."""
        with (
            self._alone()
            if all(s.plain for s in settlements) and settling.are_one(settlements)
            else self.begin() as rows
        ):
            return rows.settle(settlements)

    def complete(self, ends: Sequence[tuple[int, int, Json]], frm: Collection[str], changes: Changes) -> list[bool]:
        """See `Rows.complete`."""
        # a job that is named twice takes two statements
        once = len({id for id, _, _ in ends}) == len(ends)
        if once and ends and self.dialect.counts:
            with suppress(_Fewer), self._alone() as rows:
                if settling.complete_all(rows, ends, frm, changes):
                    return [True] * len(ends)
                raise _Fewer
        with self._alone() if once else self.begin() as rows:
            return rows.complete(ends, frm, changes)

    def locked(self, kind: type[Record], ids: Sequence[int]) -> frozenset[int]:
        """See `Storage.locked`."""
        if not ids or not self.dialect.skips_locked:
            return frozenset()
        with self._transaction(write=True) as rows:
            return rows.locked(kind, ids)

    def enqueue(self, rows: Sequence[Changes]) -> list[tuple[Job, bool]]:
        """See `Storage.enqueue`."""
        lean = self._direct is not None and direct_insert.fits(rows, self._direct.together)
        # one INSERT, in which nothing depends on the moment at which others let it begin
        with self._alone(one=True) if lean else self._transaction(write=True) as tx:
            return tx.enqueue(rows)

    # What is asked before claims and enqueues must not change what the session is set up for.

    def find(self, kind: type[RecordT], select: Select = ALL, *, tenant: str | None = None) -> list[RecordT]:
        """See `Rows.find`. All rows are asked for of small tables only, such as that of hooks, and of these again and again."""
        if self._direct is None or select is not ALL or tenant is not None:
            return super().find(kind, select, tenant=tenant)
        with self._alone(write=False) as rows:
            return rows.every(kind)

    def lost(self, limit: int) -> list[Job]:
        """See `Rows.lost`."""
        if self._direct is None:
            return super().lost(limit)
        with self._alone(write=False) as rows:
            return rows.lost(limit)

    def listens(self, wants: str, besides: int | None = None) -> bool:
        """See `Rows.listens`."""
        if self._direct is None:
            return super().listens(wants, besides)
        with self._alone(write=False) as rows:
            return rows.listens(wants, besides)

    def signal(self, wants: Collection[str] = ("jobs",)) -> None:
        """See `Rows.signal`."""
        if self._notifies:
            with self._alone(write=False) as rows:
                rows.signal(wants)

    @contextmanager
    def _alone(self, *, write: bool = True, one: bool = False) -> Iterator[SqlRows]:
        """For hot statements, each of which is a transaction of its own; where that cannot be, all in one, unless there is
        just `one`.
        """
        limit = deadline.current()
        if limit is not None:
            limit.check()
        lending = self._lending
        if lending is not None:
            with self._in_turn(write=write):
                lent = lending.take(limit, write=write)
                if lent is not None:
                    try:
                        if write and not one:
                            lending.begin(lent)
                        yield self._rows_of(lent)
                        lending.give_back(lent, limit)
                    except BaseException as error:
                        told = lending.give_up(lent, error)
                        if told is not error:
                            raise told from error
                        raise
                    return
        with self._transaction(write=write) as rows:
            yield rows

    def migrate(self) -> None:
        """See `Storage.migrate`."""
        with self._in_turn(write=True), faults():
            connection, _ = self._begun(None, write=True)
            with closing(connection):
                migrate.upgrade(connection, self.tables)
                connection.commit()

    def check(self) -> None:
        """See `Storage.check`."""
        with self._in_turn(write=False), faults():
            connection, watch = self._begun(deadline.current(), write=False)
            try:
                with measured(watch):
                    migrate.check(connection, self.tables)
            finally:
                self._ended(connection, watch)

    def listen(self, wake: Callable[[], None], wants: str = "jobs", *, through: Through | None = None) -> Listening:
        """See `Storage.listen`."""
        if "notify" not in self.capabilities:
            return nullcontext(bool)
        if self._path is not None:
            from gnj.storage.sql import notify_sqlite

            return notify_sqlite.listen(self.engine, self.tables, self._path, wake, wants, own=self._own)
        return notify_postgresql.listen(self.engine, self.tables, wake, wants, through=through)

    def close(self) -> None:
        """See `Storage.close`."""
        if self._own:
            self.engine.dispose()  # first: what is given back from now on is not kept
        if self._lending is not None:
            self._lending.close()

    def _rows(self, connection: Connection, watch: Watch | None = None, session: Session | None = None) -> SqlRows:
        return SqlRows(
            connection,
            self.tables,
            self._mappers,
            self.dialect,
            self.clock,
            self._statements,
            notifies=self._notifies,
            watch=watch,
            session=session,
        )

    def _rows_of(self, lent: Lent) -> SqlRows:
        return DirectRows(
            lent.direct,
            lent.link,
            self.tables,
            self._mappers,
            self.dialect,
            self.clock,
            self._statements,
            notifies=self._notifies,
            watch=lent.watch,
        )

    def _make_turn(self) -> None:
        self._turn = None if "concurrent_claims" in _CAPABILITIES[self.dialect.name] else threading.Lock()

    def _in_turn(self, *, write: bool) -> AbstractContextManager[None]:
        """Where only one can write, writers come one after the other; where all share one connection, readers too."""
        return nullcontext() if self._turn is None or not (write or self._shared) else _Taking(self._turn)

    def _ended(self, connection: Connection, watch: Watch | None) -> None:
        if watch is not None:
            self._watchdog.end(watch)
            if watch.fired and self.dialect.name != "sqlite":  # which is only interrupted
                connection.invalidate()
        connection.close()

    def _begun(
        self, limit: Deadline | None, *, write: bool, serializable: bool = False
    ) -> tuple[Connection, Watch | None]:
        """A connection on which a transaction has begun, and what watches over it if there is a limit.

        One that the pool kept may have died meanwhile: then all of them have, the pool forgets them, and since nothing has
        been done yet, a new one is tried.
        """
        try:
            return self._begun_on(self.engine.connect(), limit, write=write, serializable=serializable)
        except DBAPIError as error:
            # what was raised where there is no connection yet, connecting again would wait for once more
            if not error.connection_invalidated or error.statement is None:
                raise
        return self._begun_on(self.engine.connect(), limit, write=write, serializable=serializable)

    def _begun_on(
        self, connection: Connection, limit: Deadline | None, *, write: bool, serializable: bool
    ) -> tuple[Connection, Watch | None]:
        watch = None if limit is None else self._watchdog.begin(connection.connection.driver_connection, limit)
        try:
            with measured(watch):
                if serializable:
                    self.dialect.begin_serializable(connection, self.tables)
                else:
                    self.dialect.begin(connection, write=write)
        except BaseException as error:
            self._ended(connection, watch)
            told = watch.told(error) if watch is not None else error
            if told is not error:
                raise told from error
            raise
        return connection, watch


class _Fewer(Exception):
    """Fewer rows were changed than were to be: what was done is undone."""


class _Taking:
    """As a generator it takes twice as long."""

    __slots__ = ("_turn",)

    def __init__(self, turn: threading.Lock) -> None:
        self._turn = turn

    def __enter__(self) -> None:
        if not self._turn.acquire(timeout=BUSY_SECONDS):
            raise StorageUnavailable("another transaction of this process does not end")

    def __exit__(self, *_: object) -> None:
        self._turn.release()


def _direct(engine: Engine) -> Direct | None:
    """How hot statements go directly through the driver of an engine of ours, if it is one that can be so used."""
    made = {"psycopg": PostgresqlDirect, "pysqlite": SqliteDirect}.get(engine.driver)
    return None if made is None else made(engine)


_CAPABILITIES: Final = {
    "postgresql": frozenset({"durable", "processes", "concurrent_claims", "notify", "connections"}),
    "mysql": frozenset({"durable", "processes", "concurrent_claims", "connections"}),
    "sqlite": frozenset({"embedded", "durable", "processes", "notify", "connections"}),
}
