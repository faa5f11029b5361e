"""Batches, pipelines and steps made by hand or whole, and changed by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gnj.queue import batches, jobs, pipelines
from gnj.queue.errors import IllegalTransition, InvalidInput, NotFound
from gnj.queue.model import Batch, Job, Pipeline, RecordT, Step
from gnj.queue.states import (
    BATCH_BY_HAND,
    BATCH_ENDED,
    BATCH_MOVES,
    PIPELINE_BY_HAND,
    PIPELINE_ENDED,
    PIPELINE_MOVES,
    STEP_BY_HAND,
    STEP_MOVES,
    BatchStatus,
    JobStatus,
    by_hand,
)
from gnj.queue.unit import Unit

Values = Mapping[str, Any]


def whole_batch(unit: Unit, tenant: str, members: Sequence[Values], *, start: bool) -> Batch:
    """A batch with its jobs, all or nothing; started, they are queued, and a batch without jobs is successful at once."""
    status = BatchStatus.PROCESSING if start else BatchStatus.PLANNED
    (batch,) = unit.tx.insert(Batch, [{"tenant": tenant, "status": status}])
    _members(unit, tenant, batch, members, JobStatus.QUEUED if start else JobStatus.PLANNED)
    return batches.review(unit, batch) if start else batch


def whole_pipeline(
    unit: Unit,
    tenant: str,
    name: str | None,
    steps: Sequence[Values | Sequence[Values]],
    *,
    start: bool,
    kind: str | None = None,
) -> Pipeline:
    """A pipeline with its steps, each the values of a job or of a batch's jobs, all or nothing; and started, if it is to be.

    `kind`: see `Pipeline.kind`.
    """
    (pipeline,) = unit.tx.insert(Pipeline, [{"tenant": tenant, "name": name, "kind": kind}])
    for step in steps:
        if isinstance(step, Mapping):
            jobs.create(unit, tenant, [{**step, "pipeline_id": pipeline.id, "status": JobStatus.PLANNED}])
            continue
        row = {"tenant": tenant, "pipeline_id": pipeline.id, "status": BatchStatus.PLANNED}
        (batch,) = unit.tx.insert(Batch, [row])
        pipelines.append_step(unit, pipeline.id, batch_id=batch.id)
        _members(unit, tenant, batch, step, JobStatus.PLANNED)
    return pipelines.start(unit, pipeline.id, tenant) if start else pipeline


def create_batch(unit: Unit, tenant: str, values: Values) -> Batch:
    """A batch by hand; with a pipeline it is that one's next step."""
    pipeline_id = values.get("pipeline_id")
    parents = pipelines.lock(unit, batch_ids=(), pipeline_ids=(pipeline_id,))
    _check_pipeline(parents, tenant, "batch", pipeline_id)
    (batch,) = unit.tx.insert(Batch, [{"tenant": tenant, **values}])
    return batch if pipeline_id is None else _appended(unit, pipeline_id, batch)


def create_pipeline(unit: Unit, tenant: str, values: Values) -> Pipeline:
    """A pipeline by hand, without steps."""
    return unit.tx.insert(Pipeline, [{"tenant": tenant, **values}])[0]


def create_step(unit: Unit, tenant: str, values: Values) -> Step:
    """A step by hand; nothing is triggered. Its job or batch belongs to the step's pipeline from then on."""
    if values.get("pipeline_id") is None:
        raise InvalidInput("notNull Violation: pipelineStep.pipelineId cannot be null")
    if values.get("index") is None:
        raise InvalidInput("notNull Violation: pipelineStep.index cannot be null")
    _adopt(unit, tenant, values["pipeline_id"], values)
    return unit.tx.insert(Step, [{"tenant": tenant, **values}])[0]


def update_batch(unit: Unit, tenant: str | None, id: int, values: Values) -> Batch:
    """Changes a batch by hand; its status as `states.py` allows. Another pipeline: only until either has ended."""
    before = unit.tx.get(Batch, id, tenant=tenant)
    if before is None:
        raise NotFound("batch not found.")
    new = values.get("pipeline_id", before.pipeline_id)
    parents = pipelines.lock(unit, batch_ids=(id,), pipeline_ids=(new,))
    batch = parents.batches.get(id)
    if batch is None:
        raise NotFound("batch not found.")
    if new != batch.pipeline_id:
        if batch.status in BATCH_ENDED:
            raise IllegalTransition("the batch has ended: its pipeline cannot change any more")
        _check_pipeline(parents, batch.tenant, "batch", new)
        if any(pipeline.status in PIPELINE_ENDED for pipeline in parents.pipelines.values()):
            raise IllegalTransition("the pipeline has ended: the batch's pipeline cannot change any more")
        pipelines.leave_batch(unit, parents, batch)
    batch = _change(
        unit, batch, values, by_hand(BATCH_MOVES, BATCH_BY_HAND, batch.status, values.get("status", batch.status))
    )
    return batch if new is None or new == before.pipeline_id else _appended(unit, new, batch)


