"""Bringing a database up to this version, with Alembic as a library: revisions are functions of (op, tables).

Alembic is loaded when something has to be done: 8 MB and 60 ms that a worker of a database that is up to date does without.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, column, func, select, table, text

from gnj.queue.errors import DatabaseTooNew, NotMigrated, StorageUnavailable
from gnj.storage.sql.columns_mysql import MYSQL
from gnj.storage.sql.schema import Tables

if TYPE_CHECKING:
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

_SCRIPTS: Final = Path(__file__).parent / "migrations"
_LOCK: Final = 0x676E6A
"""The first half of the advisory lock's key; the second tells tables of other names apart."""

PATIENCE: Final = 3600
"""Seconds that a migration waits for another one: some rebuild a whole table."""


def upgrade(connection: Connection, tables: Tables) -> None:
    """Runs the migrations that are missing, in the transaction that has begun on `connection`.

    Whoever comes second waits: on PostgreSQL and MySQL for an advisory lock, on SQLite for the write lock that the
    transaction has. On MySQL each statement that makes something commits: a migration that was cut short is run again, and
    finds what is there already (`portable`). How far it came is noted last.
    """
    with _alone(connection, tables):
        _upgrade(connection, tables)


@contextmanager
def _alone(connection: Connection, tables: Tables) -> Iterator[None]:
    if connection.dialect.name not in MYSQL:
        yield
        return
    # the server's locks are not of one database
    database = connection.exec_driver_sql("SELECT DATABASE()").scalar_one()
    lock = {"name": f"gnj:{hashlib.sha256(f'{database}.{tables.prefix}'.encode()).hexdigest()[:40]}"}
    if connection.execute(text("SELECT GET_LOCK(:name, :seconds)"), {**lock, "seconds": PATIENCE}).scalar_one() != 1:
        raise StorageUnavailable("another process does not end its migration")
    try:
        yield
        connection.commit()
    finally:
        connection.execute(text("DO RELEASE_LOCK(:name)"), lock)


def _upgrade(connection: Connection, tables: Tables) -> None:
    if connection.dialect.name == "postgresql":
        names = zlib.crc32(f"{tables.schema or ''}.{tables.prefix}".encode()) - 2**31
        connection.execute(text(f"SET LOCAL lock_timeout = '{PATIENCE}s'"))
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK, names)))
        if tables.schema is not None:
            connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{tables.schema}"'))
    current = revision(connection, tables)
    if current == revisions()[-1]:
        return
    from alembic.operations import Operations  # noqa: PLC0415 - see above

    scripts, context = scripts_of_package(), context_of(connection, tables)
    for script in reversed(list(scripts.iterate_revisions("head", current or "base"))):
        # not by Alembic's `command`, whose `op` and `context` are globals: two threads may migrate two databases
        script.module.upgrade(Operations(context), tables)
        context.stamp(scripts, script.revision)


def check(connection: Connection, tables: Tables) -> None:
    """Raises `NotMigrated` or `DatabaseTooNew` unless the database is of this version."""
    if revision(connection, tables) != revisions()[-1]:
        raise NotMigrated


@cache
def revisions() -> tuple[str, ...]:
    """The revisions there are, in their order: each file's name begins with its own."""
    return tuple(sorted(file.name.partition("_")[0] for file in (_SCRIPTS / "versions").glob("[0-9]*.py")))


def scripts_of_package() -> ScriptDirectory:
    """The revisions there are, to Alembic."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - see above

    return ScriptDirectory(str(_SCRIPTS))


def context_of(connection: Connection, tables: Tables) -> MigrationContext:
    """What knows how far the database on `connection` came, to Alembic."""
    from alembic.migration import MigrationContext  # noqa: PLC0415 - see above

    options = {"version_table": tables.version_table, "version_table_schema": tables.schema}
    return MigrationContext.configure(connection, opts=options)


def revision(connection: Connection, tables: Tables) -> str | None:
    """The revision of the database, None where gnj has no tables; raises `DatabaseTooNew` where this version does not know it."""
    if not connection.dialect.has_table(connection, tables.version_table, schema=tables.schema):
        return None
    noted = table(tables.version_table, column("version_num"), schema=tables.schema)
    current: str | None = connection.execute(select(noted.c.version_num)).scalar()
    if current is not None and current not in revisions():
        raise DatabaseTooNew(
            f"the database is at revision {current}, made by a newer gnj than this one, which knows up to "
            f"{revisions()[-1]}: upgrade gnj"
        )
    return current
