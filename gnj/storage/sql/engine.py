"""Engines: made from a URL, and how a transaction begins on one that is ours or the host's."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Engine, StaticPool, create_engine, event, exc
from sqlalchemy.engine import URL, make_url

from gnj.queue.errors import InvalidInput, StorageError
from gnj.storage.sql.dialects import DIALECTS

BUSY_SECONDS: Final = 5
"""How long a SQLite transaction waits for another process's, and the most a first connection to a server may take."""
_WORKING: Final = "sqlite:///file.db, sqlite:// (in memory), postgresql://user@host/database and memory://"


def parsed(url: str | URL) -> URL:
    """`url` with the driver it means. Raises `InvalidInput` for a database there is no SQL for."""
    try:
        parts = make_url(url)
    except (exc.ArgumentError, ValueError):  # a port that is no number is a ValueError
        raise InvalidInput(f"that is no database URL; what works: {_WORKING}") from None
    backend = parts.get_backend_name()
    if backend not in DIALECTS:
        raise InvalidInput(f"gnj does not know {backend}:// databases; what works: {_WORKING}")
    if parts.drivername == "postgresql":
        parts = parts.set(drivername="postgresql+psycopg")
    return parts


def make_engine(url: str | URL, pool_size: int) -> Engine:
    """An engine of our own. Nothing is connected to yet."""
    parts = parsed(url)
    try:
        if parts.get_backend_name() == "sqlite":
            return _sqlite(parts, pool_size)
        return _postgresql(parts, pool_size)
    except ModuleNotFoundError as error:
        raise _missing(parts, error) from None
    except (exc.ArgumentError, ValueError):  # a port that is no number is a ValueError
        raise InvalidInput(f"{shown(parts)} has a part that its driver does not take") from None


def shown(url: URL) -> str:
    """A URL for a message: without its password."""
    return url.render_as_string(hide_password=True)


def _missing(url: URL, error: ModuleNotFoundError) -> StorageError:
    backend = url.get_backend_name()
    return StorageError(f'{backend}:// needs {error.name}, which is not installed: pip install "gnj[{backend}]"')


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


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say so, not before the first INSERT
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    # FULL: an acknowledged job survives a power cut
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _postgresql(url: URL, pool_size: int) -> Engine:
    arguments: dict[str, Any] = {}
    if "connect_timeout" not in url.query:
        arguments["connect_timeout"] = BUSY_SECONDS - 1
    arguments["prepare_threshold"] = None
    return create_engine(
        url,
        connect_args=arguments,
        pool_size=pool_size,
        max_overflow=pool_size,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
    )
