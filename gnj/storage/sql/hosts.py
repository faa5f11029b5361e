"""Sessions and connections of the host's: which are taken, and how one learns that their transaction was committed.

SQLAlchemy has no event after the commit of a connection: `commit` comes before it, and a commit can still fail (a deferred
constraint). A session's `after_commit` comes as well when only a savepoint is released, or when the session takes part in a
transaction that goes on, as in the tests of many hosts. So what is watched is the transaction itself, the object through
which every commit and every rollback goes: that one object becomes of a class that differs from its own in nothing but
telling. Nothing is put on engines, sessions or classes, no thread waits, and with the transaction all of it is gone.
"""

from __future__ import annotations

import logging
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from sqlalchemy import Connection, NestedTransaction, RootTransaction, Transaction, TwoPhaseTransaction, exc

from gnj.queue.errors import InvalidInput
from gnj.storage.sql.faults import faults

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

logger = logging.getLogger("gnj.storage")

_ASYNC: Final = "sqlalchemy.ext.asyncio"
_TOLD: Final = "_gnj_told"
_FAILED: Final = "the transaction has failed: roll it back first"


def sync_target(verb: str, session: Any, connection: Any) -> Session | Connection:
    """The one of the two that was given, if `jobs.VERB` takes it. Raises `TypeError`, naming the right call."""
    from sqlalchemy.orm import Session, scoped_session  # noqa: PLC0415 - 6 MB, which only a host may have use for

    given, word = _one(verb, session, connection)
    if isinstance(given, scoped_session):
        given = given()
    if isinstance(given, _asynchronous()):
        raise TypeError(f"an {_kind(given)} does not go with {verb}: await jobs.{verb}_async(…, {word}={word})")
    return cast("Session | Connection", _checked(verb, word, given, Session, Connection))


def async_target(verb: str, session: Any, connection: Any) -> Any:
    """Likewise, for `jobs.VERB_async`: an AsyncSession or AsyncConnection."""
    from sqlalchemy.orm import Session, scoped_session  # noqa: PLC0415 - likewise

    given, word = _one(f"{verb}_async", session, connection)
    if isinstance(given, scoped_session | Session | Connection):
        raise TypeError(f"a {_kind(given)} does not go with {verb}_async: jobs.{verb}(…, {word}={word})")
    from sqlalchemy.ext.asyncio import (  # noqa: PLC0415 - needs greenlet, which a host has that has one of these
        AsyncConnection,
        AsyncSession,
        async_scoped_session,
    )

    if isinstance(given, async_scoped_session):
        given = given()
    return _checked(f"{verb}_async", word, given, AsyncSession, AsyncConnection)


def connection_of(target: Session | Connection) -> Connection:
    """The connection to work on, in the transaction of the host's that is open, or that it begins now.

    Raises `InvalidInput` for what cannot be worked on: closed, failed and not rolled back, or without a transaction.
    """
    try:
        connection = target if isinstance(target, Connection) else target.connection()
        if connection.closed:
            raise InvalidInput("the connection is closed")
        transaction = connection.get_transaction()
        if transaction is not None and not transaction.is_active:
            raise InvalidInput(_FAILED)
        with faults():
            if transaction is None:
                connection.begin()
            raw = connection.connection
    except exc.UnboundExecutionError as error:
        raise InvalidInput(
            "the session does not say which of its databases is meant: connection=session.connection(bind_arguments={…})"
        ) from error
    except exc.PendingRollbackError as error:
        raise InvalidInput(_FAILED) from error
    except exc.InvalidRequestError as error:
        raise InvalidInput(f"the session cannot be used: {error}") from error
    _check_transaction(connection, raw)
    return connection


def after_commit(connection: Connection, call: Callable[[], None]) -> None:
    """Has `call` called, once, when what was done through `connection` so far is committed; never if it is rolled back.

    A savepoint that is rolled back takes with it what was asked for inside it. `call` is called by whoever commits, right
    after the database has, and must neither block nor use the connection.
    """
    nested, root = connection.get_nested_transaction(), connection.get_transaction()
    if root is None:  # nothing was done
        return
    told: list[_Told] = vars(connection).setdefault(_TOLD, [])
    _watch(root)
    told.append((_level(nested), call))


_Level: TypeAlias = Callable[[], Transaction | None]
"""A weak reference to a savepoint; or, outside of all, what gives None."""
_Told: TypeAlias = tuple[_Level, Callable[[], None]]
"""Where it was asked for, and what is to be called."""


