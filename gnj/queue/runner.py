"""The way through: every command is one transaction, opened and ended here and nowhere else."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from copy import copy
from functools import partial
from typing import Any, Self, TypeVar

from gnj.queue.errors import Conflict
from gnj.queue.events import Hooks
from gnj.queue.feed import Feed
from gnj.queue.policy import Policy
from gnj.queue.storage import Rows, Storage
from gnj.queue.unit import Unit
from gnj.queue.values import check_seconds
from gnj.queue.wake import Wake

T = TypeVar("T")

DEFAULT_LEASE = 3600.0
"""Seconds: clients of the original have no heartbeat (section 0, point 7); workers of gnj ask for 30 and renew them."""
MAX_LEASE = 30 * 86400.0
_TRIES = 8


class Runner:
    """Runs commands over one storage, and tells of them after the commit. See `Queue` for the arguments."""

    def __init__(
        self,
        storage: Storage,
        *,
        lease: float = DEFAULT_LEASE,
        policies: Mapping[str, Policy] | None = None,
        hooks: Hooks | None = None,
        seed: int | None = None,
    ) -> None:
        self.storage = storage
        self.lease = check_seconds(lease, "lease", low=0.01, high=MAX_LEASE)
        self.policies = {} if policies is None else policies
        self.wake = Wake()
        self.hooks = Hooks() if hooks is None else hooks
        self.feed = Feed()
        self._random = random.Random(seed)  # noqa: S311 - spreads load, guards nothing
        self._later: list[Callable[[], None]] | None = None

    def run(self, command: Callable[[Unit], T], *, tries: int = _TRIES) -> T:
        """Runs a command in a transaction and wakes those who wait for work after its commit.

        A conflict with another transaction is tried again, `tries` times in all; not in a transaction of the caller's
        (`within`), which has to be begun anew as a whole.
        """
        done = 1
        while True:
            try:
                with self.storage.begin() as tx:
                    unit = Unit(tx, self.lease, self._random.random, self.hooks)
                    result = command(unit)
                    unit.close()
            except Conflict:
                if done == tries or self._later is not None:
                    raise
                # apart from each other, so that two that collided do not collide again
                time.sleep(self._random.random() * 0.002 * 2**done)
                done += 1
                continue
            if self._later is None:
                self._tell(unit)
            else:
                self._later.append(partial(self._tell, unit))
            return result

    def within(self, rows: Rows) -> tuple[Self, Callable[[], None]]:
        """This queue inside a transaction of the caller's; and what the caller calls once that is committed.

        What the queue given does takes place through `rows` and is neither committed nor rolled back. Until `committed` is
        called nobody is told of it; never, if the transaction was rolled back.
        """
        inner, later = copy(self), list[Callable[[], None]]()
        inner.storage = _Within(self.storage, rows)
        inner._later = later  # noqa: SLF001 - of the same class

        def committed() -> None:
            while later:
                later.pop(0)()

        return inner, committed

    @property
    def joined(self) -> bool:
        """Whether this queue is inside a transaction of the caller's (`within`)."""
        return self._later is not None

    def lease_of(self, seconds: float | None) -> float:
        """A claim's lease in seconds: as asked for, checked, or the queue's default."""
        return self.lease if seconds is None else check_seconds(seconds, "lease", low=0.01, high=MAX_LEASE)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """While the block lasts, changes made by other processes set `wake` as well, where the storage can tell."""
        with self.storage.listen(self.wake.set):
            yield

    def _tell(self, unit: Unit) -> None:
        if unit.ready:
            self.wake.set()
        if unit.events:
            self.hooks.publish(unit.events)
        if unit.changes:
            self.feed.publish(unit.changes)


class _Within(Storage):
    """A storage inside one open transaction of it: what is begun here is part of that, and ends with it."""

    def __init__(self, storage: Storage, rows: Rows) -> None:
        self.capabilities = storage.capabilities
        self._storage = storage
        self._rows = rows

    @contextmanager
    def begin(self, *, write: bool = True) -> Iterator[Rows]:
        """The transaction there is."""
        yield self._rows

    def bind(self, connection: Any) -> AbstractContextManager[Rows]:
        """See `Storage.bind`."""
        return self._storage.bind(connection)

    def migrate(self) -> None:
        """See `Storage.migrate`."""
        self._storage.migrate()

    def check(self) -> None:
        """See `Storage.check`."""
        self._storage.check()

    def listen(self, wake: Callable[[], None]) -> AbstractContextManager[None]:
        """See `Storage.listen`."""
        return self._storage.listen(wake)

    def close(self) -> None:
        """Does nothing: the storage belongs to others."""
