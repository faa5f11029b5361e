"""What the queue contract calls that which happened: the events of a queue, made of changes that were committed."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final, NamedTuple

from gnj.api.queues.jobjson import attempts_made, failed_reason, name_of
from gnj.queue.clock import to_number
from gnj.queue.derived import state_of
from gnj.queue.feed import Change
from gnj.queue.model import Job
from gnj.queue.naming import id_of
from gnj.queue.states import JobStatus
from gnj.queue.values import Json, dump_json

EVENTS: Final = (
    "added",
    "waiting",
    "delayed",
    "waiting-children",
    "active",
    "progress",
    "completed",
    "failed",
    "retries-exhausted",
    "removed",
    "paused",
    "resumed",
    "drained",
    "cleaned",
)
"""The names of all events."""
OF_QUEUES: Final = ("paused", "resumed", "drained", "cleaned")
"""Those that are about a queue, and no job of it."""

REMEMBERED: Final = 10_000
"""Jobs of which it is remembered what was told last."""


class Told(NamedTuple):
    """An event: its name, and what is told with it."""

    name: str
    data: dict[str, Json]


class _Known(NamedTuple):
    state: str
    attempt: int
    progress: int | None
    """A hash of it."""


class Teller:
    """Makes events of changes; what it remembers of jobs tells progress from a start. Not for threads."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, _Known] = OrderedDict()

    def told(self, change: Change) -> list[Told]:
        """The events that a change of one of `OF_JOBS`, or of a queue, is made of; none, if nothing of interest changed."""
        if not isinstance(change.value, Job):
            value: Any = change.value
            return [Told(value["event"], {key: each for key, each in value.items() if key != "event"})]
        job = change.value
        if change.topic == "deleted":
            self._known.pop(job.id, None)
            return [Told("removed", _about(job, state_of(job, job.updated_at)))]
        # as it was at that moment: by now its time may have come
        state = state_of(job, job.updated_at)
        return [Told(name, _about(job, state) | _more(name, job)) for name in self._names(change.topic, job, state)]

    def _names(self, topic: str, job: Job, state: str) -> list[str]:
        before = self._known.pop(job.id, None)
        progress = None if job.progress is None else hash(dump_json(job.progress))
        now = self._known[job.id] = _Known(state, job.attempt, progress)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        added = ["added"] if topic == "created" else []
        if state == "active":
            # a claim that nobody here was told of may have been a while ago
            fresh = topic == "created" or job.started_at == job.updated_at
            begins = fresh if before is None else before[:2] != now[:2]
            if begins:
                return [*added, "active"]
            changed = progress is not None if before is None else before.progress != progress
            return [*added, "progress"] if changed else added
        if before is not None and before[:2] == now[:2]:
            return added
        if state == "failed":
            spent = job.status is JobStatus.FAILED and job.failures >= max(1, job.max_attempts or 0)
            return [*added, "failed", *(["retries-exhausted"] if spent else [])]
        return [*added, "waiting" if state == "prioritized" else state]


def _about(job: Job, state: str) -> dict[str, Json]:
    return {
        "jobId": id_of(job),
        "name": name_of(job),
        "state": state,
        "attemptsMade": attempts_made(job, state),
        "timestamp": to_number(job.updated_at),
    }


def _more(name: str, job: Job) -> dict[str, Json]:
    if name == "progress":
        return {"progress": job.progress}
    if name == "completed":
        return {"returnvalue": job.output}
    if name == "failed":
        return {"failedReason": failed_reason(job)}
    return {}
