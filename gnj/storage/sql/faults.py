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
_SQLITE: Final[dict[int, type[GnjError]]] = {
    5: StorageUnavailable,  # SQLITE_BUSY, after the timeout
    6: StorageUnavailable,  # SQLITE_LOCKED
    8: StorageUnavailable,  # SQLITE_READONLY
    10: StorageUnavailable,  # SQLITE_IOERR
    13: StorageUnavailable,  # SQLITE_FULL
    14: StorageUnavailable,  # SQLITE_CANTOPEN
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
        return StorageUnavailable()
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
    kind = _SQLITE.get(code & 0xFF)
    return kind() if kind is not None else StorageError(f"the database refused a statement (SQLite error {code})")


def _duplicate(where: str) -> Duplicate:
    return Duplicate() if "unique_id" in where else Duplicate("another row has that key")
