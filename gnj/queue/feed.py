"""Every change, after its commit, for those who follow: what subscriptions are made of.

What this process commits is handed on by the thread that committed it, with the rows as that transaction left them. What
others commit comes from the outbox (`gnj.queue.outbox`, `gnj.queue.tailer`), with the rows as they are by then. Either way
each job's latest state is told at least once; see decision 0011 for what is not promised.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeAlias

from gnj.queue.order import Order, Ticket

logger = logging.getLogger("gnj.feed")

OF_JOBS: Final = ("created", "updated", "deleted")
"""What happens to jobs."""
TOPICS: Final = (*OF_JOBS, "pinged", "ponged", "monitored", "queue", "content", "transform")
"""What a change can be about: a job, what workers say to each other, a queue as a whole, a content job, or a run of a
transformation job."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that was committed.

    Args:
        topic: One of `TOPICS`.
        tenant: Whose it is; nobody else may be told.
        value: The job as it then was; for `ponged` and `monitored` a list of `{workerId, workerType, workerStatus}`; for
            `pinged` None; for `queue` `{event, queue, …}`, with `paused`, `resumed`, `drained` or `cleaned` as the event, which
            is of all queues if `queue` is None; for `content` the id of the content job; for `transform` those of a
            run and of its transformation job.
    """

    topic: str
    tenant: str
    value: Any = None


Put: TypeAlias = Callable[[Sequence[Change]], None]
"""Takes changes, in their order; called from any thread, must neither block nor raise."""


class Others(Protocol):
    """Where the changes of other processes come from."""

    def begin(self, feed: Feed) -> None:
        """Publishes their changes in `feed` from about now on; returns at once."""

    def end(self) -> None:
        """Nobody follows any more."""

    def arrive(self, timeout: float) -> bool:
        """Waits until their changes arrive, `timeout` seconds at most; whether they do."""

    def close(self) -> None:
        """Ends at once what `begin` began."""


class Feed:
    """Hands changes on to those who follow.

    Args:
        others: Where changes of other processes come from while somebody follows; None: from nowhere.
    """

    def __init__(self, others: Others | None = None) -> None:
        self._others = others
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._puts: tuple[Put, ...] = ()
        self._order = Order()

    @property
    def followed(self) -> bool:
        """Whether anybody in this process follows."""
        return bool(self._puts) and self._process == os.getpid()

    @contextmanager
    def follow(self, put: Put) -> Iterator[None]:
        """While the block lasts, `put` is called with what changes, of every tenant.

        With what this process commits from here on. What other processes commit is missed until they know that somebody
        follows, some tenths of a second in all: `arrive` waits for it. The block may be entered from an event loop: nothing
        in it waits.
        """
        if self._process != os.getpid():  # those who follow in the process this one was forked from do not follow here
            self._lock, self._puts, self._order = threading.Lock(), (), Order()
            self._process = os.getpid()
        with self._lock:
            self._puts += (put,)
            if self._others is not None:
                self._others.begin(self)
        try:
            yield
        finally:
            with self._lock:
                # by identity: a bound method is equal to itself, but two followers may be equal as well
                self._puts = tuple(each for each in self._puts if each is not put)
                if self._others is not None and not self._puts:
                    self._others.end()

    def arrive(self, timeout: float) -> bool:
        """Waits until changes of other processes arrive, `timeout` seconds at most; whether they do. Somebody must follow."""
        return self._others is not None and self._others.arrive(timeout)

    def ticket(self, changes: Iterable[Change]) -> Ticket | None:
        """To be drawn before the commit of those changes, and handed to `publish`; None when nobody follows."""
        return self._order.draw(_ids(changes)) if self.followed else None

    def ticket_alone(self, jobs: Collection[int]) -> Ticket | None:
        """See `Order.draw_alone`."""
        return self._order.draw_alone(jobs)

    def publish(self, changes: Sequence[Change], ticket: Ticket | None = None) -> None:
        """Hands changes, which are committed, to everybody who follows; with a ticket, in their order (`Order`)."""
        if not self.followed:
            return
        with self._order.lock:
            if ticket is not None:
                changes = self._sifted(changes, ticket)
            for put in self._puts if changes else ():
                try:
                    put(changes)
                except Exception:
                    logger.exception("a follower failed")

    def _sifted(self, changes: Sequence[Change], ticket: Ticket) -> list[Change]:
        sifted = []
        for change in changes:
            if change.topic in OF_JOBS:
                newest = self._order.newest(ticket, change.value)
                if newest is not change.value:
                    if change.topic == "updated":  # the update that was told already was a later one
                        continue
                    change = replace(change, value=newest)
            sifted.append(change)
        self._order.done(ticket)
        return sifted

    def close(self) -> None:
        """Ends what brings the changes of other processes; whoever still follows hears of this one's only."""
        if self._others is not None:
            self._others.close()


def _ids(changes: Iterable[Change]) -> list[int]:
    return [change.value.id for change in changes if change.topic in OF_JOBS]
