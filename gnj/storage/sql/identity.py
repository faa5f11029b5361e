"""Which database a connection is to: told by what the database is, not by how it was addressed.

One server has many names (localhost, 127.0.0.1, a socket, a pooler) and many drivers, a file many paths. What is asked for
needs no privilege, and is asked on both sides in the same moment, so that a restart of the server in between is no other
database for long.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import URL

from gnj.queue.errors import NotMigrated, WrongDatabase
from gnj.storage.sql.engine import in_memory, shown
from gnj.storage.sql.schema import Tables

# The system identifier of a PostgreSQL cluster would need a function that may be revoked, and is the same in a copy of the
# cluster. When the server started, to the microsecond, tells servers of one moment apart. The table's oid is that of the very
# table: two search paths in one database may see two.
_POSTGRESQL: Final = """
    SELECT CAST(extract(epoch FROM pg_postmaster_start_time()) * 1000000 AS bigint),
    CAST((SELECT oid FROM pg_database WHERE datname = current_database()) AS bigint),
    CAST(CAST(to_regclass(CAST(:job AS text)) AS oid) AS bigint)"""
_MYSQL: Final = """
    SELECT @@hostname, @@port, @@datadir,
    CASE WHEN @@lower_case_table_names = 0 THEN DATABASE() ELSE LOWER(DATABASE()) END"""


_MEMORY: Final = ("in memory",)


@dataclass(frozen=True, slots=True)
class Place:
    """Where jobs are: in which database, and on PostgreSQL in which table, if it is there."""

    database: tuple[Any, ...]
    table: int | None = None


def check(connection: Connection, engine: Engine, tables: Tables, place: Place | None) -> None:
    """Raises `WrongDatabase` unless `connection` is to the database of `engine`, which is at `place` if that is known."""
    ask = _ASKED.get(connection.dialect.name)
    if ask is None or ask is not _ASKED[engine.dialect.name]:
        raise _wrong(connection, engine)
    there = ask(connection, tables)
    if place is None:
        with engine.connect() as own:
            place = ask(own, tables)
    if place.database == _MEMORY:
        raise WrongDatabase("the jobs are in the memory of another engine: make GNJ with the engine of the session")
    if there.database != place.database:
        raise _wrong(connection, engine)
    if place.table is None and engine.dialect.name == "postgresql":
        raise NotMigrated
    if there.table != place.table:
        raise WrongDatabase(
            f"the connection does not see the table {tables.name(tables.job)} that the jobs are in: "
            "its search_path is another one, or GNJ needs schema="
        )


def _wrong(connection: Connection, engine: Engine) -> WrongDatabase:
    return WrongDatabase(
        f"the connection is to {shown(connection.engine.url)}, which is another database than {shown(engine.url)}, "
        "where the jobs are"
    )


def of_file(url: URL) -> Place:
    """Where the SQLite database is that a URL means, without opening it: who holds its lock may be the one who asks."""
    if in_memory(url) or url.database is None:
        return Place(_MEMORY)
    return Place((_real(unquote(urlsplit(url.database).path) if url.database.startswith("file:") else url.database),))


def path_of(place: Place) -> str | None:
    """The file of a SQLite database; None: it is in memory."""
    return None if place.database == _MEMORY else str(place.database[0])


def _postgresql(connection: Connection, tables: Tables) -> Place:
    *database, table = connection.execute(text(_POSTGRESQL), {"job": tables.name(tables.job)}).one()
    return Place(tuple(database), table)


def _mysql(connection: Connection, tables: Tables) -> Place:
    del tables
    return Place(tuple(connection.exec_driver_sql(_MYSQL).one()))


def _sqlite(connection: Connection, tables: Tables) -> Place:
    del tables
    files = {row[1]: row[2] for row in connection.exec_driver_sql("PRAGMA database_list")}
    return Place((_real(files["main"]),) if files.get("main") else _MEMORY)


def _real(path: str) -> str:
    return str(Path(path).resolve())


_ASKED: Final[dict[str, Callable[[Connection, Tables], Place]]] = {
    "postgresql": _postgresql,
    "sqlite": _sqlite,
    "mysql": _mysql,
    "mariadb": _mysql,
}
