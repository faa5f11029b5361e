"""Rows that nobody needs any more, removed for good: the ids are looked up and locked, then deleted by them.

Two statements, since MySQL takes no LIMIT in a subquery of DELETE, and since what goes with a row needs its id as well.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, delete, exists, not_, or_, select

from gnj.queue.model import Batch, Job, JobAttempt, Monitoring, Pipeline, Record, Step
from gnj.queue.states import BATCH_ENDED, JOB_ENDED, PIPELINE_ENDED
from gnj.storage.sql.schema import Tables

if TYPE_CHECKING:
    from gnj.storage.sql.transaction import SqlRows


def prune(rows: SqlRows, limit: int, *, deleted: float, ended: float | None) -> int:
    """See `Rows.prune`."""
    now = rows.now()
    gone = now - timedelta(seconds=deleted)
    removed = 0
    for kind, table in rows.tables.records.items():
        found = _ids(rows, kind, table.c.deleted_at <= gone, table.c.deleted_at, limit)
        if ended is not None and kind in _AGES:
            age, over = table.c[_AGES[kind]], _over(rows, kind)
            old = [age <= now - timedelta(seconds=ended), table.c.deleted_at.is_(None), *over]
            found += _ids(rows, kind, old, age, limit - len(found))
        removed += _remove(rows, kind, found)
    return removed


_AGES: dict[type[Record], str] = {
    Job: "ended_at",
    Batch: "updated_at",
    Pipeline: "updated_at",
    Monitoring: "created_at",
}
_GO_WITH: dict[type[Record], tuple[type[Record], str]] = {Job: (JobAttempt, "job_id"), Pipeline: (Step, "pipeline_id")}


def _ids(rows: SqlRows, kind: type[Record], conditions: Any, age: ColumnElement[datetime], limit: int) -> list[int]:
    """The ids of the first rows by age, locked; what others have locked is passed over."""
    if limit < 1:
        return []
    table = rows.tables.of(kind)
    wanted = conditions if isinstance(conditions, list) else [conditions]
    statement = select(table.c.id).where(*wanted).order_by(age, table.c.id).limit(limit)
    return list(rows.run(statement.with_for_update(skip_locked=rows.dialect.skips_locked)).scalars())


def _remove(rows: SqlRows, kind: type[Record], ids: list[int]) -> int:
    if not ids:
        return 0
    parameters = {"of_ids": rows.dialect.ids(ids)}
    if kind in _GO_WITH:
        other, via = _GO_WITH[kind]
        table = rows.tables.of(other)
        rows.run(delete(table).where(rows.dialect.of_ids(table.c[via])), parameters)
    table = rows.tables.of(kind)
    rows.run(delete(table).where(rows.dialect.of_ids(table.c.id)), parameters)
    return len(ids)


def _over(rows: SqlRows, kind: type[Record]) -> list[ColumnElement[bool]]:
    """What must hold of a row that is old enough: it has ended, and nothing that has not still needs it."""
    tables = rows.tables
    job, batch, pipeline = tables.job, tables.of(Batch), tables.of(Pipeline)
    if kind is Job:
        live = or_(_live_batch(tables, job.c.batch_id), _live_pipeline(tables, job.c.pipeline_id))
        return [rows.has_status(Job, JOB_ENDED), not_(live)]
    if kind is Batch:
        member = exists().where(job.c.batch_id == batch.c.id)
        return [rows.has_status(Batch, BATCH_ENDED), not_(member), not_(_live_pipeline(tables, batch.c.pipeline_id))]
    if kind is Pipeline:
        members = [not_(exists().where(table.c.pipeline_id == pipeline.c.id)) for table in (job, batch)]
        return [rows.has_status(Pipeline, PIPELINE_ENDED), *members]
    return []


def _live_pipeline(tables: Tables, id: ColumnElement[int]) -> ColumnElement[bool]:
    p = tables.of(Pipeline).alias()
    return exists().where(p.c.id == id, p.c.deleted_at.is_(None), p.c.status.not_in(sorted(PIPELINE_ENDED)))


def _live_batch(tables: Tables, id: ColumnElement[int]) -> ColumnElement[bool]:
    b = tables.of(Batch).alias()
    unended = or_(b.c.status.is_(None), b.c.status.not_in(sorted(BATCH_ENDED)))
    return exists().where(b.c.id == id, b.c.deleted_at.is_(None), or_(unended, _live_pipeline(tables, b.c.pipeline_id)))
