"""Collects the facts of a database, one small part for each system. Nothing is written."""

from __future__ import annotations

import os
import secrets
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, Index, and_, func, literal, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateIndex

from gnj.queue.catalog import RECORDS
from gnj.queue.holds import ALL_TYPES
from gnj.storage.sql import ended as ended_jobs
from gnj.storage.sql.columns import TIME
from gnj.storage.sql.dialects import dialect_of
from gnj.storage.sql.engine import in_memory
from gnj.storage.sql.facts import COUNTED, Contents, Facts, File, Held, Indexes, Migrations, Server
from gnj.storage.sql.faults import faults
from gnj.storage.sql.migrate import context_of, scripts_of_package
from gnj.storage.sql.schema import DUE, Tables
from gnj.storage.sql.storage import SqlStorage
from gnj.storage.sql.transaction import SqlRows

T = TypeVar("T")

NOTIFIED_WITHIN: Final = 3.0
"""Seconds a notification is waited for."""
_NOTIFY: Final = "SELECT pg_notify(:channel, '')"


def inspect(storage: SqlStorage) -> Facts:
    """Looks at a database. Raises `StorageError` where it cannot be used at all."""
    part = _PARTS[storage.dialect.name]
    with storage.begin(write=False) as rows, faults():
        assert isinstance(rows, SqlRows)  # noqa: S101 - what the storage of SQL gives
        server = part.server(rows.connection)
        migrations = _migrations(rows.connection, storage.tables)
        current = migrations.current == migrations.head
        skew = _skew(rows) if storage.dialect.has_clock else None
        indexes = (
            _indexes(part.indexes(rows.connection, storage.tables), storage.tables, storage.engine) if current else None
        )
        contents = _contents(storage, part, rows) if current else None
    notified = storage.dialect.name == "postgresql" and "notify" in storage.capabilities
    return Facts(
        database=storage.dialect.name,
        server=server,
        pool=_pool(storage.engine),
        migrations=migrations,
        skew=skew,
        file=_file(storage.engine),
        notified=notified,
        notification=_notification(storage.engine) if notified else None,
        indexes=indexes,
        contents=contents,
    )


def _migrations(connection: Connection, tables: Tables) -> Migrations:
    scripts = scripts_of_package()
    current = context_of(connection, tables).get_current_revision()
    known = [script.revision for script in scripts.walk_revisions()]  # the newest first
    newer = current is not None and current not in known
    done = known.index(current) if current is not None and not newer else len(known)
    missing = () if newer else tuple(reversed(known[:done]))
    return Migrations(current=current, head=known[0], missing=missing, newer=newer)


def _skew(rows: SqlRows) -> float:
    """Against the middle of the time that asking took; a first question sees to it that it takes little."""
    rows.now()
    before = datetime.now(UTC)
    there = rows.now()
    here = before + (datetime.now(UTC) - before) / 2
    return (there - here).total_seconds()


def _pool(engine: Engine) -> int:
    size = getattr(engine.pool, "size", None)
    return 1 if size is None else int(size()) + max(0, getattr(engine.pool, "_max_overflow", 0))


def _file(engine: Engine) -> File | None:
    if engine.dialect.name != "sqlite" or in_memory(engine.url) or engine.url.database is None:
        return None
    path = Path(engine.url.database).absolute()
    if not path.exists():  # a file:… URI, of which only SQLite knows what it means
        return None
    return File(
        path=str(path),
        writable=os.access(path, os.W_OK),
        folder_writable=os.access(path.parent, os.W_OK),
        free=shutil.disk_usage(path.parent).free,
    )


def _notification(engine: Engine) -> float | None:
    """LISTEN on one connection, NOTIFY on another, as workers and those who enqueue do.

    Behind a pooler that hands connections out by transaction the LISTEN is accepted, and nothing ever arrives.
    """
    channel = f"gnj_doctor_{secrets.token_hex(8)}"
    raw: Any = None
    try:
        borrowed = engine.raw_connection()
        raw = borrowed.driver_connection
        borrowed.detach()
        raw.rollback()
        raw.autocommit = True
        raw.execute(f"LISTEN {channel}")
        with engine.connect() as connection:
            begin = perf_counter()
            connection.execute(text(_NOTIFY), {"channel": channel})
            connection.commit()
        if list(raw.notifies(timeout=NOTIFIED_WITHIN, stop_after=1)):
            return perf_counter() - begin
    except Exception:  # noqa: BLE001 - whatever a driver or network comes up with: it did not arrive
        return None
    finally:
        if raw is not None:
            raw.close()
    return None


