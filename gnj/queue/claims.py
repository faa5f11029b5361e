"""Handing out jobs: claimed by the storage, completed by their types' policies, told of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gnj.queue import jobs
from gnj.queue.model import Job
from gnj.queue.policy import Policy, fill
from gnj.queue.states import JOB_MOVES, JobStatus
from gnj.queue.storage import Changes
from gnj.queue.unit import Unit


def claim(
    unit: Unit,
    types: Sequence[str],
    limit: int,
    *,
    lease: float,
    who: Changes,
    tenants: Sequence[str] | None,
    policies: Mapping[str, Policy],
) -> list[Job]:
    """At most `limit` jobs of `types`, claimed; see `Rows.claim`. `who` are the attributes that name the claimer."""
    changes = {**JOB_MOVES["claim"].changes(JobStatus.QUEUED), **who}
    while True:
        found = unit.tx.claim(types, limit, lease=lease, changes=changes, tenants=tenants)
        claimed = _readable(unit, fill(unit, found, policies))
        if claimed or not found:
            break
    for job in claimed:
        unit.tell("started", job, JobStatus.QUEUED)
    return claimed


def _readable(unit: Unit, claimed: Sequence[Job]) -> list[Job]:
    """Fails those of the claimed jobs that cannot be read, for good, so that they do not stop the queue; the others."""
    readable = []
    for job in claimed:
        if not (names := jobs.unreadable(job)):
            readable.append(job)
            continue
        error = f"UNREADABLE: what is stored as the {' and the '.join(names)} of the job is not JSON"
        values = {"status": JobStatus.FAILED, "output": {"error": error}}
        jobs.update(unit, None, jobs.Update(id=job.id, values=values, attempt=job.attempt))
    return readable
