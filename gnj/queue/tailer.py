"""Following what other processes commit: a thread that reads the outbox while somebody follows (decision 0011)."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final

from gnj.queue.clock import After
from gnj.queue.feed import Feed
from gnj.queue.model import Announcement, Listener, attributes
from gnj.queue.order import Ticket
from gnj.queue.outbox import WANTS, Outbox, changes_of, jobs_of
from gnj.queue.storage import Rows, Select, Storage
from gnj.queue.where import And, Compare, equal

logger = logging.getLogger("gnj.feed")

POLL: Final = 0.5
"""Seconds between two looks where nobody signals."""
NET: Final = 2.0
"""Seconds between two looks where signals arrive."""
LINGER: Final = 5.0
"""Seconds for which the thread goes on without followers: clients that connect again must not start it each time."""
LEASE: Final = 60.0
"""Seconds for which a listener counts as one after it was renewed."""
RENEW: Final = 15.0
"""Seconds between two renewals."""
KEPT: Final = 600.0
"""Seconds for which announcements are kept."""
TRIM: Final = 30.0
"""Seconds between two removals of those that are older, in one process."""
GAP: Final = 900.0
"""Seconds for which an id that was passed over is waited for: longer than its row would be kept."""
GAPS: Final = 1_000
"""Ids that are waited for at most, the oldest given up first; and how far back they are looked for at the start."""
PAGE: Final = 500
"""Announcements read at once."""
_TRIMMED: Final = 1_000
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 15.0
"""Seconds between two attempts while the database does not answer: from the first, doubled each time, to the longest."""
_STOP_WITHIN: Final = 5.0
_TURN: Final = 0.005
_TURNS: Final = 20
"""How long it is waited for a thread that has committed a change of the same job and not told of it yet."""


class Position:
    """How far the outbox was read: up to an id, but for some below it whose transactions have perhaps not ended.

    Ids are given when a row is inserted, rows are seen when their transaction has committed. So an id that was passed over
    stays a gap, which is asked for again, until it is seen or `GAP` seconds are over (it was rolled back).
    """

    def __init__(self, seen: Collection[int] = ()) -> None:
        self.top: int | None = max(seen, default=None)
        self.gaps: dict[int, float] = {}
        if self.top is not None:
            self._wait_for(range(self.top - GAPS, self.top), set(seen))

    def advance(self, seen: Collection[int]) -> None:
        """Notes ids that were read."""
        there = set(seen)
        for id in there:
            self.gaps.pop(id, None)
        top = max(there, default=0)
        if there and (self.top is None or top > self.top):
            self._wait_for(range(top - GAPS if self.top is None else self.top + 1, top), there)
            self.top = top
        while self.gaps and (len(self.gaps) > GAPS or next(iter(self.gaps.values())) < time.monotonic()):
            del self.gaps[next(iter(self.gaps))]

    def _wait_for(self, ids: range, there: Collection[int]) -> None:
        until = time.monotonic() + GAP
        self.gaps.update((id, until) for id in ids[-GAPS:] if id > 0 and id not in there)


class Tailer:
    """Brings what others announce in `storage` into the feed that `begin` names.

    Args:
        storage: Where the outbox is.
        outbox: The writing half of the same queue: what it wrote itself is passed over.
    """

    def __init__(self, storage: Storage, outbox: Outbox) -> None:
        self._storage = storage
        self._outbox = outbox
        self._lock = threading.Lock()
        self._tail: _Tail | None = None

    def begin(self, feed: Feed) -> None:
        """See `Others.begin`."""
        with self._lock:
            if self._tail is None or not self._tail.goes_on():
                self._tail = _Tail(self._storage, self._outbox, feed)
                self._tail.start()

    def end(self) -> None:
        """See `Others.end`; the thread goes on for a while."""
        with self._lock:
            if self._tail is not None:
                self._tail.linger()

    def arrive(self, timeout: float) -> bool:
        """See `Others.arrive`."""
        with self._lock:
            tail = self._tail
        return tail is not None and tail.arrived.wait(timeout)

    def close(self) -> None:
        """See `Others.close`: waits some seconds for the thread at most."""
        with self._lock:
            tail, self._tail = self._tail, None
        if tail is not None:
            tail.stop()


class _Tail:
    """One life of the thread."""

    def __init__(self, storage: Storage, outbox: Outbox, feed: Feed) -> None:
        self._storage = storage
        self._outbox = outbox
        self._feed = feed
        self.arrived = threading.Event()
        """Set once others can know that somebody follows here."""
        self._lock = threading.Lock()
        self._bell = threading.Event()
        self._stopped = threading.Event()
        self._left: float | None = None
        """When the last follower left."""
        self._position: Position | None = None
        self._listener: int | None = None
        self._renew_at = self._trim_at = 0.0
        self._thread = threading.Thread(target=self._run, name="gnj-feed", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def goes_on(self) -> bool:
        """Whether the thread runs, which from here on does so until `linger`."""
        with self._lock:
            # in a forked process it is not alive
            if not self._thread.is_alive() or self._stopped.is_set():
                return False
            self._left = None
            return True

    def linger(self) -> None:
        with self._lock:
            self._left = time.monotonic()

    def stop(self) -> None:
        self._stopped.set()
        self._bell.set()
        if self._thread is not threading.current_thread():
            self._thread.join(_STOP_WITHIN)

    def _run(self) -> None:
        try:
            with self._storage.listen(self._bell.set, WANTS) as hears:
                self._follow(hears)
        except Exception:
            logger.exception("changes of other processes are not told any more")
        finally:
            self._stopped.set()
            with suppress(Exception):
                self._leave()

    def _follow(self, hears: Callable[[], bool]) -> None:
        pause = 0.0
        while not self._over():
            self._bell.clear()
            try:
                while self._turn() and not self._stopped.is_set():
                    pass
            except Exception as error:  # noqa: BLE001 - whatever a storage comes up with: try again
                if not pause:
                    logger.warning("changes of other processes are told later: %s", error)
                pause = min(max(_FIRST_PAUSE, pause * 2), _LONGEST_PAUSE)
                self._stopped.wait(pause)
                continue
            if pause:
                logger.info("changes of other processes are told again")
                pause = 0.0
            self._bell.wait(NET if hears() else POLL)

    def _over(self) -> bool:
        with self._lock:
            if self._left is not None and time.monotonic() - self._left >= LINGER:
                self._stopped.set()
            return self._stopped.is_set()

    def _turn(self) -> bool:
        """Reads what is new; whether there is more."""
        now = time.monotonic()
        if now >= self._renew_at:
            with self._storage.begin() as tx:
                position = self._position or _latest(tx)
                listener = self._registered(tx)
            self._position, self._listener, self._renew_at = position, listener, now + RENEW
            self._outbox.listener = listener
            self.arrived.set()
        more = self._read()
        if not more and now >= self._trim_at:
            with self._storage.begin() as tx:
                old = Compare(_CREATED_AT, (), "lt", tx.now() - timedelta(seconds=KEPT))
                removed = tx.trim(Announcement, old, _TRIMMED)
            # more than one page: the next turn goes on
            self._trim_at = now + (TRIM if removed < _TRIMMED else 0.0)
        return more

    def _read(self) -> bool:
        position = self._position
        assert position is not None  # noqa: S101 - tells the type checker what `_turn` has seen to
        with self._storage.begin(write=False) as tx:
            late = tx.find(Announcement, Select(equal(Announcement, id=tuple(position.gaps)))) if position.gaps else []
            after = And(()) if position.top is None else Compare(_ID, (), "gt", position.top)
            new = tx.find(Announcement, Select(after, limit=PAGE))
        if others := [row for row in (*late, *new) if row.origin != self._outbox.origin]:
            ticket = self._ticket(others)
            # in a transaction of its own: what was committed before the ticket was drawn must be seen
            with self._storage.begin(write=False) as tx:
                changes = changes_of(tx, others)
            self._feed.publish(changes, ticket)
        position.advance([row.id for row in (*late, *new)])
        return len(new) == PAGE

    def _ticket(self, announcements: Sequence[Announcement]) -> Ticket | None:
        """For the jobs as they are read from here on, once this process has told of what it did to them itself.

        Not for ever: it may have done it in a transaction of the host's that goes on. Then what is read is told as it is.
        """
        jobs = jobs_of(announcements)
        for _ in range(_TURNS):
            if ticket := self._feed.ticket_alone(jobs):
                return ticket
            time.sleep(_TURN)
        return None

    def _registered(self, tx: Rows) -> int:
        """The listener, renewed; those of others that have expired are removed."""
        expired = And((equal(Listener, wants=WANTS), Compare(_EXPIRES_AT, (), "lt", tx.now())))
        tx.trim(Listener, expired, _TRIMMED)
        ours = [] if self._listener is None else [self._listener]
        rows = tx.edit(Listener, ours, {"expires_at": After(LEASE)})
        if not rows:
            import socket  # noqa: PLC0415 - `import gnj` does without it

            name = f"{socket.gethostname()}:{os.getpid()}"
            rows = tx.insert(Listener, [{"wants": WANTS, "name": name, "expires_at": After(LEASE)}])
        return rows[0].id

    def _leave(self) -> None:
        if self._listener is not None:
            with self._storage.begin() as tx:
                tx.trim(Listener, equal(Listener, id=self._listener), 1)
            if self._outbox.listener == self._listener:  # else the next life of the thread has begun
                self._outbox.listener = None


def _latest(tx: Rows) -> Position:
    """The present end of the outbox, and what may be missing before it."""
    last = tx.find(Announcement, Select(order=(("id", True),), limit=1))
    if not last:
        return Position()
    near = Compare(_ID, (), "gt", last[0].id - GAPS)
    return Position([id for (id,) in tx.tally(Announcement, ["id"], near)] + [last[0].id])


_ID = attributes(Announcement)["id"]
_CREATED_AT = attributes(Announcement)["created_at"]
_EXPIRES_AT = attributes(Listener)["expires_at"]
