"""Waking the workers of other processes: LISTEN and NOTIFY of PostgreSQL.

A notification costs the commit that carries one (they go through one queue of the whole server, under one lock): with one a
job, 32 to 45 % fewer commits a second. So none is sent unless a row of the table `listener` says that somebody wants it, and
at most one a transaction. It says no more than "look", and for what: whoever waits for work is not woken by changes that
others follow.
"""

from __future__ import annotations

import os
import secrets
import selectors
import socket
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from hashlib import blake2b
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import ColumnElement, Engine, Text, TextClause, bindparam, column, text

from gnj.queue.wake import Listening, Through
from gnj.storage.sql.listener import Bell, Listener, Lost
from gnj.storage.sql.rows import DATABASE_NOW
from gnj.storage.sql.schema import Tables

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn

CHECK_EVERY: Final = 15.0
"""Seconds between two checks that notifications still arrive; each renews the lease."""
LEASE: Final = 60
"""Seconds for which a listener counts as one after a check."""
ANSWER_WITHIN: Final = 5.0
"""Seconds that a check may take."""
ANSWER_EVERY: Final = 0.02
"""Seconds between two looks for what it sends."""
EMPTIED_EVERY: Final = 1.0
"""Seconds between two looks whether something came while nobody waited."""
AT_ONCE: Final = 200
"""How often a look reads, at most: who sends faster than that is read keeps nobody from looking for work."""


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
    engine: Engine, tables: Tables, wake: Callable[[], None], wants: str, *, through: Through | None = None
) -> Listening:
    """Calls `wake` for each notification while the block lasts; no signal is missed from its first line on.

    With "changes" no row of `listener` is kept: the caller has one. `through` as in `Storage.listen`. The function given says
    whether notifications arrive.
    """
    return _Listener(engine, tables, wake, wants, through).listening()


class _Receiver:
    """Where notifications arrive: a `gnj.queue.wake.Receiver`, of one connection after the other.

    Only what is attached is read, and only under the lock: who detaches a connection may use it alone, and close it.

    Args:
        payloads: Which of them are signals.
        mark: That of one which shows that they arrive.
        lost: Called when the connection turns out to have ended.
    """

    def __init__(self, payloads: Collection[str], mark: str, lost: Callable[[], None]) -> None:
        self._payloads = payloads
        self._mark = mark
        self._lost = lost
        self.marked = threading.Event()
        """Set when that one came."""
        self._came = False
        self._lock = threading.RLock()
        self._raw: Any = None
        self._number = -1
        self._bell = Bell()
        self._bell.rung.settimeout(0.0)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._bell.rung, selectors.EVENT_READ)

    @property
    def is_connected(self) -> bool:
        """See `Receiver.is_connected`."""
        return self._raw is not None

    def attach(self, raw: Any) -> None:
        """Receives from that connection, and no other, until it is lost or detached."""
        with self._lock:
            self._raw, self._number = raw, raw.fileno()
            self._selector.register(self._number, selectors.EVENT_READ)
        self.interrupt()  # who waits does so at the connection from now on

    def detach(self) -> None:
        """Nobody reads from the connection any more, if there is one."""
        with self._lock:
            if self._raw is None:
                return
            self._raw = None
            self._selector.unregister(self._number)
        self.interrupt()

    def wait(self, timeout: float) -> bool:
        """See `Receiver.wait`."""
        if self.heard():
            return True
        for key, _ in self._selector.select(timeout):
            if key.fileobj is self._bell.rung:
                with suppress(BlockingIOError):
                    self._bell.rung.recv(64)
        return self.heard()

    def heard(self) -> bool:
        """Whether a signal has come, without waiting."""
        with self._lock:
            try:
                if self._raw is not None:
                    self._read(self._raw.pgconn)
            except Exception:  # noqa: BLE001 - whatever a driver comes up with: who made the connection makes another one
                self.detach()
                self._lost()
            came, self._came = self._came, False
        return came

    def _read(self, connection: PGconn) -> None:
        # libpq is asked itself: `Connection.notifies` takes 130 µs of a thread that has just been woken. It takes in
        # 16 KB at a time, some 140 notifications.
        for _ in range(AT_ONCE):
            connection.consume_input()
            if (told := connection.notifies()) is None:
                return
            while told is not None:
                self.take(told.extra.decode(errors="replace"))
                told = connection.notifies()

    def take(self, payload: str) -> None:
        """Takes notice of a notification."""
        with self._lock:
            if payload in self._payloads:
                self._came = True
            elif payload == self._mark:
                self.marked.set()

    def interrupt(self) -> None:
        """See `Receiver.interrupt`."""
        self._bell.ring()

    def close(self) -> None:
        """Nobody waits any more."""
        self._selector.close()
        self._bell.close()
        self._bell.rung.close()


