"""One unit of work: the transaction a command runs in, and what has to happen after its commit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gnj.queue.events import Event, Hooks
from gnj.queue.feed import Change
from gnj.queue.model import Job
from gnj.queue.states import JobStatus
from gnj.queue.storage import Rows


@dataclass(slots=True)
class Unit:
    """What every rule is handed: the transaction and the few things that are not in it."""

    tx: Rows
    lease: float
    """Seconds of a claim made without a lease of its own."""
    random: Callable[[], float]
    """Gives a number from 0 to 1, for jitter."""
    hooks: Hooks
    """Who wants to be told of what."""
    ready: bool = False
    """A job may have become ready: whoever waits for work is woken after the commit."""
    events: list[Event] = field(default_factory=list)
    """What happened, as far as anybody wants to know."""
    changes: list[Change] = field(default_factory=list)
    """What changed, if anybody follows."""

    def tell(self, name: str | None, job: Job, previous: JobStatus | None) -> None:
        """Notes that `name` (None: nothing) happened to `job`, whose status was `previous`."""
        if name is not None and self.hooks.wanted(self.tx, name):
            self.events.append(Event(name, job, previous, job.updated_at))

    def close(self) -> None:
        """Ends the unit, before its commit: enqueues what tells the durable hooks, and signals other processes."""
        if self.events and (rows := self.hooks.jobs_for(self.tx, self.events)):
            self.tx.insert_jobs(rows)
            self.ready = True
        if self.ready:
            self.tx.signal()
