"""The way through: every command is one transaction, opened and ended here and nowhere else."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast

from gnj.queue.errors import Conflict, GnjError
from gnj.queue.events import Hooks
from gnj.queue.feed import Feed
from gnj.queue.later import may_wait
from gnj.queue.outbox import Outbox
from gnj.queue.policy import Policy
from gnj.queue.recorder import Recorder
from gnj.queue.storage import Rows, Storage
from gnj.queue.tailer import Tailer
from gnj.queue.unit import Unit
from gnj.queue.values import check_seconds
from gnj.queue.wake import Listening, Through, Wake

if TYPE_CHECKING:
    from gnj.queue.schedules import Maker

T = TypeVar("T")

DEFAULT_LEASE = 3600.0
"""Seconds: clients of the original have no heartbeat (section 0, point 7); workers of gnj ask for 30 and renew them."""
MAX_LEASE = 30 * 86400.0
_TRIES = 8
_NO_MAKERS: Final[Mapping[str, Maker]] = MappingProxyType({})


@dataclass(slots=True)
class _Open:
    """A `Runner.transaction` under way."""

    storage: Storage
    serializable: bool
    over: bool = False


_OPEN: ContextVar[_Open | None] = ContextVar("gnj_open", default=None)


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
        makers: Mapping[str, Maker] | None = None,
    ) -> None:
        self.storage = storage
        self.lease = check_seconds(lease, "lease", low=0.01, high=MAX_LEASE)
        self.policies = {} if policies is None else policies
        self.makers = _NO_MAKERS if makers is None else makers
        self.wake = Wake()
        self.hooks = Hooks() if hooks is None else hooks
        self._outbox = Outbox(storage)
        self.feed = Feed(Tailer(storage, self._outbox) if self._outbox.shared else None)
        self._random = random.Random(seed)  # noqa: S311 - spreads load, guards nothing
        self._later: Callable[[Callable[[], None]], None] | None = None

    def run(self, command: Callable[[Unit], T], *, tries: int = _TRIES) -> T:
        """Runs a command in a transaction and wakes those who wait for work after its commit.

        A conflict with another transaction is tried again, `tries` times in all; not in a transaction of the caller's
        (`within`), which has to be begun anew as a whole.
        """

        def once() -> tuple[Unit, T]:
            with self.storage.begin() as tx:
                unit = self._unit(tx)
                result = command(unit)
                unit.close()
                if unit.recorder is not None and unit.recorder.exact:
                    unit.ticket = self.feed.ticket(unit.changes)
            return unit, result

        may_wait()
        if self._later is None:
            self._check_free()
        unit, result = self.again(once, tries=tries if self._later is None else 1)
        if self._later is None:
            self._tell(unit)
        else:
            self._later(partial(self._tell, unit))
        return result

    def alone(self, call: Callable[[], T]) -> T:
        """`run` for one call of the storage itself, which is a transaction of its own, of which nobody has to be told."""
        may_wait()
        if self._later is None:
            self._check_free()
        return self.again(call, tries=_TRIES if self._later is None else 1)

    def unheard(self, event: str) -> bool:
        """Whether nobody has to be told of such events, nor of changes of jobs: then no unit of work is needed for it.

        As fresh an answer as within one (`Hooks.durable`, `Outbox.wanted`). Raises `RuntimeError` as `run` does.
        """
        if self.joined or self.feed.followed:
            return False
        self._check_free()  # to look may take a transaction as well
        rows = cast(
            "Rows", self.storage
        )  # it has all of their methods, each in a transaction of its own; none locks here
        return not self._outbox.wanted(rows) and not self.hooks.wanted(rows, event)

    def look_ahead(self) -> None:
        """Looks up what `unheard` would have to very soon, while nobody waits for it: after the work, not before it."""
        if self.joined or self.feed.followed:
            return
        rows = cast("Rows", self.storage)
        with suppress(GnjError):  # who needs the answer looks again
            self._outbox.wanted(rows, early=True)
            self.hooks.durable(rows, early=True)

    def within(self, rows: Rows) -> tuple[Self, Callable[[], None]]:
        """This queue inside a transaction of the caller's; and what the caller calls once that is committed.

        What the queue given does takes place through `rows` and is neither committed nor rolled back. Until `committed` is
        called nobody is told of it; never, if the transaction was rolled back.
        """
        later = list[Callable[[], None]]()

        def committed() -> None:
            while later:
                later.pop(0)()

        return self.inside(rows, later.append), committed

    def inside(self, rows: Rows, later: Callable[[Callable[[], None]], None]) -> Self:
        """As `within`, for who learns of the commit otherwise: `later` takes, after each command, what is to be called then."""
        inner = copy(self)
        inner.storage = _Within(self.storage, rows)
        inner._later = later  # noqa: SLF001 - of the same class
        return inner

    @contextmanager
    def transaction(self, *, serializable: bool = False) -> Iterator[tuple[Self, Rows]]:
        """A transaction for the block, and this queue inside it: committed at its end, rolled back if it raises.

        Who waits for work, or for changes, is told after the commit. `serializable`: see `Storage.begin_serializable`.
        """
        self._check_free(serializable=serializable)
        begin = self.storage.begin_serializable if serializable else self.storage.begin
        outer = _OPEN.get()
        with begin() as rows:
            inner, committed = self.within(rows)
            this = _Open(self.storage, serializable)
            _OPEN.set(this)
            try:
                yield inner, rows
            finally:
                this.over = True  # what was begun in the block, and goes on, has a copy of the variable
                _OPEN.set(outer)
        committed()

    def again(self, work: Callable[[], T], *, tries: int = _TRIES) -> T:
        """Does `work`, a whole transaction, until nobody stands in its way: on `Conflict` anew, `tries` times in all."""
        for done in range(1, tries):
            try:
                return work()
            except Conflict:
                # apart from each other, so that two that collided do not collide again
                time.sleep(self._random.random() * 0.002 * 2**done)
        return work()

    def _check_free(self, *, serializable: bool = False) -> None:
        """Raises `RuntimeError` inside a `transaction` that what is to be begun would wait for, and that one for it."""
        there = _OPEN.get()
        if there is None or not self._transacting:
            return
        if "concurrent_claims" not in self.storage.capabilities or (serializable and there.serializable):
            raise RuntimeError(
                "a transaction is open here, and another one would wait for its end: use its own verbs, such as tx.enqueue "
                "rather than jobs.enqueue"
            )

    @property
    def _transacting(self) -> bool:
        """Whether the caller is in the block of a `transaction` of this storage."""
        there = _OPEN.get()
        return there is not None and not there.over and there.storage is self.storage

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
        with self.storage.listen(self.wake.set, through=self.wake.through):
            yield

    def _unit(self, tx: Rows) -> Unit:
        outbox = self._outbox if self._outbox.wanted(tx, joined=self.joined) else None
        recorder = Recorder(tx) if outbox is not None or self.feed.followed else None
        rows = tx if recorder is None else cast("Rows", recorder)
        return Unit(rows, self.lease, self._random.random, self.hooks, recorder, outbox, makers=self.makers)

    def _tell(self, unit: Unit) -> None:
        if unit.ready:
            self.wake.set()
        if unit.events:
            self.hooks.publish(unit.events)
        if unit.changes:
            self.feed.publish(unit.changes, unit.ticket)


class _Within(Storage):
    """A storage inside one open transaction of it: what is begun here is part of that, and ends with it."""

    def __init__(self, storage: Storage, rows: Rows) -> None:
        self.capabilities = storage.capabilities
        self._storage = storage
        self._rows = rows

    @contextmanager
    def begin(self, *, write: bool = True) -> Iterator[Rows]:
        """The transaction there is; what a command wrote that fails is undone, and the transaction goes on."""
        with self._rows.savepoint() if write else nullcontext():
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

    def listen(self, wake: Callable[[], None], wants: str = "jobs", *, through: Through | None = None) -> Listening:
        """See `Storage.listen`."""
        return self._storage.listen(wake, wants, through=through)

    def close(self) -> None:
        """Does nothing: the storage belongs to others."""
