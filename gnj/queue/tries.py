"""The history of a job: its tries that did not end well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from gnj.queue.clock import NOW
from gnj.queue.model import Job, JobAttempt
from gnj.queue.states import Move
from gnj.queue.storage import Select
from gnj.queue.unit import Unit
from gnj.queue.values import clean_text
from gnj.queue.where import equal

KEPT: Final = 100
"""Tries that are kept of a job, the newest: one may have any number of them, each with a traceback."""
_PAGE: Final = 1_000


class Try(NamedTuple):
    """A try that has just ended, with the job as it was claimed."""

    job: Job
    move: Move
    error: str | None


def remember(unit: Unit, tries: Sequence[Try]) -> None:
    """Keeps tries; the oldest of jobs that have had more than `KEPT` go."""
    unit.tx.insert(JobAttempt, [_row(each) for each in tries])
    for job in (each.job for each in tries if each.job.failures + each.job.stalled_count >= KEPT):
        order = (("attempt", True), ("id", True))
        older = Select(equal(JobAttempt, job_id=job.id), order=order, limit=_PAGE, offset=KEPT)
        if ids := tuple(id for (id,) in unit.tx.columns(JobAttempt, ["id"], older)):
            unit.tx.trim(JobAttempt, equal(JobAttempt, id=ids), len(ids))


def _row(each: Try) -> dict[str, Any]:
    job = each.job
    return {
        "tenant": job.tenant,
        "job_id": job.id,
        "attempt": job.attempt,
        "outcome": "failed" if each.move.name == "fail" else "lost",
        "worker_id": job.worker_id,
        "started_at": job.started_at,
        "ended_at": NOW,
        "error": None if each.error is None else clean_text(each.error),
    }
