"""Handing out jobs: claimed by the storage, or chosen by a condition of the caller's; completed by their types' policies, told of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gnj.queue import jobs
from gnj.queue.clock import After
from gnj.queue.holds import ALL_TYPES
from gnj.queue.model import Hold, Job, attributes
from gnj.queue.policy import Policy, fill
from gnj.queue.states import JOB_MOVES, JobStatus
from gnj.queue.storage import Changes, Select, Settlement
from gnj.queue.unit import Unit
from gnj.queue.where import And, Compare, Condition, Not, Or, equal, matches

CLAIMED = JOB_MOVES["claim"].changes(JobStatus.QUEUED)
"""What a claim writes, besides the attempt, the lease and who claims."""
CANDIDATES = 20
"""Jobs looked up at once for a choice: those before the first free one have been claimed by others meanwhile."""


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
    changes = {**CLAIMED, **who}
    while True:
        found = unit.tx.claim(types, limit, lease=lease, changes=changes, tenants=tenants)
        claimed = readable(unit, fill(unit, found, policies))
        if claimed or not found:
            break
    for job in claimed:
        unit.tell("started", job, JobStatus.QUEUED)
    return claimed


def choose(
    unit: Unit,
    types: Sequence[str],
    *,
    where: Condition,
    order: Sequence[tuple[str, bool]],
    lease: float,
    who: Changes,
    tenant: str,
    policies: Mapping[str, Policy],
) -> Job | None:
    """The first free job of `types` that meets `where`, claimed; by `order`, then as `Rows.claim` has it.

    What is free, and what is written, is as in `Rows.claim`; but one that others have locked is waited for, and the cost
    depends on how many jobs wait.
    """
    due, passed = attributes(Job)["due_at"], set[int]()
    while True:
        now = unit.tx.now()
        held = {
            row.type for row in unit.tx.find(Hold, Select(equal(Hold, type=(*types, ALL_TYPES), tenant=("", tenant))))
        }
        asked = [] if ALL_TYPES in held else [type for type in types if type not in held]
        if not asked:
            return None
        is_due = Or((Compare(due, (), "null", None), Compare(due, (), "lte", now)))
        free = And((equal(Job, type=tuple(asked), status=JobStatus.QUEUED), is_due, where))
        left = And((free, Not(equal(Job, id=tuple(passed))))) if passed else free
        select = Select(left, (*order, ("priority", True), ("position", False)), CANDIDATES)
        found = [job.id for job in unit.tx.find(Job, select, tenant=tenant)]
        if not found:
            return None
        for id in found:
            passed.add(id)
            job = unit.tx.get(Job, id, tenant=tenant, lock=True)
            if job is None or matches(free, job) is not True:
                continue
            changes = {**JOB_MOVES["claim"].changes(job.status), **who, "attempt": job.attempt + 1}
            changes |= {"lease": lease, "lease_expires_at": After(lease)}
            (claimed,) = unit.tx.settle([Settlement(job.id, job.attempt, {JobStatus.QUEUED}, changes)])
            for each in readable(unit, fill(unit, [claimed] if claimed else [], policies)):
                unit.tell("started", each, JobStatus.QUEUED)
                return each


def readable(unit: Unit, claimed: Sequence[Job]) -> list[Job]:
    """Fails those of the claimed jobs that cannot be read, for good, so that they do not stop the queue; the others."""
    good = []
    for job in claimed:
        if not (names := jobs.unreadable(job)):
            good.append(job)
            continue
        error = f"UNREADABLE: what is stored as the {' and the '.join(names)} of the job is not JSON"
        values = {"status": JobStatus.FAILED, "output": {"error": error}}
        jobs.update(unit, None, jobs.Update(id=job.id, values=values, attempt=job.attempt))
    return good