def _indexes(there: Mapping[str, bool], tables: Tables, engine: Engine) -> Indexes:
    wanted = {str(index.name): index for table in tables.metadata.tables.values() for index in table.indexes}

    def statement(index: Index) -> str:
        return " ".join(str(CreateIndex(index).compile(dialect=engine.dialect)).split())

    return Indexes(
        claim=tables.ready_index,
        expected=len(wanted),
        missing={name: statement(index) for name, index in sorted(wanted.items()) if name not in there},
        invalid=tuple(name for name in sorted(wanted) if not there.get(name, True)),
    )


def _contents(storage: SqlStorage, part: _Part, rows: SqlRows) -> Contents:
    job, now = storage.tables.job, rows.now()
    ended = and_(job.c.ended_at.is_not(None), job.c.deleted_at.is_(None))
    deleted = job.c.deleted_at.is_not(None)
    # MySQL has an index of a generated column where others have a partial one
    due_at = job.c.due_key if storage.dialect.keyed else job.c.due_at
    due = and_(text(DUE), due_at <= literal(now, TIME))
    lease_ends, claimed = storage.dialect.lease_ends(storage.tables)
    lost = and_(*claimed, lease_ends <= literal(now, TIME))

    def count(condition: Any) -> int:
        found = select(literal(1)).select_from(job).where(condition).limit(COUNTED).subquery()
        return int(rows.connection.execute(select(func.count()).select_from(found)).scalar_one())

    def first(moment: Any, condition: Any) -> datetime | None:
        found: datetime | None = rows.connection.execute(select(func.min(moment)).where(condition)).scalar_one()
        return found

    def held(type: str, tenant: str) -> Held:
        condition = [job.c.status == "queued", job.c.deleted_at.is_(None)]
        condition += [job.c.type == type] * (type != ALL_TYPES) + [job.c.tenant == tenant] * (tenant != "")
        return Held(type=type, tenant=tenant, queued=count(and_(*condition)))

    hold = storage.tables.hold
    holds = rows.connection.execute(
        select(hold.c.type, hold.c.tenant)
        .where(hold.c.deleted_at.is_(None), hold.c.held)
        .order_by(hold.c.type, hold.c.tenant)
    ).all()
    greatest = {
        name: int(rows.connection.execute(select(func.coalesce(func.max(table.c.id), 0))).scalar_one())
        for name, table in ((name, storage.tables.of(kind)) for name, kind in RECORDS.items())
    }
    return Contents(
        now=now,
        greatest=greatest,
        ended=count(ended),
        oldest_ended=min((group.oldest for group in ended_jobs.groups(rows)), default=None),
        deleted=count(deleted),
        oldest_deleted=first(job.c.deleted_at, deleted),
        bytes=_if_allowed(lambda: part.size(rows.connection, storage.tables)),
        lost=count(lost),
        oldest_lost=first(job.c.lease_expires_at, lost),
        overdue=count(due),
        oldest_due=first(job.c.due_at, due),
        held=tuple(held(type or ALL_TYPES, tenant) for type, tenant in holds),
    )


def _if_allowed(read: Callable[[], T]) -> T | None:
    with suppress(SQLAlchemyError):
        return read()
    return None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


class _Part(ABC):
    """What is asked of one database system."""

    @abstractmethod
    def server(self, connection: Connection) -> Server:
        """The server, as this connection sees it."""

    @abstractmethod
    def indexes(self, connection: Connection, tables: Tables) -> Mapping[str, bool]:
        """The names of indexes, and whether they can be used."""

    @abstractmethod
    def size(self, connection: Connection, tables: Tables) -> int | None:
        """How many bytes jobs take."""


_SYNCHRONOUS: Final = {"0": "OFF", "1": "NORMAL", "2": "FULL", "3": "EXTRA"}