def update_pipeline(unit: Unit, tenant: str | None, id: int, values: Values) -> Pipeline:
    """Changes a pipeline by hand; nothing is triggered."""
    pipeline = unit.tx.get(Pipeline, id, tenant=tenant, lock=True)
    if pipeline is None:
        raise NotFound("pipeline not found.")
    pipelines.check_free(pipeline)
    wish = values.get("status", pipeline.status)
    return _change(unit, pipeline, values, by_hand(PIPELINE_MOVES, PIPELINE_BY_HAND, pipeline.status, wish))


def update_step(unit: Unit, tenant: str | None, id: int, values: Values) -> Step:
    """Changes a step by hand; nothing is triggered."""
    before = unit.tx.get(Step, id, tenant=tenant)
    if before is None:
        raise NotFound("pipelineStep not found.")
    pipelines.check_free(unit.tx.get(Pipeline, before.pipeline_id))
    members = {name: values.get(name, getattr(before, name)) for name in ("job_id", "batch_id")}
    _adopt(unit, before.tenant, values.get("pipeline_id", before.pipeline_id), members)
    step = unit.tx.get(Step, id, tenant=tenant, lock=True)
    if step is None:
        raise NotFound("pipelineStep not found.")
    return _change(
        unit, step, values, by_hand(STEP_MOVES, STEP_BY_HAND, step.status, values.get("status", step.status))
    )


def _members(unit: Unit, tenant: str, batch: Batch, members: Sequence[Values], status: JobStatus) -> None:
    jobs.create(unit, tenant, [{**member, "batch_id": batch.id, "status": status} for member in members])


def _appended(unit: Unit, pipeline_id: int, batch: Batch) -> Batch:
    """The batch as the next step of a pipeline, which starts it if it had nothing left to do."""
    pipelines.append_step(unit, pipeline_id, batch_id=batch.id)
    return unit.tx.get(Batch, batch.id) or batch


def _change(unit: Unit, row: RecordT, values: Values, move: Any) -> RecordT:
    changes = {k: v for k, v in values.items() if k != "status" and v != getattr(row, k)}
    status = getattr(row, "status", None)
    if move is not None:
        (row,) = unit.tx.move(type(row), [row.id], {status}, {**changes, **move.changes(status)})
    elif changes:
        (row,) = unit.tx.edit(type(row), [row.id], changes)
    return row


def _check_pipeline(parents: pipelines.Parents, tenant: str, table: str, id: int | None) -> None:
    pipeline = parents.pipelines.get(id) if id is not None else None
    if id is not None and (pipeline is None or pipeline.tenant != tenant):
        key = f"{table}_pipelineId_fkey"
        raise InvalidInput(f'insert or update on table "{table}" violates foreign key constraint "{key}"')
    pipelines.check_free(pipeline)


def _adopt(unit: Unit, tenant: str, pipeline_id: int, values: Values) -> None:
    """Makes a step's job and batch members of its pipeline: the end of a job is looked for there, and only there."""
    parents = pipelines.lock(unit, batch_ids=(values.get("batch_id"),), pipeline_ids=(pipeline_id,))
    _check_pipeline(parents, tenant, "pipelineStep", pipeline_id)
    kinds: tuple[tuple[str, type[Batch | Job]], ...] = (("batch_id", Batch), ("job_id", Job))
    for name, kind in kinds:
        id = values.get(name)
        if id is None:
            continue
        row: Batch | Job | None = unit.tx.get(kind, id, tenant=tenant, lock=True)
        if row is None:
            key = f"pipelineStep_{name.removesuffix('_id')}Id_fkey"
            raise InvalidInput(f'insert or update on table "pipelineStep" violates foreign key constraint "{key}"')
        if row.pipeline_id is None:
            unit.tx.edit(kind, [id], {"pipeline_id": pipeline_id})
        elif row.pipeline_id != pipeline_id:
            raise InvalidInput(f"pipelineStep.{name.removesuffix('_id')}Id: {id} belongs to pipeline {row.pipeline_id}")
