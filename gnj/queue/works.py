"""Content jobs: rows that follow a pipeline of their own kind (docs/decisions/0024-content-jobs.md).

A content job is made with its pipeline and the jobs that are its tasks; what the tasks come to reaches it through the pipeline
(`gnj.queue.following`), and what they tell on the way through their checkpoints.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from gnj.queue import compose, jobs, pipelines, uploads
from gnj.queue.clock import NOW
from gnj.queue.errors import CancelRequested, Failed, InvalidInput, NotFound
from gnj.queue.following import change
from gnj.queue.kinds import CONTENT
from gnj.queue.model import ContentJob, ContentLog, Job, attributes
from gnj.queue.model_content import CONTENT_OVER, CONTENT_UNFINISHED, TASKS, ContentStatus, ContentType
from gnj.queue.states import JobStatus
from gnj.queue.storage import Rows, Select
from gnj.queue.unit import Unit
from gnj.queue.values import Json
from gnj.queue.where import Compare, equal

INFORMATION: Final = "INFORMATION"
WARNING: Final = "WARNING"
ERROR: Final = "ERROR"
LEVELS: Final = (INFORMATION, WARNING, ERROR)
"""Those of a log's lines."""
KEPT: Final = 100_000
"""Lines of a content job's log that are kept, unless a checkpoint says otherwise."""
MOST: Final = 1_000
"""Content jobs of a tenant that are not over."""
MAX_STALLED: Final = 20
"""Leases that a task may lose: it goes on where it was, so that losing one costs little."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a content job's log, to be written with the next checkpoint.

    Args:
        level: `INFORMATION`, `WARNING` or `ERROR`.
        message: For people.
    """

    level: str
    message: str


def create(
    unit: Unit,
    tenant: str,
    *,
    name: str,
    type: ContentType,
    params: Json,
    by: Json,
    start_after: datetime | None = None,
    file_key: str | None = None,
    schedule_id: int | None = None,
) -> ContentJob:
    """A content job with its tasks, the first of them queued. See `Queue.create_content_job`; the values are checked.

    Raises `InvalidInput` where the tenant has `MOST` that are not over.
    """
    _take_turn(unit.tx, tenant)
    if unit.tx.count(ContentJob, equal(ContentJob, status=tuple(CONTENT_UNFINISHED)), tenant=tenant) >= MOST:
        raise InvalidInput(f"at most {MOST:,} jobs can be under way: wait until one has ended, or delete one")
    steps: list[dict[str, Any]] = [
        {
            "type": task.job_type,
            "input": {"task": task.value},
            "max_attempts": 1,
            "max_stalled": MAX_STALLED,
            "on_lost": "requeue",
        }
        for task in TASKS[type]
    ]
    if start_after is not None and start_after > unit.tx.now():
        steps[0]["start_after"] = start_after
    pipeline = compose.whole_pipeline(unit, tenant, name, steps, start=True, kind=CONTENT)
    tasks = unit.tx.columns(Job, ["id"], Select(equal(Job, pipeline_id=pipeline.id)))
    (row,) = unit.tx.insert(
        ContentJob,
        [
            {
                "tenant": tenant,
                "name": name,
                "type": type,
                "pipeline_id": pipeline.id,
                "schedule_id": schedule_id,
                "task_ids": [id for (id,) in tasks],
                "params": params,
                "file_key": file_key,
                "created_by": by,
            }
        ],
    )
    unit.say("content", tenant, row.id)
    return row


def delete(unit: Unit, tenant: str, id: int, by: Json) -> ContentJob:
    """Makes a content job DELETED, and cancels its task that runs or is next. Raises `NotFound`."""
    before = _existing(unit.tx, tenant, id)
    if before.status is ContentStatus.DELETED:
        return before
    # under the pipeline's lock no task ends, so none is queued after the look for what is
    pipelines.lock(unit, batch_ids=(), pipeline_ids=(before.pipeline_id,))
    waiting = equal(Job, id=tuple(task_ids(before)), status=(JobStatus.QUEUED, JobStatus.PROCESSING))
    for (task_id,) in unit.tx.columns(Job, ["id"], Select(waiting), tenant=tenant):
        jobs.cancel(unit, tenant, task_id, outside=False)
    row = _existing(unit.tx, tenant, id, lock=True)
    if row.status is not ContentStatus.DELETED:
        change(unit, tenant, id, "delete", {"changed_by": by, "finished_at": row.finished_at or NOW})
    return _existing(unit.tx, tenant, id)


def of_task(tx: Rows, claim: Job) -> ContentJob:
    """The content job that names the job among its tasks. Raises `Failed` where there is none.

    Anybody may enqueue a job that says it belongs to a pipeline: what counts is that the content job names it.
    """
    if claim.pipeline_id is not None:
        own = Select(equal(ContentJob, pipeline_id=claim.pipeline_id), limit=1)
        for row in tx.find(ContentJob, own, tenant=claim.tenant):
            types = (task.job_type for task in TASKS[row.type])
            if dict(zip(task_ids(row), types, strict=False)).get(claim.id) == claim.type:
                return row
    raise Failed(f"the job {claim.id} is no task of a content job")


