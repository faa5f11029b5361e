"""One unit of work: the transaction a command runs in, and what has to happen after its commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from gnj.queue.events import Event, Hooks
from gnj.queue.feed import Change
from gnj.queue.model import Job
from gnj.queue.order import Ticket
from gnj.queue.outbox import WANTS, Outbox
from gnj.queue.recorder import Recorder
from gnj.queue.states import JobStatus
from gnj.queue.storage import Rows

if TYPE_CHECKING:
    from gnj.queue.schedules import Maker


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
    recorder: Recorder | None = None
    """What `tx` is, if somebody follows: it knows which jobs were changed."""
    outbox: Outbox | None = None
    """Where changes are announced, if somebody follows in another process."""
    ready: bool = False
    """A job may have become ready: whoever waits for work is woken after the commit."""
    events: list[Event] = field(default_factory=list)
    """What happened, as far as anybody wants to know."""
    changes: list[Change] = field(default_factory=list)
    """What changed, if anybody follows: complete once the unit is closed."""
    ticket: Ticket | None = None
    """The turn of the changes among those of other threads; see `Order`."""
    makers: Mapping[str, Maker] = field(default_factory=lambda: MappingProxyType({}))
    """What makes the jobs of schedules, by the job types of these, that do not make a plain job."""

    def tell(self, name: str | None, job: Job, previous: JobStatus | None) -> None:
        """Notes that `name` (None: nothing) happened to `job`, whose status was `previous`."""
        if name is not None and self.hooks.wanted(self.tx, name):
            self.events.append(Event(name, job, previous, job.updated_at))

    def say(self, topic: str, tenant: str, value: Any = None) -> None:
        """Tells those who follow something that is no change of a job; see `Change`."""
        if self.recorder is not None:
            self.changes.append(Change(topic, tenant, value))

    def close(self) -> None:
        """Ends the unit, before its commit: enqueues what tells the durable hooks, and announces the changes of jobs, those
        too, to other processes.
        """
        if self.events and (rows := self.hooks.jobs_for(self.tx, self.events)):
            self.tx.insert_jobs(rows)
            self.ready = True
        if self.recorder is not None:
            self.changes = self.recorder.changes() + self.changes
        wants = ["jobs"] if self.ready else []
        if self.outbox is not None and self.changes:
            self.outbox.announce(self.tx, self.changes)
            wants.append(WANTS)
        if wants:
            self.tx.signal(wants)
