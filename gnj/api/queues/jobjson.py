"""A job as the queue contract has it: BullMQ's JobJson, and `gnjId`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from gnj.queue.bulk import CANCELLED
from gnj.queue.clock import to_number
from gnj.queue.derived import state_of
from gnj.queue.model import Job
from gnj.queue.naming import id_of
from gnj.queue.service import Queue
from gnj.queue.states import JobStatus
from gnj.queue.values import Json, dump_json

PREFIX: Final = "gnj:"
"""How the qualified names of queues begin."""
_MS: Final = timedelta(milliseconds=1)


def told(queue: Queue, job: Job) -> dict[str, Json]:
    """A job of the queue as it is now."""
    return job_json(job, queue.errors_of([job]).get(job.id, ()), queue.storage.now())


def job_json(job: Job, errors: Sequence[str], now: datetime) -> dict[str, Json]:
    """The job, with the errors of its failed tries, the oldest first; `now`, the storage's present, decides what waits."""
    state = state_of(job, now)
    completed = state == "completed"
    told: dict[str, Json] = {
        "id": id_of(job),
        "name": name_of(job),
        "data": job.input,
        "opts": _options(job),
        "progress": 0 if job.progress is None else job.progress,
        "returnvalue": job.output if completed else None,
        "stacktrace": list(errors),
        "priority": max(0, -job.priority),
        "delay": _delay(job) if state == "delayed" else 0,
        "attemptsMade": attempts_made(job, state),
        "attemptsStarted": attempts_started(job, state),
        "stalledCounter": job.stalled_count,
        "timestamp": to_number(job.created_at),
        "queueQualifiedName": PREFIX + job.type,
        "gnjId": job.id,
    }
    reason = None if completed else _last_failure(job, state, errors)
    if reason is not None:
        told["failedReason"] = reason
    if job.started_at is not None:
        told["processedOn"] = to_number(job.started_at)
    if job.ended_at is not None:
        told["finishedOn"] = to_number(job.ended_at)
    if job.worker_id is not None:
        told["processedBy"] = job.worker_id
    if isinstance(job.options, dict) and "deduplication" in job.options:
        told["deduplicationId"] = job.options["deduplication"]["id"]
    return told


def _options(job: Job) -> dict[str, Json]:
    """The options as they were given; of a job that came by another way, those that would have made it."""
    if isinstance(job.options, dict):
        return {"attempts": 0, **job.options}
    made: dict[str, Json] = {"attempts": job.max_attempts or 0}
    if job.backoff is not None:
        made["backoff"] = job.backoff
    if job.priority < 0:
        made["priority"] = -job.priority
    if job.custom_id is not None:
        made["jobId"] = job.custom_id
    return made


def _delay(job: Job) -> int:
    """Milliseconds that a delayed job waits: from when it was added or, before a further try, from the last change."""
    since = job.updated_at if job.attempt else job.created_at
    return 0 if job.due_at is None else max(0, (job.due_at - since) // _MS)


def _last_failure(job: Job, state: str, errors: Sequence[str]) -> str | None:
    """Why the last try failed; None where none has."""
    last = errors[-1] if errors else None
    return last if state != "failed" else failed_reason(job) if last is None else failed_reason(job, last)


def failed_reason(job: Job, unknown: str = "failed") -> str:
    """Why a job failed that has ended so; `unknown` where it does not tell itself."""
    if job.status is JobStatus.CANCELLED:
        return CANCELLED
    error = job.output.get("error") if isinstance(job.output, dict) else None
    if error is None:
        return unknown
    return error if isinstance(error, str) else dump_json(error)


def name_of(job: Job) -> str:
    """The name of a job; one that was given none has its queue's."""
    return job.type if job.name is None else job.name


def attempts_made(job: Job, state: str) -> int:
    """How many tries have ended."""
    return job.failures + (state == "completed")


def attempts_started(job: Job, state: str) -> int:
    """How many tries have begun: those that ended, those that were lost with their worker, and the one under way.

    Not how often it was claimed: a worker gives back what it claimed ahead. Of a job that was cancelled nothing tells whether a worker
    had it then; one that had a worker has begun once.
    """
    begun = attempts_made(job, state) + job.stalled_count + (state == "active")
    if job.status is JobStatus.CANCELLED and job.started_at is not None:
        begun = max(begun, 1)
    return min(begun, job.attempt)