class _Listener(Listener):
    """Notifications are received by those who wait for work; with `wants` of "changes", by the thread, which also looks after the
    connection.
    """

    def __init__(
        self, engine: Engine, tables: Tables, wake: Callable[[], None], wants: str, through: Through | None
    ) -> None:
        super().__init__(engine, wake, wants)
        self._table = tables.name(tables.listener)
        self._channel = channel(tables)
        self._mark = secrets.token_hex(8)
        self._through = through
        signals = {payload for each, payload in _PAYLOADS.items() if wants in each}
        self._receiver = _Receiver(signals, self._mark, self._bell.ring)

    @contextmanager
    def listening(self) -> Iterator[Callable[[], bool]]:
        """See `Listener.listening`."""
        with super().listening() as hears, nullcontext() if self._through is None else self._through(self._receiver):
            yield hears

    def _run(self) -> None:
        try:
            super()._run()
        finally:
            self._receiver.close()

    def _end(self) -> None:
        super()._end()
        self._receiver.interrupt()

    def _connect(self) -> Any:
        raw = super()._connect()
        raw.rollback()
        raw.autocommit = True
        return raw

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
        receiver = self._receiver
        raw.add_notify_handler(lambda told: receiver.take(told.payload))  # of what comes with the answer to a statement
        raw.execute(f"LISTEN {self._channel}")
        row = self._inserted(raw) if self._wants == "jobs" else None
        try:
            self._check(raw, row)
            self._begun()
            due = monotonic() + CHECK_EVERY
            while not self._ended_after(max(0.0, due - monotonic())):
                if not receiver.is_connected:
                    raise Lost("the connection has ended")
                if monotonic() >= due:
                    self._check(raw, row)
                    due = monotonic() + CHECK_EVERY
        finally:
            receiver.detach()
        if row is not None:
            raw.execute(f"DELETE FROM {self._table} WHERE id = %s", (row,))

    def _ended_after(self, seconds: float) -> bool:
        """Passes on what comes, for at most so many seconds; whether the block has ended."""
        if self._through is None:
            if self._receiver.wait(seconds):
                self._wake()
            return self._rang(0.0)
        # what nobody waits for must not pile up: the server would wait for room, and others for the server
        if self._receiver.heard():
            self._wake()
        return self._rang(min(seconds, EMPTIED_EVERY))

    def _check(self, raw: Any, row: int | None) -> None:
        """Renews the lease and sends itself a notification, which must come back.

        Behind a pooler that hands connections out by transaction it does not, though LISTEN was accepted. How long the
        statements take is nothing to those who wait: nobody receives from the connection meanwhile.
        """
        receiver = self._receiver
        receiver.detach()
        if row is not None:
            renewed = raw.execute(
                f"UPDATE {self._table} SET expires_at = {DATABASE_NOW} + %s * interval '1 second' WHERE id = %s",
                (LEASE, row),
            )
            if not renewed.rowcount:
                raise Lost("the registration is gone")
        receiver.marked.clear()
        raw.execute("SELECT pg_notify(%s, %s)", (self._channel, self._mark))
        receiver.attach(raw)
        end = monotonic() + ANSWER_WITHIN
        while not receiver.marked.wait(ANSWER_EVERY):  # as a rule it came with the answer
            if receiver.heard():
                self._wake()
            if not receiver.is_connected or monotonic() >= end:
                raise Lost("notifications do not arrive")
