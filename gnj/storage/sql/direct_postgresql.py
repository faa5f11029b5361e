"""Hot statements over psycopg: prepared statements, one exchange with the server each.

libpq is called directly, through `psycopg.pq`: a statement through a psycopg cursor takes 22 µs of CPU more. Values go as
text, which the casts in the statement give their types; results come in binary form, by psycopg's own loaders.
"""

from __future__ import annotations

import select
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Engine

from gnj.storage.sql.columns import FROM_POSTGRESQL
from gnj.storage.sql.dialect import LIMIT, ROUTED, SESSION
from gnj.storage.sql.direct import Answer, Compiled, Direct, Link, compiled

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn, PGresult

PREPARED: Final = 60
"""Statements kept prepared on one connection: claims have one for each limit."""
# A plan that was made for any parameters, or by statistics from an idle hour, must not find another way: see `_BEGIN` in
# `dialects`. With the joins by nested loops alone, ids that are given are looked up one by one however many are expected.
# psycopg makes times of UTC cheaply, and of any other zone through zoneinfo.
_ROUTE: Final = {
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    "lock_timeout": "'5s'",
    "TimeZone": "'UTC'",
}
ROUTE: Final = "; ".join(f"SET {name} TO {value}" for name, value in _ROUTE.items())
"""Sets a session up for hot statements, once for as long as it is used for nothing else."""
LEAVE: Final = "; ".join(f"RESET {name}" for name in _ROUTE)
"""Gives the session back what it had."""
LEAVE_LOCAL: Final = "; ".join(f"SET LOCAL {name} TO DEFAULT" for name in _ROUTE)
"""Likewise for one transaction."""
_WELL: Final = (0, 1, 2)
"""`psycopg.pq.ExecStatus`: an empty query, one without rows, and one with rows."""
_LAST: Final = (b"FATAL", b"PANIC")
"""Severities of errors after which the server ends the session, as libpq learns when it next reads."""
_STALE: Final = ("0A000", "26000")
"""SQLSTATEs of a prepared statement that the server does not have any more, or whose columns have changed type."""


class PostgresqlDirect(Direct):
    """psycopg."""

    conversions = FROM_POSTGRESQL
    together = 199

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        dialect: Any = type(engine.dialect)
        self._numbered = dialect(paramstyle="numeric_dollar")

    def compile(self, statement: Any) -> Compiled:
        """With numbered parameters, as the server takes them."""
        return compiled(statement, self._numbered, _text)

    def serves(self, connection: Any) -> bool:
        """Not through a pooler, behind which the next statement may be on another session."""
        return SESSION in connection.info

    def link(self, connection: Any, limit: float | None) -> Link | None:
        """What is asked of the session is set only where it is not so already."""
        info = connection.info
        session: Session = info[SESSION]
        if not session.lives():
            return None
        changes = []
        if not info.get(ROUTED):
            changes.append(ROUTE)
        if limit != info.get(LIMIT):
            changes.append(limited("SET", limit))
        if changes:
            session.send("; ".join(changes))
            info[ROUTED], info[LIMIT] = True, limit
        return session


def limited(how: str, limit: float | None) -> str:
    """The statement that sets the limit of statements, in seconds."""
    return f"{how} statement_timeout TO {'DEFAULT' if limit is None else max(1, int(limit * 1000))}"


class Session(Link):
    """A connection to PostgreSQL, and the statements prepared on it."""

    def __init__(self, raw: Any) -> None:
        from psycopg.adapt import Transformer  # noqa: PLC0415 - the driver is optional

        self._pgconn: PGconn = raw.pgconn
        self._transformer = Transformer(raw)
        self._encoding: str = raw.info.encoding
        self._names: dict[Compiled, bytes] = {}
        self._made = 0
        self._ended = False
        self._poll = None
        if hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(raw.fileno(), select.POLLIN)

    def is_lost(self) -> bool:
        """Whether libpq knows that the connection has ended, or the server has said that it ends it."""
        return self._ended or self._pgconn.status != 0

    def lives(self) -> bool:
        """Whether the connection has not ended while nobody used it.

        A server that ended it has said so: then there is something to read where an idle connection has nothing, which
        costs no exchange to find out (0.3 µs). What else that can be, a question that means nothing tells.
        """
        if self._poll is not None and not self._poll.poll(0):
            return not self.is_lost()
        with suppress(Exception):
            self.send("")
        return not self.is_lost()

    def send(self, sql: str) -> None:
        """Executes statements without parameters and results."""
        self._checked(self._pgconn.exec_(sql.encode()))

    def run(self, statement: Compiled, given: Mapping[str, Any]) -> Answer:
        """See `Link.run`."""
        encoding = self._encoding
        values = [None if value is None else value.encode(encoding) for value in statement.values(given)]
        try:
            result = self._executed(statement, values)
        except Exception as error:
            if getattr(error, "sqlstate", None) not in _STALE:
                raise
            # it was not begun with: prepared anew, it can be
            name = self._names.pop(statement, None)
            if name is not None:
                with suppress(Exception):
                    self.send(f"DEALLOCATE {name.decode()}")
            result = self._executed(statement, values)
        rows: list[tuple[Any, ...]] = []
        if result.ntuples:
            self._transformer.set_pgresult(result)
            rows = self._transformer.load_rows(0, result.ntuples, tuple)
        return rows, result.command_tuples or 0

    def _executed(self, statement: Compiled, values: Any) -> PGresult:
        name = self._names.get(statement) or self._prepared(statement)
        return self._checked(self._pgconn.exec_prepared(name, values, None, 1))

    def _prepared(self, statement: Compiled) -> bytes:
        if len(self._names) >= PREPARED:
            self.send("; ".join(f"DEALLOCATE {name.decode()}" for name in self._names.values()))
            self._names.clear()
        self._made += 1
        name = f"gnj_{self._made}".encode()
        self._checked(self._pgconn.prepare(name, statement.sql.encode(self._encoding)))
        self._names[statement] = name
        return name

    def _checked(self, result: PGresult) -> PGresult:
        if result.status in _WELL:
            return result
        from psycopg import errors, pq  # noqa: PLC0415 - the driver is optional

        if self.is_lost():
            raise errors.OperationalError("the connection is lost")
        self._ended = result.error_field(pq.DiagnosticField.SEVERITY_NONLOCALIZED) in _LAST
        raise errors.error_from_result(result, encoding=self._encoding)


def prepare(raw: Any, info: dict[Any, Any]) -> None:
    """Lets hot statements go directly through a new connection, unless a pooler answers.

    To a pooler's clients a process number is told that is none of the server's: the one that does the work has another.
    """
    from psycopg import pq  # noqa: PLC0415 - the driver is optional

    result = raw.pgconn.exec_(b"SELECT pg_backend_pid()")
    if result.status == pq.ExecStatus.TUPLES_OK and int(result.get_value(0, 0) or 0) == raw.pgconn.backend_pid:
        info[SESSION] = Session(raw)


def _text(value: Any) -> str | None:
    """A value as text, of which the server makes what the statement says it is."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return f"{value // timedelta(milliseconds=1)} milliseconds"
    if isinstance(value, list):
        return _array(value)
    return repr(value)


def _array(values: list[Any]) -> str:
    if all(type(value) is int for value in values):
        return "{" + ",".join(map(str, values)) + "}"
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    text = _text(value) or ""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
