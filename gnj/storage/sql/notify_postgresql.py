"""Waking the workers of other processes: LISTEN and NOTIFY of PostgreSQL.

A notification costs the commit that carries one (they go through one queue of the whole server, under one lock): with one a
job, 32 to 45 % fewer commits a second. So none is sent unless a row of the table `listener` says that somebody wants it, and
at most one a transaction. It says no more than "look", and for what: whoever waits for work is not woken by changes that
others follow.
"""

from __future__ import annotations

import os
import secrets
import select
import socket
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from hashlib import blake2b
from time import monotonic
from typing import Any, Final

from sqlalchemy import ColumnElement, Engine, Text, TextClause, bindparam, column, text

from gnj.storage.sql.listener import Listener, Lost
from gnj.storage.sql.rows import DATABASE_NOW
from gnj.storage.sql.schema import Tables

CHECK_EVERY: Final = 15.0
"""Seconds between two checks that notifications still arrive; each renews the lease."""
LEASE: Final = 60
"""Seconds for which a listener counts as one after a check."""
ANSWER_WITHIN: Final = 5.0
"""Seconds that a check may take."""


def channel(tables: Tables) -> str:
    """The channel of these tables: channels belong to the whole database, and their names end after 63 characters."""
    name = f"{tables.schema or ''}.{tables.prefix}"
    return f"gnj_{blake2b(name.encode(), digest_size=8).hexdigest()}"


_PAYLOADS: Final[Mapping[frozenset[str], str]] = {
    frozenset({"jobs"}): "",
    frozenset({"changes"}): "changes",
    frozenset({"jobs", "changes"}): "all",
}
"""What a notification carries that says for what to look."""


def signal(tables: Tables, wants: frozenset[str]) -> TextClause:
    """The statement that notifies if somebody listens for one of those."""
    payload, listener = _PAYLOADS[wants], tables.name(tables.listener)
    wanted = ", ".join(f"'{each}'" for each in sorted(wants))
    somebody = f"EXISTS (SELECT 1 FROM {listener} WHERE expires_at > {DATABASE_NOW} AND wants IN ({wanted}))"
    sql = f"SELECT pg_notify(:channel, '{payload}') WHERE {somebody}"
    return text(sql).bindparams(bindparam("channel", channel(tables)))


def signalled(tables: Tables) -> ColumnElement[Any]:
    """The same for "jobs", as a value that is made once by the statement which stores some."""
    return signal(tables, frozenset({"jobs"})).columns(column("told", Text())).scalar_subquery().is_(None)


def listen(
    engine: Engine, tables: Tables, wake: Callable[[], None], wants: str
) -> AbstractContextManager[Callable[[], bool]]:
    """Calls `wake` for each notification while the block lasts; no signal is missed from its first line on.

    With "changes" no row of `listener` is kept: the caller has one. The function given says whether notifications arrive.
    """
    return _Listener(engine, tables, wake, wants).listening()


class _Listener(Listener):
    def __init__(self, engine: Engine, tables: Tables, wake: Callable[[], None], wants: str) -> None:
        super().__init__(engine, wake, wants)
        self._table = tables.name(tables.listener)
        self._channel = channel(tables)
        self._calls = frozenset(payload for each, payload in _PAYLOADS.items() if wants in each)
        self._mark = secrets.token_hex(8)

    def _connect(self) -> Any:
        raw = super()._connect()
        raw.rollback()
        raw.autocommit = True
        return raw

    def _register(self, raw: Any) -> int | None:
        raw.execute(f"LISTEN {self._channel}")
        row = self._inserted(raw) if self._wants == "jobs" else None
        self._check(raw, row)
        return row

    def _inserted(self, raw: Any) -> int:
        raw.execute(f"DELETE FROM {self._table} WHERE expires_at < {DATABASE_NOW}")
        name = f"{socket.gethostname()}:{os.getpid()}"
        row: int = raw.execute(
            f"INSERT INTO {self._table} (wants, name, created_at, updated_at, expires_at) "
            f"VALUES ('jobs', %s, {DATABASE_NOW}, {DATABASE_NOW}, {DATABASE_NOW} + %s * interval '1 second') RETURNING id",
            (name, LEASE),
        ).fetchone()[0]
        return row

    def _attend(self, raw: Any) -> None:
        row = self._register(raw)
        self._begun()
        due = monotonic() + CHECK_EVERY
        while True:
            if self._received(raw, 0.0):  # also what came in together with the answer to a check
                self._wake()
            readable, _, _ = select.select([raw, self._rung], [], [], max(0.0, due - monotonic()))
            if self._rung in readable:
                if row is not None:
                    raw.execute(f"DELETE FROM {self._table} WHERE id = %s", (row,))
                return
            if monotonic() >= due:
                self._check(raw, row)
                due = monotonic() + CHECK_EVERY

    def _check(self, raw: Any, row: int | None) -> None:
        """Renews the lease and sends itself a notification, which must come back.

        Behind a pooler that hands connections out by transaction it does not, though LISTEN was accepted.
        """
        if row is not None:
            renewed = raw.execute(
                f"UPDATE {self._table} SET expires_at = {DATABASE_NOW} + %s * interval '1 second' WHERE id = %s",
                (LEASE, row),
            )
            if not renewed.rowcount:
                raise Lost("the registration is gone")
        raw.execute("SELECT pg_notify(%s, %s)", (self._channel, self._mark))
        end = monotonic() + ANSWER_WITHIN
        while not self._received(raw, max(0.0, end - monotonic()), until=self._mark):
            if monotonic() >= end:
                raise Lost("notifications do not arrive")

    def _received(self, raw: Any, timeout: float, until: str = "") -> bool:
        """Whether a notification came: a signal, or the one with the payload `until`. Signals meanwhile are passed on."""
        came = False
        for notification in raw.notifies(timeout=timeout, stop_after=1 if timeout else None):
            if until and notification.payload == until:
                came = True
            elif notification.payload in self._calls:
                came = came or not until
                if until:
                    self._wake()
        return came
