"""Deletes: soft, and refused where something runs (section 0, point 3).

What belongs to a deleted row is deleted with it, so that nothing waits for ever for a parent that is gone; a job that belongs
to a second parent as well stands in the way, since that one would wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

from gnj.queue import holds, jobs, pipelines
from gnj.queue.clock import NOW
from gnj.queue.errors import IllegalTransition, NotFound
from gnj.queue.model import Batch, Hold, Job, Monitoring, Pipeline, Record, RecordT, Step, wire_table
from gnj.queue.states import JOB_CLAIMED, BatchStatus, JobStatus, PipelineStatus, StepStatus
from gnj.queue.storage import Select
from gnj.queue.unit import Unit
from gnj.queue.where import And, Condition, Not, equal

_PAGE = 100
"""Members that are deleted at once where each is told of: their rows are read whole."""
UNCLAIMED: Final = frozenset(JobStatus) - JOB_CLAIMED
"""Statuses in which nobody is working on a job."""
ALONE: Final = equal(Job, batch_id=None, pipeline_id=None)
"""What jobs meet that belong to nothing (`Job.is_member`)."""


def delete(unit: Unit, kind: type[RecordT], tenant: str | None, id: int) -> RecordT:
    """Deletes a row; the row as it then is. Raises `NotFound`, or `IllegalTransition` where something of it runs."""
    found: RecordT = _DELETE[kind](unit, tenant, id)
    return found


def delete_jobs(unit: Unit, which: Condition, frm: Collection[JobStatus] = UNCLAIMED) -> int:
    """Deletes the jobs that meet a condition and have a status in `frm`; how many. What they belong to is not looked at."""
    if not unit.hooks.wanted(unit.tx, "deleted"):
        return unit.tx.move_all(Job, which, frm, {"deleted_at": NOW})
    deleted = 0
    left = And((which, equal(Job, status=frm)))
    while page := unit.tx.find(Job, Select(left, limit=_PAGE)):
        gone = unit.tx.move(Job, [job.id for job in page], frm, {"deleted_at": NOW})
        for job in gone:
            unit.tell("deleted", job, job.status)
        deleted += len(gone)
        if len(gone) < len(page):
            break  # one of them was claimed meanwhile
    return deleted


def _job(unit: Unit, tenant: str | None, id: int) -> Job:
    job, parents = jobs.locked(unit, tenant, id, missing="Could not find the job with the id [{}]", outside=True)
    if job.status in JOB_CLAIMED:
        raise IllegalTransition("the job is being processed: cancel it first, or wait for its end")
    (gone,) = unit.tx.edit(Job, [id], {"deleted_at": NOW})
    pipelines.leave(unit, parents, job)
    unit.tell("deleted", gone, job.status)
    return gone


def _batch(unit: Unit, tenant: str | None, id: int) -> Batch:
    before = _existing(unit, Batch, tenant, id)
    parents = pipelines.lock(unit, batch_ids=(id,), pipeline_ids=(before.pipeline_id,))
    batch = parents.batches.get(id)
    if batch is None:
        raise NotFound("batch not found.")
    if batch.status is BatchStatus.PROCESSING:
        raise IllegalTransition("the batch is running: cancel its jobs first, or wait for its end")
    _members(unit, equal(Job, batch_id=id), Not(equal(Job, pipeline_id=None)), "batch")
    (gone,) = unit.tx.edit(Batch, [id], {"deleted_at": NOW})
    pipelines.leave_batch(unit, parents, batch)
    return gone


def _pipeline(unit: Unit, tenant: str | None, id: int) -> Pipeline:
    pipeline = unit.tx.get(Pipeline, id, tenant=tenant, lock=True)
    if pipeline is None:
        raise NotFound("pipeline not found.")
    pipelines.check_free(pipeline)
    if pipeline.status is PipelineStatus.PROCESSING:
        raise IllegalTransition("the pipeline is running: cancel its jobs first, or wait for its end")
    # the pipeline's lock keeps others from giving it members: whoever does locks it first
    batch_ids = [batch.id for batch in unit.tx.find(Batch, Select(equal(Batch, pipeline_id=id)))]
    for batch_id in batch_ids:
        unit.tx.get(Batch, batch_id, lock=True)
    if batch_ids:
        inner = equal(Job, batch_id=tuple(batch_ids))
        elsewhere = And((Not(equal(Job, pipeline_id=None)), Not(equal(Job, pipeline_id=id))))
        _members(unit, inner, elsewhere, "pipeline")
    _members(unit, equal(Job, pipeline_id=id), Not(equal(Job, batch_id=None)), "pipeline")
    steps = [step.id for step in unit.tx.find(Step, Select(equal(Step, pipeline_id=id)))]
    unit.tx.edit(Batch, batch_ids, {"deleted_at": NOW})
    unit.tx.edit(Step, steps, {"deleted_at": NOW})
    (gone,) = unit.tx.edit(Pipeline, [id], {"deleted_at": NOW})
    return gone


def _step(unit: Unit, tenant: str | None, id: int) -> Step:
    before = _existing(unit, Step, tenant, id)
    pipeline = unit.tx.get(Pipeline, before.pipeline_id, lock=True)
    pipelines.check_free(pipeline)
    step = _existing(unit, Step, tenant, id)
    if step.status is StepStatus.PROCESSING:
        raise IllegalTransition("the step is running: cancel its jobs first, or wait for its end")
    (gone,) = unit.tx.edit(Step, [id], {"deleted_at": NOW})
    if pipeline is not None:
        pipelines.go_on(unit, pipeline)
    return gone


def _plain(kind: type[RecordT]) -> Callable[[Unit, str | None, int], RecordT]:
    def delete_plain(unit: Unit, tenant: str | None, id: int) -> RecordT:
        _existing(unit, kind, tenant, id, lock=True)
        (gone,) = unit.tx.edit(kind, [id], {"deleted_at": NOW})
        return gone

    return delete_plain


_DELETE: dict[type[Record], Callable[[Unit, str | None, int], Any]] = {
    Job: _job,
    Batch: _batch,
    Pipeline: _pipeline,
    Step: _step,
    Hold: holds.remove,
    Monitoring: _plain(Monitoring),
}


def _existing(unit: Unit, kind: type[RecordT], tenant: str | None, id: int, *, lock: bool = False) -> RecordT:
    row = unit.tx.get(kind, id, tenant=tenant, lock=lock)
    if row is None:
        raise NotFound(f"{wire_table(kind)} not found.")
    return row


def _members(unit: Unit, members: Condition, others: Condition, parent: str) -> None:
    """Deletes the jobs that a parent has; refused when one is being processed, or when `others` has one of them as well.

    Those that wait are locked by their deletion before the look for one that runs, so none can be claimed in between.
    """
    if shared := unit.tx.find(Job, Select(And((members, others)), limit=1)):
        raise IllegalTransition(f"job {shared[0].id} belongs to another batch or pipeline as well: take it out first")
    delete_jobs(unit, members)
    if unit.tx.exists(Job, members):
        raise IllegalTransition(f"a job of the {parent} is being processed: cancel it first, or wait for its end")