class _Sqlite(_Part):
    def server(self, connection: Connection) -> Server:
        version = connection.exec_driver_sql("SELECT sqlite_version()").scalar_one()
        names = ("journal_mode", "synchronous", "busy_timeout")
        values = {name: str(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()) for name in names}
        return Server(
            product="SQLite",
            version=tuple(int(part) for part in version.split(".")),
            isolation="SERIALIZABLE",
            claim_isolation="SERIALIZABLE",
            settings=values | {"synchronous": _SYNCHRONOUS.get(values["synchronous"], values["synchronous"])},
            read_only=bool(connection.exec_driver_sql("PRAGMA query_only").scalar_one()),
        )

    def indexes(self, connection: Connection, tables: Tables) -> Mapping[str, bool]:
        names = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'index'").scalars()
        return dict.fromkeys(names, True)

    def size(self, connection: Connection, tables: Tables) -> int | None:
        pages, size = (
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("page_count", "page_size")
        )
        return int(pages * size)


class _Postgresql(_Part):
    def server(self, connection: Connection) -> Server:
        def show(name: str) -> str:
            return str(connection.exec_driver_sql(f"SELECT current_setting('{name}')").scalar_one())

        settings = {name: show(name) for name in ("synchronous_commit", "fsync")}
        activity = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        number = int(show("server_version_num"))
        isolation = show("default_transaction_isolation")
        dialect_of("postgresql").begin(connection, write=True)
        try:
            within, read_only = show("transaction_isolation"), show("transaction_read_only")
        finally:
            connection.exec_driver_sql("ROLLBACK")
        return Server(
            product="PostgreSQL",
            version=(number // 10_000, number % 10_000),
            isolation=isolation.upper(),
            claim_isolation=within.upper(),
            settings=settings,
            read_only=read_only == "on",
            max_connections=int(show("max_connections")) - int(show("superuser_reserved_connections")),
            connections=int(connection.exec_driver_sql(activity).scalar_one()),
        )

    def indexes(self, connection: Connection, tables: Tables) -> Mapping[str, bool]:
        where = "pg_table_is_visible(i.indrelid)" if tables.schema is None else "n.nspname = :schema"
        statement = text(
            "SELECT c.relname, i.indisvalid AND i.indisready FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
            f"JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {where}"
        )
        found = connection.execute(statement, {} if tables.schema is None else {"schema": tables.schema})
        return {name: bool(valid) for name, valid in found}

    def size(self, connection: Connection, tables: Tables) -> int | None:
        statement = text("SELECT pg_total_relation_size(CAST(:name AS regclass))")
        return int(connection.execute(statement, {"name": tables.name(tables.job)}).scalar_one())


class _Mysql(_Part):
    def server(self, connection: Connection) -> Server:
        def variables(scope: str, *names: str) -> dict[str, str]:
            listed = ", ".join(f"'{name}'" for name in names)
            found = connection.exec_driver_sql(f"SHOW {scope} WHERE Variable_name IN ({listed})")
            return {str(name).lower(): str(value) for name, value in found}

        def isolation(scope: str) -> str:
            # MariaDB had the older name only, until 11.1
            found = variables(f"{scope} VARIABLES", "transaction_isolation", "tx_isolation")
            return next(iter(found.values())).replace("-", " ")

        version = str(connection.exec_driver_sql("SELECT VERSION()").scalar_one())
        names = ("innodb_flush_log_at_trx_commit", "sync_binlog", "log_bin", "max_connections", "read_only")
        settings = variables("GLOBAL VARIABLES", *names)
        return Server(
            product="MariaDB" if "mariadb" in version.lower() else "MySQL",
            version=tuple(int(part) for part in connection.dialect.server_version_info or () if str(part).isdigit()),
            isolation=isolation("GLOBAL"),
            claim_isolation=isolation("SESSION"),
            settings=settings,
            read_only=settings.get("read_only", "OFF") not in ("OFF", "0"),
            max_connections=_number(settings.get("max_connections")),
            connections=_number(variables("GLOBAL STATUS", "Threads_connected").get("threads_connected")),
        )

    def indexes(self, connection: Connection, tables: Tables) -> Mapping[str, bool]:
        statement = "SELECT DISTINCT index_name FROM information_schema.statistics WHERE table_schema = DATABASE()"
        return dict.fromkeys(connection.exec_driver_sql(statement).scalars(), True)

    def size(self, connection: Connection, tables: Tables) -> int | None:
        statement = text(
            "SELECT data_length + index_length FROM information_schema.tables "
            "WHERE table_schema = DATABASE() AND table_name = :name"
        )
        found = connection.execute(statement, {"name": tables.job.name}).scalar()
        return None if found is None else int(found)


_PARTS: Final[Mapping[str, _Part]] = {"sqlite": _Sqlite(), "postgresql": _Postgresql(), "mysql": _Mysql()}