def begun(tx: Rows, claim: Job) -> ContentJob:
    """`of_task`, for who is about to work on it. Raises `CancelRequested` where the content job was deleted, `Failed` where it
    is over otherwise: somebody has had the task queued again.
    """
    row = of_task(tx, claim)
    if row.status is ContentStatus.DELETED:
        raise CancelRequested(f"the job {row.id} was deleted")
    if row.status in CONTENT_OVER:
        raise Failed(f"the job {row.id} is over: make a new one")
    return row


def checkpoint(
    unit: Unit, claim: Job, progress: Json, lines: Sequence[Line], changes: Mapping[str, Any], beyond: int
) -> Job:
    """Notes how far a task has come. See `Queue.checkpoint`; the values are checked."""
    held = jobs.Update(id=claim.id, values={"progress": progress}, attempt=claim.attempt, replace=True)
    job = jobs.update(unit, claim.tenant, held)
    row = _existing(unit.tx, claim.tenant, of_task(unit.tx, claim).id, lock=True)
    if row.status in CONTENT_OVER:  # then nobody is to see what the task has still to do
        job = jobs.cancel(unit, claim.tenant, claim.id, outside=False)
    begins = "begin" if row.status is ContentStatus.PENDING else None
    change(unit, row.tenant, row.id, begins, {**changes, **_logged(unit.tx, row, claim.id, lines, beyond)})
    return job


def log(unit: Unit, row: ContentJob, task_id: int, lines: Sequence[Line], *, beyond: int = KEPT) -> None:
    """Adds lines to the log of a content job, as one of its tasks would with a checkpoint."""
    locked = unit.tx.get(ContentJob, row.id, lock=True)
    if locked is not None:
        change(unit, locked.tenant, locked.id, None, _logged(unit.tx, locked, task_id, lines, beyond))


def task_ids(row: ContentJob) -> list[int]:
    """The ids of the jobs that are its tasks, in their order."""
    return row.task_ids if isinstance(row.task_ids, list) else []


def changed(row: ContentJob) -> Sequence[str]:
    """The ids of the environments that the tasks of a content job have changed so far."""
    return (row.result or {}).get("environments") or ()


def mark(row: ContentJob) -> str:
    """Hexadecimal digits: the same for every try of a content job, others for every other one, also of a database made anew."""
    return hashlib.sha256(f"{row.tenant}|{row.id}|{row.created_at.isoformat()}".encode()).hexdigest()


def trim(tx: Rows, age: float, limit: int) -> int:
    """Removes for good content jobs that were over more than `age` seconds ago, with their logs; how many rows, at most `limit`.

    A long log goes little by little, before its content job does: while one transaction removes it, others may wait.
    """
    old = Compare(_FINISHED_AT, (), "lte", tx.now() - timedelta(seconds=age))
    # by the time, as the index has it: `trim` goes by the id, and would read all that are not old enough
    oldest = Select(old, order=(("finished_at", False),), limit=limit, deleted=True)
    left, gone = limit, list[int]()
    for id, lines in tx.columns(ContentJob, ["id", "logs"], oldest):
        if lines >= left:  # so many were written; fewer may be left
            lines = tx.trim(ContentLog, equal(ContentLog, content_job_id=id), left)
            left -= lines
            if not left:
                break
            lines = 0
        left -= 1 + lines
        gone.append(id)
        if not left:
            break
    if gone:
        uploads.retire_exports(tx, gone)
        tx.trim(ContentJob, equal(ContentJob, id=tuple(gone)), len(gone))
    return limit - left


def _take_turn(tx: Rows, tenant: str) -> None:
    """Of two that make content jobs of a tenant at once, the second counts the first: each locks the tenant's oldest one."""
    while oldest := tx.columns(ContentJob, ("id",), Select(limit=1), tenant=tenant):
        if tx.get(ContentJob, oldest[0][0], tenant=tenant, lock=True) is not None:
            return


def _logged(tx: Rows, row: ContentJob, task_id: int, lines: Sequence[Line], beyond: int) -> dict[str, int]:
    """Stores lines of the log of a locked content job, removes those that are too many, and gives the counts that change."""
    if not lines:
        return {}
    told = {"tenant": row.tenant, "content_job_id": row.id, "job_id": task_id}
    tx.insert(ContentLog, [{**told, "level": line.level, "message": line.message} for line in lines])
    # what is there needs not be counted: it was never more than `beyond`
    if (excess := min(row.logs, beyond) + len(lines) - beyond) > 0:
        tx.trim(ContentLog, equal(ContentLog, content_job_id=row.id), excess)
    counts = Counter(line.level for line in lines)
    return {
        "logs": row.logs + len(lines),
        "warnings": row.warnings + counts[WARNING],
        "errors": row.errors + counts[ERROR],
    }


def _existing(tx: Rows, tenant: str, id: int, *, lock: bool = False) -> ContentJob:
    row = tx.get(ContentJob, id, tenant=tenant, lock=lock)
    if row is None:
        raise NotFound("the job does not exist")
    return row


_FINISHED_AT = attributes(ContentJob)["finished_at"]
