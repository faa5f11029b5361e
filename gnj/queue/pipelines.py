"""Pipelines and their steps: started, advanced and failed in the transaction of what caused it (point 11).

Locks are taken in the order pipeline, batch, job. A step is started once: whoever starts it holds its pipeline's lock and
moves it out of `planned`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gnj.queue import batches, following
from gnj.queue.clock import NOW
from gnj.queue.errors import Conflict, IllegalTransition, NotFound
from gnj.queue.kinds import TRANSFORM
from gnj.queue.model import Batch, Job, Pipeline, Step
from gnj.queue.states import (
    BATCH_ENDED,
    BATCH_MOVES,
    JOB_BROKEN,
    JOB_MOVES,
    JOB_UNFINISHED,
    PIPELINE_ENDED,
    PIPELINE_MOVES,
    STEP_DONE,
    STEP_MOVES,
    BatchStatus,
    JobStatus,
    PipelineStatus,
    StepStatus,
)
from gnj.queue.storage import Select
from gnj.queue.unit import Unit
from gnj.queue.where import And, Not, equal


@dataclass(frozen=True, slots=True)
class Parents:
    """The locked pipelines and batches of some jobs, by id; what is missing does not exist (any more)."""

    pipelines: dict[int, Pipeline]
    batches: dict[int, Batch]


def lock(unit: Unit, *, batch_ids: Iterable[int | None], pipeline_ids: Iterable[int | None]) -> Parents:
    """Locks those pipelines and batches, and the pipelines of the batches, in the order that all of gnj keeps."""
    tx = unit.tx
    of_batch = {i: tx.get(Batch, i) for i in {i for i in batch_ids if i is not None}}
    wanted = {i for i in pipeline_ids if i is not None}
    wanted |= {batch.pipeline_id for batch in of_batch.values() if batch and batch.pipeline_id is not None}
    locked_pipelines = {i: pipeline for i in sorted(wanted) if (pipeline := tx.get(Pipeline, i, lock=True))}
    locked_batches = {i: batch for i in sorted(of_batch) if (batch := tx.get(Batch, i, lock=True))}
    for i, batch in locked_batches.items():
        before = of_batch[i]
        if before is None or before.pipeline_id != batch.pipeline_id:
            raise Conflict
    return Parents(locked_pipelines, locked_batches)


def check_free(pipeline: Pipeline | None, *, cancels: bool = False) -> None:
    """Raises `IllegalTransition` for a pipeline that something of gnj's own follows: it, its steps and their jobs are what that
    consists of, and nobody else changes them, adds to them or takes one away, not even once it is over.

    While it is planned, it is being made: nobody else ever sees it so. `cancels`: for who cancels a job, which the run of a
    transformation job bears as any job does (contract, "Transformation jobs"): nothing of it is kept.
    """
    if cancels and pipeline is not None and pipeline.kind == TRANSFORM:
        return
    if pipeline is not None and pipeline.kind is not None and pipeline.status is not PipelineStatus.PLANNED:
        raise IllegalTransition(
            f"the pipeline {pipeline.id} is that of a {pipeline.kind} job: it, its steps and their jobs stay as they are"
        )


def start(unit: Unit, id: int, tenant: str | None) -> Pipeline:
    """Starts a planned pipeline: its first step's job, or the jobs of that step's batch, are queued.

    Raises `NotFound`, or `IllegalTransition` when it was started before or has no step.
    """
    pipeline = unit.tx.get(Pipeline, id, tenant=tenant, lock=True)
    if pipeline is None:
        raise NotFound("The pipeline does not exist")
    if pipeline.status is not PipelineStatus.PLANNED:
        raise IllegalTransition("The pipeline has already been started")
    if not unit.tx.exists(Step, equal(Step, pipeline_id=id)):
        raise IllegalTransition("No steps related to this pipeline were found")
    return advance(unit, _move(unit, pipeline, "start"))


def advance(unit: Unit, pipeline: Pipeline) -> Pipeline:
    """Starts the first step that is not done, if none before it still runs; ends the pipeline when all are done.

    The pipeline is locked and has not ended. Idempotent: it may be called whenever a step may have become the next one.
    """
    while True:
        step = _first_undone(unit, pipeline)
        if step is None:
            return _move(unit, pipeline, "succeed")
        status = step.status
        if status is StepStatus.PLANNED:
            status = _start_step(unit, step)
        if status is StepStatus.PROCESSING:
            return pipeline
        if status is StepStatus.FAILED:
            return _move(unit, pipeline, "fail")


def go_on(unit: Unit, pipeline: Pipeline) -> None:
    """Starts the next step of a locked pipeline that runs, if there is one to start now."""
    if pipeline.status is PipelineStatus.PROCESSING:
        advance(unit, pipeline)


def append_step(unit: Unit, pipeline_id: int, **member: int) -> None:
    """Gives a locked pipeline, unless it has ended, one more step, for `job_id=` or `batch_id=`.

    A pipeline that runs and has nothing left to do goes on with it.
    """
    pipeline = unit.tx.get(Pipeline, pipeline_id)
    if pipeline is None or pipeline.status in PIPELINE_ENDED:
        return
    last = unit.tx.find(Step, Select(equal(Step, pipeline_id=pipeline.id), order=(("index", True),), limit=1))
    index = last[0].index + 1 if last else 1
    row = {"tenant": pipeline.tenant, "pipeline_id": pipeline.id, "index": index, **member}
    unit.tx.insert(Step, [row])
    go_on(unit, pipeline)


def leave_batch(unit: Unit, parents: Parents, batch: Batch) -> None:
    """Takes a batch that goes elsewhere out of its pipeline."""
    if batch.pipeline_id is not None and (pipeline := parents.pipelines.get(batch.pipeline_id)):
        _drop(unit, pipeline, unit.tx.find(Step, Select(equal(Step, pipeline_id=pipeline.id, batch_id=batch.id))))


def leave(unit: Unit, parents: Parents, job: Job) -> None:
    """Takes a job that goes elsewhere out of its parents: its step is dropped, and what waited for it goes on."""
    if job.pipeline_id is not None and (pipeline := parents.pipelines.get(job.pipeline_id)):
        _drop(unit, pipeline, steps_of(unit, job))
    # read again: the pipeline may have gone on to it
    batch = unit.tx.get(Batch, job.batch_id) if job.batch_id is not None else None
    if batch is None or batch.status in BATCH_ENDED:
        return
    # one that nobody has started is not done because it is empty
    if batch.status is BatchStatus.PROCESSING or unit.tx.exists(Job, equal(Job, batch_id=batch.id)):
        _batch_settled(unit, parents, batches.review(unit, batch))


def steps_of(unit: Unit, job: Job) -> list[Step]:
    """The steps whose work `job` is; its pipeline is locked."""
    if job.pipeline_id is None:
        return []
    return unit.tx.find(Step, Select(equal(Step, pipeline_id=job.pipeline_id, job_id=job.id)))


def hand_over(unit: Unit, steps: Sequence[Step], job: Job) -> None:
    """Makes `job` the work of those steps."""
    unit.tx.edit(Step, [step.id for step in steps], {"job_id": job.id})


def member_ended(unit: Unit, parents: Parents, job: Job) -> None:
    """Settles what an ended job belongs to: batch, step, pipeline. All of them are locked."""
    broken = job.status in JOB_BROKEN
    if job.batch_id is not None and (batch := parents.batches.get(job.batch_id)):
        settled = batches.fail(unit, batch) if broken else batches.review(unit, batch)
        _batch_settled(unit, parents, settled)
    if job.pipeline_id is not None and (pipeline := parents.pipelines.get(job.pipeline_id)):
        _step_ended(unit, pipeline, steps_of(unit, job), broken=broken)


def members_succeeded(unit: Unit, parents: Parents, jobs: Sequence[Job]) -> None:
    """`member_ended` for many jobs that are all successful: each batch is looked at once."""
    batch_ids = sorted({job.batch_id for job in jobs if job.batch_id in parents.batches})
    for batch_id in batch_ids:
        batch = parents.batches[batch_id]
        if len(batch_ids) > 1:  # the end of one before it may have started it, and so ended it
            batch = unit.tx.get(Batch, batch_id) or batch
        _batch_settled(unit, parents, batches.review(unit, batch))
    for job in jobs:
        if job.pipeline_id is not None and (pipeline := parents.pipelines.get(job.pipeline_id)):
            _step_ended(unit, pipeline, steps_of(unit, job), broken=False)


def reopen(unit: Unit, parents: Parents, job: Job) -> Job:
    """Opens again what the failure of `job` had closed: it is queued anew, or `job` is the one that takes its place.

    The job as it then is: planned, where a step before its own is not done. It is queued in its turn (point 11).
    """
    own: dict[int, list[Step]] = {}
    if job.batch_id is not None and (batch := parents.batches.get(job.batch_id)):
        if batch.status is BatchStatus.FAILED:
            batch = batches.move(unit, batch, "reopen")
        if batch.pipeline_id is not None:
            member = equal(Step, pipeline_id=batch.pipeline_id, batch_id=batch.id)
            own[batch.pipeline_id] = unit.tx.find(Step, Select(member))
    if job.pipeline_id is not None:
        own.setdefault(job.pipeline_id, []).extend(steps_of(unit, job))
    waits = False
    for pipeline_id, steps in own.items():
        if steps and (pipeline := parents.pipelines.get(pipeline_id)):
            waits = _reopen(unit, pipeline, steps) or waits
    if waits:
        turn = JOB_MOVES["wait its turn"]
        (job,) = unit.tx.move(Job, [job.id], turn.frm(), turn.changes(job.status))
    return job


def _drop(unit: Unit, pipeline: Pipeline, steps: Sequence[Step]) -> None:
    unit.tx.edit(Step, [step.id for step in steps], {"deleted_at": NOW})
    go_on(unit, pipeline)


def _start_step(unit: Unit, step: Step) -> StepStatus:
    """Queues a planned step's work and gives the status it has now."""
    ended = _work(unit, step)
    _move_steps(
        unit, [step], "start" if ended is StepStatus.PROCESSING else "fail" if ended is StepStatus.FAILED else "finish"
    )
    return ended


