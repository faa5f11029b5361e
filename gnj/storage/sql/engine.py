"""Engines: made from a URL, and how a transaction begins on one that is ours or the host's."""

from __future__ import annotations

import time
from importlib.util import find_spec
from typing import Any, Final

from sqlalchemy import Engine, StaticPool, create_engine, event, exc
from sqlalchemy.engine import URL, make_url

from gnj.queue.errors import InvalidInput, StorageError, StorageUnavailable
from gnj.storage.sql import direct_postgresql
from gnj.storage.sql.columns_mysql import MYSQL
from gnj.storage.sql.dialect import OURS
from gnj.storage.sql.dialects import NAMES

BUSY_SECONDS: Final = 5
"""How long a SQLite transaction waits for another process's, and the most a first connection to a server may take."""
# When libpq gives up a server that a network has lost, which would else be waited for as long as the kernel does: a quarter of
# an hour for what was sent, two hours for an answer.
_GONE: Final = {"tcp_user_timeout": 5_000, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
_WORKING: Final = "sqlite:///file.db, sqlite:// (in memory), postgresql://user@host/database, mysql://user@host/database and memory://"
# Our own connections are used by threads: of an asynchronous driver's URL the place is taken, not the driver.
_BLOCKING: Final = {
    "postgresql+asyncpg": "postgresql",
    "postgresql+psycopg_async": "postgresql",
    "sqlite+aiosqlite": "sqlite",
    "mysql+aiomysql": "mysql",
    "mysql+asyncmy": "mysql",
    "mariadb+aiomysql": "mysql",
    "mariadb+asyncmy": "mysql",
}
_LIBPQ: Final = {"ssl": "sslmode", "prepared_statement_cache_size": "", "statement_cache_size": ""}
"""What asyncpg calls otherwise than libpq, and what means nothing to it ("")."""
# What a session of ours has, whatever the server's defaults: values are refused rather than cut, and texts of up to 1,000
# characters sort to their end (the default: 256).
_MYSQL_SESSION: Final = (
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    f"SET SESSION innodb_lock_wait_timeout = {BUSY_SECONDS}",
    "SET SESSION max_sort_length = 4096",
    "SET SESSION sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION'",
)


def parsed(url: str | URL) -> URL:
    """`url` with the driver it means. Raises `InvalidInput` for a database there is no SQL for."""
    try:
        parts = make_url(url)
    except (exc.ArgumentError, ValueError):  # a port that is no number is a ValueError
        raise InvalidInput(f"that is no database URL; what works: {_WORKING}") from None
    if parts.drivername == "postgres":  # as some hosting services still write it
        parts = parts.set(drivername="postgresql")
    backend = parts.get_backend_name()
    if backend not in NAMES:
        raise InvalidInput(f"gnj does not know {backend}:// databases; what works: {_WORKING}")
    if parts.drivername in _BLOCKING:
        if parts.drivername == "postgresql+asyncpg":
            query = {_LIBPQ.get(name, name): value for name, value in parts.query.items()}
            parts = parts.set(query=query).difference_update_query([""])
        parts = parts.set(drivername=_BLOCKING[parts.drivername])
    if parts.drivername == "postgresql" or (parts.drivername == "postgresql+psycopg2" and not find_spec("psycopg2")):
        parts = parts.set(drivername="postgresql+psycopg")
    if parts.drivername in MYSQL:
        parts = parts.set(drivername="mysql+pymysql")
    return parts


def make_engine(url: str | URL, pool_size: int) -> Engine:
    """An engine of our own. Nothing is connected to yet."""
    parts = parsed(url)
    try:
        if parts.get_backend_name() == "sqlite":
            return _sqlite(parts, pool_size)
        return (_mysql if parts.get_backend_name() in MYSQL else _postgresql)(parts, pool_size)
    except ModuleNotFoundError as error:
        raise _missing(parts, error) from None
    except (exc.ArgumentError, ValueError):  # a port that is no number is a ValueError
        raise InvalidInput(f"{shown(parts)} has a part that its driver does not take") from None


def shown(url: URL) -> str:
    """A URL for a message: without its password."""
    return url.render_as_string(hide_password=True)


def _missing(url: URL, error: ModuleNotFoundError) -> StorageError:
    backend = url.get_backend_name()
    extra = "mysql" if backend in MYSQL else backend
    return StorageError(f'{backend}:// needs {error.name}, which is not installed: pip install "gnj[{extra}]"')


def _sqlite(url: URL, pool_size: int) -> Engine:
    arguments = {"timeout": BUSY_SECONDS, "check_same_thread": False}
    if in_memory(url):
        # all threads share one connection, and take turns (see `SqlStorage.begin`)
        engine = create_engine(url, connect_args=arguments, poolclass=StaticPool, hide_parameters=True)
    else:
        engine = create_engine(
            url, connect_args=arguments, pool_size=pool_size, max_overflow=pool_size, hide_parameters=True
        )
    event.listen(engine, "connect", _prepare_sqlite)
    return engine


def in_memory(url: URL) -> bool:
    """Whether a SQLite URL means a database that lives in this process only."""
    return url.database in (None, "", ":memory:") or url.query.get("mode") == "memory"


def _switch_to_wal(cursor: Any) -> None:
    """WAL, for which a new file must be nobody else's for a moment: SQLite does not wait for that by itself."""
    import sqlite3  # noqa: PLC0415 - 0.9 MB that only those pay who use it

    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say so, not before the first INSERT
    cursor = connection.cursor()
    _switch_to_wal(cursor)
    # FULL: an acknowledged job survives a power cut
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _postgresql(url: URL, pool_size: int) -> Engine:
    defaults = {"connect_timeout": BUSY_SECONDS - 1, **_GONE}
    arguments: dict[str, Any] = {name: value for name, value in defaults.items() if name not in url.query}
    arguments["prepare_threshold"] = None
    engine = create_engine(
        url,
        connect_args=arguments,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=BUSY_SECONDS,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
    )
    event.listen(engine, "connect", _prepare_postgresql)
    return engine


def _prepare_postgresql(connection: Any, record: Any) -> None:
    record.info[OURS] = True
    if hasattr(connection, "pgconn"):
        direct_postgresql.prepare(connection, record.info)


def _mysql(url: URL, pool_size: int) -> Engine:
    arguments: dict[str, Any] = {}
    if "connect_timeout" not in url.query:
        arguments["connect_timeout"] = BUSY_SECONDS - 1
    if "read_timeout" not in url.query:
        # until the session is set up: PyMySQL would wait for ever for a server that takes the connection and says nothing
        arguments["read_timeout"] = BUSY_SECONDS - 1
    engine = create_engine(
        url,
        connect_args=arguments,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=BUSY_SECONDS,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
    )
    event.listen(engine, "do_connect", _connect_mysql)
    event.listen(engine, "connect", _prepare_mysql if "read_timeout" in arguments else _set_up_mysql)
    return engine


def _connect_mysql(dialect: Any, _: Any, arguments: Any, options: Any) -> Any:
    try:
        return dialect.connect(*arguments, **options)
    except RuntimeError as error:  # MySQL 8's own way of passwords, where the connection is not encrypted
        raise StorageUnavailable(
            'the server takes passwords in a way that needs cryptography: pip install "PyMySQL[rsa]", or connect with TLS'
        ) from error


def _prepare_mysql(connection: Any, record: Any) -> None:
    _set_up_mysql(connection, record)
    connection._read_timeout = None  # noqa: SLF001 - there is no other way to have one for connecting alone


def _set_up_mysql(connection: Any, record: Any) -> None:
    cursor = connection.cursor()
    for statement in _MYSQL_SESSION:
        cursor.execute(statement)
    cursor.close()
    record.info[OURS] = True