class _Watched:
    """A transaction that tells."""

    __slots__ = ()


class _Root(_Watched):
    __slots__ = ()

    def commit(self: Any) -> None:
        super().commit()  # type: ignore[misc]
        for _, call in vars(self.connection).pop(_TOLD, ()):
            try:
                call()
            except Exception:
                logger.exception("what comes after a commit of the host's failed")

    def rollback(self: Any) -> None:
        vars(self.connection).pop(_TOLD, None)
        super().rollback()  # type: ignore[misc]

    def close(self: Any) -> None:
        # also called where the transaction is over, and another one has begun
        if self.connection.get_transaction() is self:
            vars(self.connection).pop(_TOLD, None)
        super().close()  # type: ignore[misc]


class _Savepoint(_Watched):
    __slots__ = ()

    def commit(self: Any) -> None:
        super().commit()  # type: ignore[misc]
        outer = _level(self.connection.get_nested_transaction())
        told: list[_Told] = vars(self.connection).get(_TOLD, [])
        told[:] = [(outer if of() is self else of, call) for of, call in told]

    def rollback(self: Any) -> None:
        self._forget()
        super().rollback()  # type: ignore[misc]

    def close(self: Any) -> None:
        self._forget()
        super().close()  # type: ignore[misc]

    def _forget(self: Any) -> None:
        told: list[_Told] = vars(self.connection).get(_TOLD, [])
        told[:] = [(of, call) for of, call in told if of() is not self]


class _WatchedRoot(_Root, RootTransaction):
    __slots__ = ()


class _WatchedTwoPhase(_Root, TwoPhaseTransaction):
    __slots__ = ()


class _WatchedSavepoint(_Savepoint, NestedTransaction):
    __slots__ = ()


_CLASSES: Final[dict[type[Transaction], Any]] = {
    RootTransaction: _WatchedRoot,
    TwoPhaseTransaction: _WatchedTwoPhase,
    NestedTransaction: _WatchedSavepoint,
}


def _watch(transaction: Any) -> None:
    if not isinstance(transaction, _Watched):
        transaction.__class__ = _CLASSES[type(transaction)]


def _level(nested: NestedTransaction | None) -> _Level:
    if nested is None:
        return _outside
    _watch(nested)
    return weakref.ref(nested)


def _outside() -> None:
    """Of no savepoint."""


def _check_transaction(connection: Connection, raw: Any) -> None:
    """Where each statement commits by itself, nothing the host rolls back would be undone."""
    with suppress(NotImplementedError):  # a driver that does not say
        if connection.dialect.detect_autocommit_setting(raw.dbapi_connection) and not _begun(raw.driver_connection):
            raise InvalidInput(
                "the connection commits each statement by itself (AUTOCOMMIT): it has no transaction to join"
            )


def _begun(driver: Any) -> bool:
    """Whether a transaction was begun by hand, as far as the driver knows."""
    info = getattr(driver, "info", None)
    return bool(
        getattr(driver, "in_transaction", False) is True  # SQLite
        or getattr(info, "transaction_status", 0)  # psycopg
        or getattr(driver, "server_status", 0) & 1  # PyMySQL
    )


def _one(verb: str, session: Any, connection: Any) -> tuple[Any, str]:
    if session is not None and connection is not None:
        raise TypeError(f"{verb} takes session= or connection=, not both: a session has its own connection")
    if session is None and connection is None:
        raise TypeError(f"{verb} needs session= or connection=")
    return (connection, "connection") if session is None else (session, "session")


def _checked(verb: str, word: str, given: Any, session: type, connection: type) -> Any:
    wanted, other = (session, connection) if word == "session" else (connection, session)
    if isinstance(given, wanted):
        return given
    if isinstance(given, other):
        right = "connection" if word == "session" else "session"
        raise TypeError(f"that is a {_kind(given)}: jobs.{verb}(…, {right}={right})")
    raise TypeError(f"{word} must be a SQLAlchemy {wanted.__name__}, not {_kind(given)}")


def _asynchronous() -> tuple[type, ...]:
    """The asynchronous ones: nobody has one who has not imported them."""
    module: Any = sys.modules.get(_ASYNC)
    return () if module is None else (module.AsyncSession, module.AsyncConnection, module.async_scoped_session)


def _kind(given: object) -> str:
    return type(given).__name__
