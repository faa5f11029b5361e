"""What is open for long: counted for each tenant, and ended together when the server ends."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable


class Connections:
    """Connections that are open.

    Args:
        most: How many one tenant may have, and as many that belong to nobody yet.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._open: dict[Connection, str | None] = {}
        self._counts: Counter[str | None] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, tenant: str, end: Callable[[], None]) -> Connection | None:
        """One more, of that tenant; None if there are too many.

        `end` is called, in any thread, when all are to end; it must neither block nor raise.
        """
        connection = Connection(self, end)
        with self._lock:
            return connection if self._count(connection, tenant) else None

    def arrive(self, end: Callable[[], None], make_room: Callable[[], None]) -> Connection:
        """One more, of nobody yet. If there are too many, the one that has been nobody's for the longest is told to make room:
        those who only hold places must not keep everybody else out.

        `end` as in `enter`, `make_room` likewise.
        """
        connection = Connection(self, end, make_room)
        oldest = None
        with self._lock:
            if not self._count(connection, None):
                # those that were told whose they are stand behind, so that it is the first of all or near it
                oldest = next(each for each, tenant in self._open.items() if tenant is None)
                self._forget(oldest)
                self._count(connection, None)
        if oldest is not None:
            oldest.make_room()
        return connection

    def end(self) -> None:
        """Ends all that are open now."""
        with self._lock:
            connections = list(self._open)
        for each in connections:
            each.end()

    def _count(self, connection: Connection, tenant: str | None) -> bool:
        if self._counts[tenant] >= self._most:
            return False
        self._counts[tenant] += 1
        self._open[connection] = tenant
        return True

    def _forget(self, connection: Connection) -> None:
        if connection in self._open:
            tenant = self._open.pop(connection)
            self._counts[tenant] -= 1
            if not self._counts[tenant]:
                del self._counts[tenant]

    def move(self, connection: Connection, tenant: str) -> bool:
        """Counts it for a tenant from now on; False, and it is not counted any more, if that one has too many."""
        with self._lock:
            if connection not in self._open:
                return False
            self._forget(connection)
            return self._count(connection, tenant)

    def leave(self, connection: Connection) -> None:
        """It is closed; idempotent."""
        with self._lock:
            self._forget(connection)


class Connection:
    """One of them."""

    __slots__ = ("_all", "end", "make_room")

    def __init__(self, all: Connections, end: Callable[[], None], make_room: Callable[[], None] = lambda: None) -> None:
        self._all = all
        self.end = end
        self.make_room = make_room

    def belongs_to(self, tenant: str) -> bool:
        """Counts it for a tenant from now on; False, and it is not counted any more, if that one has too many."""
        return self._all.move(self, tenant)

    def leave(self) -> None:
        """It is closed; idempotent."""
        self._all.leave(self)