def _work(unit: Unit, step: Step) -> StepStatus:
    tx = unit.tx
    if step.batch_id is not None:
        batch = tx.get(Batch, step.batch_id, lock=True)
        if batch is None:
            return StepStatus.DONE
        queue = JOB_MOVES["queue"]
        if tx.move_all(Job, equal(Job, batch_id=batch.id), queue.frm(), queue.changes(JobStatus.PLANNED)):
            unit.ready = True
        if batch.status in BATCH_MOVES["start"].frm():
            batch = batches.move(unit, batch, "start")
        if tx.exists(Job, equal(Job, batch_id=batch.id, status=JOB_BROKEN)):
            batch = batches.fail(unit, batch)
        else:
            batch = batches.review(unit, batch)
        return {BatchStatus.SUCCESSFUL: StepStatus.DONE, BatchStatus.FAILED: StepStatus.FAILED}.get(
            batch.status or BatchStatus.PROCESSING, StepStatus.PROCESSING
        )
    job = None if step.job_id is None else tx.get(Job, step.job_id, lock=True)
    if job is None:
        return StepStatus.DONE
    if job.status is JobStatus.PLANNED:
        tx.move(Job, [job.id], {JobStatus.PLANNED}, JOB_MOVES["queue"].changes(job.status))
        unit.ready = True
    if job.status in JOB_UNFINISHED:
        return StepStatus.PROCESSING
    return StepStatus.FAILED if job.status in JOB_BROKEN else StepStatus.DONE


