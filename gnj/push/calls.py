"""How many calls one server has under way: so many, and of no tenant more than it leaves to the others.

A call keeps a thread for as long as its endpoint takes. So calls are counted before jobs are claimed for them, over all that is
registered: endpoints of one tenant that do not answer must not use up the threads of all.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from typing import Final

from gnj.queue.model import Job

MOST: Final = 500
"""Calls under way at once in one server."""


class Calls:
    """The calls of a server, by tenants and by queues."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way = 0
        self._of_tenants: Counter[str] = Counter()
        self._of_queues: Counter[tuple[str, str]] = Counter()

    def take(self, tenant: str, queue: str, wanted: int, most: int, mine: int) -> tuple[int, bool]:
        """Counts more calls of a queue: how many, `wanted` at most; and whether they are the caller's only, who has `mine` so far.

        All push workers that the queue has had here together get `most`. Its tenant gets what leaves as many free as it has: one
        alone half of `MOST`, another one then half of the rest.
        """
        with self._lock:
            of_queue = self._of_queues[tenant, queue]
            fair = (MOST - self._under_way - self._of_tenants[tenant] + 1) // 2
            count = max(0, min(wanted, most - of_queue, fair))
            self._add(tenant, queue, count)
            return count, of_queue == mine

    def give(self, tenant: str, queue: str, count: int) -> None:
        """Counts so many calls less."""
        with self._lock:
            self._add(tenant, queue, -count)

    def _add(self, tenant: str, queue: str, count: int) -> None:
        self._under_way += count
        self._of_tenants[tenant] += count
        self._of_queues[tenant, queue] += count
        if not self._of_queues[tenant, queue]:
            del self._of_queues[tenant, queue]
        if not self._of_tenants[tenant]:
            del self._of_tenants[tenant]


class Share:
    """What one push worker has of them: a call for each job that it has claimed, up to its concurrency.

    What it claims ahead beyond that waits for the same threads. For the thread that claims and the one that tells ends.
    """

    def __init__(self, calls: Calls, tenant: str, queue: str, concurrency: int) -> None:
        self._calls = calls
        self._whose = tenant, queue
        self._concurrency = concurrency
        self._lock = threading.Lock()
        self._claims: set[tuple[int, int]] = set()
        self._asked = 0
        """Jobs that are being claimed."""
        self._counted = 0
        self._closed = False
        self.is_short = False
        """Whether the last claim had to ask for less than it would have."""

    def ask(self, limit: int) -> int:
        """How many jobs may be claimed now, of so many; then `claimed` is to be called."""
        with self._lock:
            if self._closed:
                return 0
            wanted = max(0, min(limit, self._concurrency - self._counted))
            count, alone = self._calls.take(*self._whose, wanted, self._concurrency, self._counted)
            self._counted += count
            self.is_short = count < wanted or not alone
            self._asked = count if self.is_short else limit
            return self._asked

    def claimed(self, jobs: Iterable[Job]) -> None:
        """These were."""
        with self._lock:
            self._asked = 0
            self._claims.update((job.id, job.attempt) for job in jobs)
            self._count()

    def ended(self, claims: Iterable[Job]) -> None:
        """These claims are over; again is no error."""
        with self._lock:
            self._claims.difference_update((claim.id, claim.attempt) for claim in claims)
            self._count()

    def close(self) -> None:
        """Gives all back, and asks for no more."""
        with self._lock:
            self._closed = True
            self._count()

    def _count(self) -> None:
        needed = 0 if self._closed else min(len(self._claims) + self._asked, self._concurrency)
        self._calls.give(*self._whose, self._counted - needed)
        self._counted = needed
