"""Upkeep that ordinary acquires do on the way: lost leases are taken back, no separate process is needed (point 7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gnj.queue import jobs
from gnj.queue.model import DEFAULT_MAX_STALLED, Job
from gnj.queue.states import JOB_MOVES
from gnj.queue.unit import Unit

REAP_EVERY = 1.0
"""Seconds between two looks for lost leases in one process."""
REAP_LIMIT = 500
PARTED = 30.0
"""Seconds over which jobs come back at most that lost their leases together again and again."""
MOMENTS = 64
"""At so many different moments."""
PRUNE_LIMIT = 1_000
"""Rows of a kind that one prune removes: about 0.1 s on PostgreSQL and 0.7 s on MariaDB, while others claim."""
DELETED_FOR = 86_400.0
"""Seconds for which a deleted row is kept (data.md, Soft delete)."""


def verdict(job: Job, random: Callable[[], float]) -> jobs.Loss:
    """What becomes of a job whose lease was lost."""
    stalled = job.stalled_count + 1
    reason = _reason(job, stalled)
    changes: dict[str, Any] = {"stalled_count": stalled}
    spent = stalled >= (job.max_stalled or DEFAULT_MAX_STALLED)
    if job.on_lost == "hold":
        name = "lose and hold"
    elif job.on_lost == "fail" or spent:
        name = "lose and fail"
    else:
        return jobs.Loss(job, JOB_MOVES["lose"], reason, changes, _parted(job, random))
    return jobs.Loss(job, JOB_MOVES[name], reason, {**changes, "output": {"error": reason}}, 0.0)


def reap(lost: Job) -> Callable[[Unit], Job | None]:
    """The command that takes one lost claim back, in a transaction of its own: its parents are locked before it."""

    def command(unit: Unit) -> Job | None:
        return jobs.lose(unit, verdict(lost, unit.random))

    return command


def reap_together(lost: Sequence[Job]) -> Callable[[Unit], int]:
    """The command that takes lost claims of jobs without batch and pipeline back.

    A worker of short jobs holds hundreds of claims when it dies: one after the other, they took a second for each 300.
    """

    def command(unit: Unit) -> int:
        return jobs.lose_together(unit, [verdict(job, unit.random) for job in lost])

    return command


def _parted(job: Job, random: Callable[[], float]) -> float:
    """Seconds after which a job comes back that has lost all but its last two leases; before that, at once.

    Jobs that a worker held together lose their leases together, and would be claimed together again: one that kills its
    worker would take the others with it, five times (of 100 jobs, 8 failed at a concurrency of 8, not 1). So they come
    back apart from each other.
    """
    stalled, allowed = job.stalled_count + 1, job.max_stalled or DEFAULT_MAX_STALLED
    if stalled < max(2, allowed - 2):
        return 0.0
    # few different moments, so that those of one share a statement
    return (1 + int(random() * MOMENTS)) / MOMENTS * min(job.lease or PARTED, PARTED)


def _reason(job: Job, stalled: int) -> str:
    """Who lost what, and when: the first thing asked about a stalled job."""
    worker = f"worker {job.worker_id}" if job.worker_id else "a worker without an id"
    since = f", begun {job.started_at:%Y-%m-%dT%H:%M:%S.%fZ}" if job.started_at else ""
    until = f"{job.lease_expires_at:%Y-%m-%dT%H:%M:%S.%fZ}" if job.lease_expires_at else "an unknown time"
    allowed = job.max_stalled or DEFAULT_MAX_STALLED
    return (
        f"LEASE_EXPIRED: {worker} lost claim {job.attempt}{since}: its lease ended {until} without a heartbeat "
        f"(lost lease {stalled} of {allowed})"
    )
