"""The states of the queue contract, which are derived: from status, priority and the time that a job waits for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from gnj.queue.model import Job, attributes
from gnj.queue.states import JobStatus
from gnj.queue.where import And, Compare, Condition, Or, equal

STATES: Final = ("waiting", "prioritized", "active", "delayed", "completed", "failed", "waiting-children")
"""Every state, in the order in which all of them are listed."""
ENDED: Final = ("completed", "failed")
"""Those of jobs that have ended."""
STATUSES: Final[Mapping[str, tuple[JobStatus, ...]]] = MappingProxyType(
    {
        "active": (JobStatus.PROCESSING, JobStatus.CANCEL_REQUESTED),
        "completed": (JobStatus.SUCCESSFUL,),
        "failed": (JobStatus.FAILED, JobStatus.CANCELLED),
        "waiting-children": (JobStatus.PLANNED,),
    }
)
"""The statuses of those states that are nothing but a status."""
STATE_OF: Final[Mapping[JobStatus, str]] = MappingProxyType(
    {status: state for state, statuses in STATUSES.items() for status in statuses}
)
"""The states of those statuses; that of a queued job depends on more."""


def state_of(job: Job, now: datetime) -> str:
    """The state of a job, one of `STATES`, at that moment of the storage's."""
    if job.status is not JobStatus.QUEUED:
        return STATE_OF[job.status]
    if job.due_at is not None and job.due_at > now:
        return "delayed"
    return "prioritized" if job.priority < 0 else "waiting"


def in_state(state: str, now: datetime) -> Condition:
    """What jobs meet that are in a state at that moment."""
    queued = equal(Job, status=JobStatus.QUEUED)
    match state:
        case "waiting" | "prioritized":
            return And((queued, ready(now), compared("priority", "gte" if state == "waiting" else "lt", 0)))
        case "delayed":
            return And((queued, late(now)))
    return equal(Job, status=STATUSES[state])


def ready(now: datetime) -> Condition:
    """What queued jobs meet that wait for no time to come."""
    return Or((equal(Job, due_at=None), compared("due_at", "lte", now)))


def late(now: datetime) -> Condition:
    """What queued jobs meet that wait for a time to come."""
    return compared("due_at", "gt", now)


def compared(name: str, op: str, value: Any) -> Condition:
    """How an attribute of a job compares with a value."""
    return Compare(attributes(Job)[name], (), op, value)
