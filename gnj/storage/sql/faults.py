"""What goes wrong in a database, as gnj's errors: the one place where a driver's error is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import exc

from gnj.queue.errors import Conflict, Duplicate, GnjError, NotMigrated, StorageError, StorageUnavailable

_POSTGRESQL: Final[dict[str, type[GnjError]]] = {
    "40001": Conflict,  # serialization_failure
    "40P01": Conflict,  # deadlock_detected
    "55P03": StorageUnavailable,  # lock_not_available
    "57014": StorageUnavailable,  # query_canceled: a timeout of the server's
    "23505": Duplicate,  # unique_violation
    "42P01": NotMigrated,  # undefined_table
    "42703": NotMigrated,  # undefined_column
    "3F000": NotMigrated,  # invalid_schema_name
}
# connection_exception, invalid_authorization, unknown database, insufficient_resources, operator_intervention, system_error
_POSTGRESQL_UNAVAILABLE: Final = ("08", "28", "3D", "53", "57", "58")
# What is wrong with a connection that was never made has no SQLSTATE, only the server's text; where that is not English,
# the default message serves.
_CONNECTING: Final = (
    (("database ", "does not exist"), "there is no such database on the server"),
    (("role ", "does not exist"), "the server does not know the user"),
    (("authentication failed",), "the server refused the user or the password"),
    (("no password supplied",), "the server asks for a password"),
    (("too many",), "the server has no connection left"),
    (("refused",), "nothing answers at that host and port"),
    (("resolve",), "there is no host of that name"),
    (("name or service not known",), "there is no host of that name"),
)
_SQLITE: Final[dict[int, str]] = {
    5: "another process keeps the file locked",  # SQLITE_BUSY, after the timeout
    6: "another connection keeps a table locked",  # SQLITE_LOCKED
    8: "the file, or its folder, may only be read",  # SQLITE_READONLY
    10: "reading or writing the file failed",  # SQLITE_IOERR
    13: "the disk is full",  # SQLITE_FULL
    14: "the file cannot be opened: does its folder exist, and may it be written?",  # SQLITE_CANTOPEN
    26: "the file is not a SQLite database",  # SQLITE_NOTADB
}
_SQLITE_UNIQUE: Final = 2067


@contextmanager
def faults() -> Iterator[None]:
    """Raises what SQLAlchemy raises inside the block as a `GnjError`, in words of our own; the cause stays attached."""
    try:
        yield
    except exc.SQLAlchemyError as error:
        raise translated(error) from error


def translated(error: exc.SQLAlchemyError) -> GnjError:
    """The `GnjError` that `error` means."""
    if isinstance(error, exc.TimeoutError):
        return StorageUnavailable("all connections to the database are in use")
    if not isinstance(error, exc.DBAPIError):
        return StorageError(f"the database could not be used ({type(error).__name__})")
    cause = error.orig
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    code = getattr(cause, "sqlite_errorcode", None)
    if state is not None:
        return _of_postgresql(state, str(getattr(getattr(cause, "diag", None), "constraint_name", "")))
    if code is not None:
        return _of_sqlite(code, str(cause))
    if error.connection_invalidated or isinstance(error, exc.OperationalError):
        text = str(cause).lower()
        return StorageUnavailable(next((told for parts, told in _CONNECTING if all(p in text for p in parts)), None))
    return StorageError(f"the database refused a statement ({type(cause).__name__})")


def _of_postgresql(state: str, constraint: str) -> GnjError:
    kind = _POSTGRESQL.get(state)
    if kind is Duplicate:
        return _duplicate(constraint)
    if kind is not None:
        return kind()
    if state.startswith(_POSTGRESQL_UNAVAILABLE):
        return StorageUnavailable()
    return StorageError(f"the database refused a statement (SQLSTATE {state})")


def _of_sqlite(code: int, message: str) -> GnjError:
    if code == _SQLITE_UNIQUE:
        return _duplicate(message)
    if message.startswith(("no such table", "no such column", "no such index")) or "has no column" in message:
        return NotMigrated()
    told = _SQLITE.get(code & 0xFF)
    return StorageUnavailable(told) if told else StorageError(f"the database refused a statement (SQLite error {code})")


def _duplicate(where: str) -> Duplicate:
    return Duplicate() if "unique_id" in where else Duplicate("another row has that key")
