"""Rows that nobody needs any more, removed for good: the ids are looked up and locked, then deleted by them.

Two statements, since MySQL takes no LIMIT in a subquery of DELETE, and since what goes with a row needs its id as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, delete, exists, not_, or_, select

from gnj.queue.model import (
    GO_WITH,
    Batch,
    Hold,
    Job,
    Monitoring,
    Pipeline,
    PushWorker,
    QueueLimit,
    Record,
    Schedule,
    Step,
)
from gnj.queue.states import BATCH_ENDED, JOB_ENDED, JOB_UNFINISHED, PIPELINE_ENDED, JobStatus
from gnj.queue.where import Condition
from gnj.storage.sql import ended as ended_jobs
from gnj.storage.sql.schema import Tables

if TYPE_CHECKING:
    from gnj.storage.sql.transaction import SqlRows


def prune(rows: SqlRows, limit: int, *, deleted: float, ended: float | None) -> int:
    """See `Rows.prune`."""
    now = rows.now()
    gone = now - timedelta(seconds=deleted)
    removed = 0
    for kind in (Job, Batch, Pipeline, Step, Hold, QueueLimit, PushWorker, Schedule, Monitoring):
        table = rows.tables.of(kind)
        found = _ids(rows, kind, [table.c.deleted_at <= gone], table.c.deleted_at, limit)
        if ended is not None and kind in _AGES:
            moment = now - timedelta(seconds=ended)
            age = table.c[_AGES[kind]]
            old = [age <= moment, table.c.deleted_at.is_(None), *_over(rows, kind, moment)]
            for some in _among(rows, kind, moment):
                found += _ids(rows, kind, [*some, *old], age, limit - len(found))
            if kind is Job:
                found += _ids(rows, kind, _left_behind(rows, moment), table.c.id, limit - len(found))
        removed += _remove(rows, kind, found)
    return removed


def trim(rows: SqlRows, kind: type[Record], where: Condition, limit: int) -> int:
    """See `Rows.trim`."""
    id = rows.tables.of(kind).c.id
    return _remove(rows, kind, _ids(rows, kind, [rows.meets(rows.mappers[kind], where)], id, limit))


_AGES: dict[type[Record], str] = {
    Job: "ended_at",
    Batch: "updated_at",
    Pipeline: "updated_at",
    Monitoring: "created_at",
}


def _ids(
    rows: SqlRows, kind: type[Record], conditions: list[ColumnElement[bool]], order: ColumnElement[Any], limit: int
) -> list[int]:
    """The ids of the first rows, locked; what others have locked is passed over.

    By `order` alone, as the index has it: with the id as a second key, all rows that are old enough were read and sorted.
    """
    if limit < 1:
        return []
    table = rows.tables.of(kind)
    statement = select(table.c.id).where(*conditions).order_by(order).limit(limit)
    return list(rows.run(statement.with_for_update(skip_locked=rows.dialect.skips_locked)).scalars())


def _among(rows: SqlRows, kind: type[Record], moment: datetime) -> Iterator[list[ColumnElement[bool]]]:
    """Which rows an index has together in the order of their age, if any of them is old enough: the oldest ones first."""
    if kind is not Job:
        yield []
        return
    for group in sorted(ended_jobs.groups(rows), key=attrgetter("oldest")):
        if group.oldest <= moment:
            yield group.has(rows)


def _remove(rows: SqlRows, kind: type[Record], ids: list[int]) -> int:
    if not ids:
        return 0
    parameters = {"of_ids": rows.dialect.ids(ids)}
    for other, via in GO_WITH.get(kind, ()):
        table = rows.tables.of(other)
        rows.run(delete(table).where(rows.dialect.of_ids(table.c[via])), parameters)
    table = rows.tables.of(kind)
    rows.run(delete(table).where(rows.dialect.of_ids(table.c.id)), parameters)
    return len(ids)


def _over(rows: SqlRows, kind: type[Record], moment: datetime) -> list[ColumnElement[bool]]:
    """What must hold of a row that is old enough: it has ended, and nothing that has not still needs it."""
    tables = rows.tables
    job, batch, pipeline = tables.job, tables.of(Batch), tables.of(Pipeline)
    if kind is Job:
        return [rows.has_status(Job, JOB_ENDED), *_free(tables, moment)]
    if kind is Batch:
        member = exists().where(job.c.batch_id == batch.c.id)
        live = _live_pipeline(tables, batch.c.pipeline_id, moment)
        return [rows.has_status(Batch, BATCH_ENDED), not_(member), not_(live)]
    if kind is Pipeline:
        members = [not_(exists().where(table.c.pipeline_id == pipeline.c.id)) for table in (job, batch)]
        return [rows.has_status(Pipeline, PIPELINE_ENDED), *members]
    return []


def _left_behind(rows: SqlRows, moment: datetime) -> list[ColumnElement[bool]]:
    """Jobs that stayed planned because what they belong to ended without them, and is over."""
    job = rows.tables.job.c
    member = or_(job.batch_id.is_not(None), job.pipeline_id.is_not(None))
    planned = job.status == JobStatus.PLANNED.value
    return [planned, job.updated_at <= moment, job.deleted_at.is_(None), member, *_free(rows.tables, moment)]


def _free(tables: Tables, moment: datetime) -> list[ColumnElement[bool]]:
    """Whether a job belongs to nothing that is live."""
    job = tables.job.c
    return [not_(_live_batch(tables, job.batch_id, moment)), not_(_live_pipeline(tables, job.pipeline_id, moment))]


def _live_pipeline(tables: Tables, id: ColumnElement[int], moment: datetime) -> ColumnElement[bool]:
    p, b = tables.of(Pipeline).alias(), tables.of(Batch).alias()
    inner = exists().where(b.c.pipeline_id == p.c.id, b.c.deleted_at.is_(None), _active(tables, "batch_id", b.c.id))
    live = or_(
        p.c.status.not_in(sorted(PIPELINE_ENDED)),
        p.c.updated_at > moment,
        _active(tables, "pipeline_id", p.c.id),
        inner,
    )
    return exists().where(p.c.id == id, p.c.deleted_at.is_(None), live)


def _live_batch(tables: Tables, id: ColumnElement[int], moment: datetime) -> ColumnElement[bool]:
    b = tables.of(Batch).alias()
    live = or_(
        b.c.status.is_(None),
        b.c.status.not_in(sorted(BATCH_ENDED)),
        b.c.updated_at > moment,
        _active(tables, "batch_id", b.c.id),
        _live_pipeline(tables, b.c.pipeline_id, moment),
    )
    return exists().where(b.c.id == id, b.c.deleted_at.is_(None), live)


def _active(tables: Tables, via: str, id: ColumnElement[int]) -> ColumnElement[bool]:
    j = tables.job.alias()
    return exists().where(j.c[via] == id, j.c.status.in_(_ACTIVE), j.c.deleted_at.is_(None))


_ACTIVE = sorted(status.value for status in JOB_UNFINISHED - {JobStatus.PLANNED})
