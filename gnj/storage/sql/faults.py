"""What goes wrong in a database, as gnj's errors: the one place where a driver's error is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import exc

from gnj.queue.errors import (
    Conflict,
    Duplicate,
    GnjError,
    NotMigrated,
    StorageError,
    StorageUnavailable,
    TimedOut,
)

_POSTGRESQL: Final[dict[str, type[GnjError]]] = {
    "40001": Conflict,  # serialization_failure
    "40P01": Conflict,  # deadlock_detected
    "55P03": StorageUnavailable,  # lock_not_available
    "57014": TimedOut,  # query_canceled: a timeout of the server's
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
    (("refused",), "nothing answers at the database's host and port"),
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
_SQLITE_INTERRUPT: Final = 9
DUPLICATE: Final = 1062
"""MySQL's number for a key that another row has."""
_MYSQL: Final[dict[int, type[GnjError]]] = {
    1020: Conflict,  # ER_CHECKREAD: the row changed since the transaction's snapshot
    1205: StorageUnavailable,  # ER_LOCK_WAIT_TIMEOUT: after five seconds, which is as long as anybody should be kept waiting
    1213: Conflict,  # ER_LOCK_DEADLOCK
    1305: Conflict,  # ER_SP_DOES_NOT_EXIST: a savepoint that went with the transaction a deadlock ended
    3572: Conflict,  # ER_LOCK_NOWAIT
    DUPLICATE: Duplicate,
    1969: TimedOut,  # ER_STATEMENT_TIMEOUT
    3024: TimedOut,  # ER_QUERY_TIMEOUT
    1051: NotMigrated,  # ER_BAD_TABLE_ERROR
    1054: NotMigrated,  # ER_BAD_FIELD_ERROR
    1146: NotMigrated,  # ER_NO_SUCH_TABLE
    1176: NotMigrated,  # ER_KEY_DOES_NOT_EXITS
}
_MYSQL_UNAVAILABLE: Final[dict[int, str | None]] = {
    0: None,  # the driver's own: the connection is closed
    1021: "the disk is full",
    1040: "the server has no connection left",
    1042: None,  # ER_BAD_HOST_ERROR
    1044: "the server refused the user or the password",
    1045: "the server refused the user or the password",
    1049: "there is no such database on the server",
    1053: None,  # ER_SERVER_SHUTDOWN
    1080: None,  # ER_FORCING_CLOSE
    1114: "the disk is full",  # ER_RECORD_FILE_FULL
    1129: "the server does not let this host connect",
    1130: "the server does not let this host connect",
    1152: None,  # ER_ABORTING_CONNECTION
    1158: None,  # ER_NET_READ_ERROR, and the others of the network
    1159: None,
    1160: None,
    1161: None,
    1184: None,  # ER_NEW_ABORTING_CONNECTION
    1203: "the server has no connection left",
    1226: "the server has no connection left",
    1290: "the server may only be read",
    1317: None,  # ER_QUERY_INTERRUPTED
    1698: "the server refused the user or the password",
    1792: "the server may only be read",
    1836: "the server may only be read",
    1927: None,  # ER_CONNECTION_KILLED
    2002: "nothing answers at the database's host and port",
    2003: "nothing answers at the database's host and port",
    2005: "there is no host of that name",
    2006: None,
    2013: None,
    2014: None,
    2055: None,
    4031: None,
}
_MYSQL_KEY: Final = " for key "


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
    lost = error.connection_invalidated or isinstance(error, exc.OperationalError)
    return of_driver(error.orig, lost=lost)


def of_driver(cause: BaseException | None, *, lost: bool) -> GnjError:
    """The `GnjError` that a driver's error means; `lost`: if it says no more, then that there is no connection."""
    number = mysql_code(cause)
    if number is not None:
        return _of_mysql(number, str(cause))
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    code = getattr(cause, "sqlite_errorcode", None)
    if state is not None:
        return _of_postgresql(state, str(getattr(getattr(cause, "diag", None), "constraint_name", "")))
    if code is not None:
        return _of_sqlite(code, str(cause))
    if lost:
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
    if code & 0xFF == _SQLITE_INTERRUPT:
        return TimedOut()
    told = _SQLITE.get(code & 0xFF)
    return StorageUnavailable(told) if told else StorageError(f"the database refused a statement (SQLite error {code})")


def mysql_code(cause: BaseException | None) -> int | None:
    """The number of a MySQL driver's error; None for another driver's."""
    code = getattr(cause, "errno", None) or (cause.args[0] if cause is not None and cause.args else None)
    return code if isinstance(code, int) else None


def _of_mysql(code: int, message: str) -> GnjError:
    kind = _MYSQL.get(code)
    if kind is Duplicate:
        return _duplicate(message.rpartition(_MYSQL_KEY)[2])  # before it stands the value
    if kind is not None:
        return kind()
    if code in _MYSQL_UNAVAILABLE:
        told = _MYSQL_UNAVAILABLE[code]
        unresolved = code == 2003 and any(part in message for part in ("resolution", "not known", "getaddrinfo"))
        return StorageUnavailable("there is no host of that name" if unresolved else told)
    if code == 1153:  # ER_NET_PACKET_TOO_LARGE
        return StorageError("a row is larger than the server takes: raise its max_allowed_packet")
    return StorageError(f"the database refused a statement (MySQL error {code})")


def _duplicate(where: str) -> Duplicate:
    return Duplicate() if "unique_id" in where else Duplicate("another row has that key")