def _batch_settled(unit: Unit, parents: Parents, batch: Batch) -> None:
    if batch.status not in (BatchStatus.SUCCESSFUL, BatchStatus.FAILED) or batch.pipeline_id is None:
        return
    if pipeline := parents.pipelines.get(batch.pipeline_id):
        steps = unit.tx.find(Step, Select(equal(Step, pipeline_id=pipeline.id, batch_id=batch.id)))
        _step_ended(unit, pipeline, steps, broken=batch.status is BatchStatus.FAILED)


def _step_ended(unit: Unit, pipeline: Pipeline, steps: Sequence[Step], *, broken: bool) -> None:
    if not steps:
        return
    _move_steps(unit, steps, "fail" if broken else "finish")
    # read again: one job may end a batch's step and a step of its own in the same pipeline
    now = unit.tx.get(Pipeline, pipeline.id)
    if now is None:
        return
    if now.status in PIPELINE_ENDED:  # it is kept as long as the member that ended only now
        unit.tx.edit(Pipeline, [now.id], {"updated_at": NOW})
        return
    if broken:
        _move(unit, now, "fail")
    else:
        advance(unit, now)


def _reopen(unit: Unit, pipeline: Pipeline, steps: Sequence[Step]) -> bool:
    """Opens these steps and their pipeline; whether they have to wait for one before them."""
    first = min((step.index, step.id) for step in steps)
    undone = _first_undone(unit, pipeline)
    waits = undone is not None and (undone.index, undone.id) < first
    _move_steps(unit, steps, "wait its turn" if waits else "reopen")
    now = unit.tx.get(Pipeline, pipeline.id)
    if now is not None and now.status is PipelineStatus.FAILED:
        advance(unit, _move(unit, now, "reopen"))
    return waits


def _first_undone(unit: Unit, pipeline: Pipeline) -> Step | None:
    undone = And((equal(Step, pipeline_id=pipeline.id), Not(equal(Step, status=STEP_DONE))))
    steps = unit.tx.find(Step, Select(undone, order=(("index", False),), limit=1))
    return steps[0] if steps else None


def _move_steps(unit: Unit, steps: Sequence[Step], name: str) -> None:
    move = STEP_MOVES[name]
    unit.tx.move(Step, [step.id for step in steps], move.frm(), {"status": next(iter(move.to.values())), **move.stamps})


def _move(unit: Unit, pipeline: Pipeline, name: str) -> Pipeline:
    changes: dict[str, Any] = PIPELINE_MOVES[name].changes(pipeline.status)
    (moved,) = unit.tx.move(Pipeline, [pipeline.id], {pipeline.status}, changes)
    if moved.kind is not None:
        following.follow(unit, moved)
    return moved
