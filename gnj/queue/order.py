"""Telling of a job in the order in which it was changed, though each thread tells of what it committed by itself.

Between a commit and its telling another thread may change the job again, and tell first: who follows would end with what is
no longer true. So a ticket is drawn before each commit. Whoever changes a job has its row locked by then and until the
commit; so for any one job, tickets are drawn in the order of commits. What is told late is left out, for the newer was told.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable
from itertools import count
from typing import Final
from weakref import WeakSet

from gnj.queue.model import Job

_MANY: Final = 1_000
"""Jobs kept in mind before those are forgotten that nobody can be late with."""


class Ticket:
    """Whose turn it is. Lost with the transaction that drew it, if that is never told of."""

    __slots__ = ("__weakref__", "jobs", "number")

    def __init__(self, number: int, jobs: frozenset[int]) -> None:
        self.number = number
        self.jobs = jobs


class Order:
    """Who drew a ticket and has not told yet, and what was told meanwhile."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        """Held by whoever tells, until all are told."""
        self._numbers = count(1)
        self._open: WeakSet[Ticket] = WeakSet()
        self._told: dict[int, tuple[int, Job]] = {}

    def draw(self, jobs: Iterable[int]) -> Ticket:
        """A ticket for changes of those jobs, which are written and not committed."""
        with self.lock:
            ticket = Ticket(next(self._numbers), frozenset(jobs))
            self._open.add(ticket)
            return ticket

    def draw_alone(self, jobs: Collection[int]) -> Ticket | None:
        """A ticket for what is committed already and will be read; None while somebody has yet to tell of one of the jobs."""
        with self.lock:
            if any(not ticket.jobs.isdisjoint(jobs) for ticket in self._open):
                return None
            return self.draw(jobs)

    def newest(self, ticket: Ticket, job: Job) -> Job:
        """What is to be told of `job`: itself, or what it became later and was told of already. The lock is held."""
        number, newer = self._told.get(job.id, (0, job))
        if number > ticket.number:
            return newer
        self._told[job.id] = ticket.number, job
        return job

    def done(self, ticket: Ticket) -> None:
        """All that belongs to a ticket was told. The lock is held."""
        self._open.discard(ticket)
        if not self._open:
            self._told.clear()
        elif len(self._told) > _MANY:
            oldest = min(each.number for each in self._open)
            self._told = {id: told for id, told in self._told.items() if told[0] > oldest}
