"""Which rows in memory nobody needs any more: see `Rows.prune`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeAlias

from gnj.queue.model import Batch, Job, Monitoring, Pipeline, Record
from gnj.queue.states import BATCH_ENDED, JOB_ENDED, JOB_UNFINISHED, PIPELINE_ENDED, JobStatus

Tables: TypeAlias = Mapping[type[Record], Mapping[int, Any]]

_ACTIVE = JOB_UNFINISHED - {JobStatus.PLANNED}


def old(tables: Tables, kind: type[Record], deleted: datetime, ended: datetime | None) -> list[Any]:
    """The rows of a kind that may go, in that order: deleted by `deleted`, over by `ended` (None: none), and left behind."""
    rows = tables[kind].values()
    gone = [row for row in rows if row.deleted_at is not None and row.deleted_at <= deleted]
    gone.sort(key=lambda row: (row.deleted_at, row.id))
    over = [] if ended is None else [row for row in rows if _is_over(tables, row, ended)]
    return gone + sorted(over, key=_last_touched)


def _last_touched(row: Any) -> tuple[bool, datetime, int]:
    if isinstance(row, Job):
        return row.status is JobStatus.PLANNED, row.ended_at or row.updated_at, row.id
    return False, row.updated_at, row.id


def _is_over(tables: Tables, row: Any, moment: datetime) -> bool:
    """Whether nobody can need the row any more, unless it is younger than `moment`."""
    if row.deleted_at is not None:
        return False
    match row:
        case Job():
            if row.status in JOB_ENDED:
                over = row.ended_at is not None and row.ended_at <= moment
            else:  # it stayed planned because what it belongs to ended without it
                over = row.is_member and row.status is JobStatus.PLANNED and row.updated_at <= moment
            parents = ((Batch, row.batch_id), (Pipeline, row.pipeline_id))
            return over and not any(_is_live(tables, kind, id, moment) for kind, id in parents)
        case Batch():
            over = row.status in BATCH_ENDED and row.updated_at <= moment and not _has(tables, Job, batch_id=row.id)
            return over and not _is_live(tables, Pipeline, row.pipeline_id, moment)
        case Pipeline():
            over = row.status in PIPELINE_ENDED and row.updated_at <= moment
            return over and not any(_has(tables, kind, pipeline_id=row.id) for kind in (Job, Batch))
        case Monitoring():
            return row.created_at <= moment
    return False


def _is_live(tables: Tables, kind: type[Record], id: int | None, moment: datetime) -> bool:
    parent = None if id is None else tables[kind].get(id)
    if parent is None or parent.deleted_at is not None:
        return False
    if parent.status not in BATCH_ENDED | PIPELINE_ENDED or parent.updated_at > moment:
        return True
    if isinstance(parent, Batch):
        return _is_active(tables, batch_id=id) or _is_live(tables, Pipeline, parent.pipeline_id, moment)
    inner = [row.id for row in tables[Batch].values() if row.pipeline_id == id and row.deleted_at is None]
    return _is_active(tables, pipeline_id=id) or any(_is_active(tables, batch_id=batch) for batch in inner)


def _is_active(tables: Tables, **parent: Any) -> bool:
    ((via, id),) = parent.items()
    jobs = tables[Job].values()
    return any(getattr(job, via) == id and job.status in _ACTIVE and job.deleted_at is None for job in jobs)


def _has(tables: Tables, kind: type[Record], **attribute: Any) -> bool:
    ((name, value),) = attribute.items()
    return any(getattr(row, name) == value for row in tables[kind].values())
