"""What there is of transformation jobs: lists, pages, and loaders that read for many rows at once.

Lists leave out what may be large of parts - rules, definitions, headers and bodies -, which has loaders of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, TypeVar

from gnj.queue import transforms
from gnj.queue.errors import NotFound
from gnj.queue.model import Record, Schedule
from gnj.queue.model_transform import (
    RUN_OVER,
    RunStatus,
    TransformFormat,
    TransformJob,
    TransformMapping,
    TransformRecord,
    TransformRejected,
    TransformRun,
    TransformSource,
)
from gnj.queue.service import Queue
from gnj.queue.storage import Rows, Select
from gnj.queue.values import Json, check_int
from gnj.queue.where import EVERYTHING, And, Condition, equal
from gnj.transform.requests import FormatView, Job, JobRow, JobView, MappingView, RecordPage, Rejected, SourceView

ViewT = TypeVar("ViewT", SourceView, MappingView, FormatView)

LIMIT: Final = 100
"""Rows of a page that says nothing else (contract, "Shapes")."""
MAX_LIMIT: Final = 1_000
_NEWEST: Final = (("id", True),)


class TransformLists:
    """Shows the transformation jobs of one application. Each method costs a constant number of statements.

    Args:
        queue: Where they are.
    """

    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    def sources(self, tenant: str) -> Sequence[SourceView]:
        """The tenant's sources, by id: at most `TransformLimits.jobs`, as of all that follows."""
        return self._listed(TransformSource, SourceView, tenant)

    def mappings(self, tenant: str) -> Sequence[MappingView]:
        """The tenant's mappings, by id."""
        return self._listed(TransformMapping, MappingView, tenant)

    def formats(self, tenant: str) -> Sequence[FormatView]:
        """The tenant's target formats, by id."""
        return self._listed(TransformFormat, FormatView, tenant)

    def jobs(self, tenant: str) -> Sequence[JobView]:
        """The tenant's jobs, by id."""
        return self._views(tenant, self.job_rows(tenant))

    def job(self, tenant: str, id: int) -> JobView | None:
        """The job of that id; None: there is none."""
        row = self.job_row(tenant, id)
        return None if row is None else self._views(tenant, [row])[0]

    def job_rows(self, tenant: str) -> Sequence[JobRow]:
        """`jobs` without their schedules."""
        return self._job_rows(tenant, _THERE)

    def job_row(self, tenant: str, id: int) -> TransformJob | None:
        """`job` without its schedule."""
        row = self.queue.storage.get(TransformJob, check_int(id, "id"), tenant=tenant)
        return None if row is None or row.removed_at is not None else row

    def default_format(self, tenant: str) -> TransformFormat | None:
        """The format of jobs that name none; None: there is none."""
        found = self.queue.storage.find(
            TransformFormat, Select(equal(TransformFormat, is_default=True), limit=1), tenant=tenant
        )
        return next(iter(found), None)

    def run(self, tenant: str, id: int) -> TransformRun | None:
        """The run of that id, unless its job was deleted."""
        with self.queue.storage.begin(write=False) as tx:
            run = tx.get(TransformRun, check_int(id, "id"), tenant=tenant)
            return None if run is None or _job(tx, tenant, run.transform_job_id) is None else run

    # For many rows at once

    def sources_of(self, tenant: str, ids: Sequence[int]) -> Mapping[int, SourceView]:
        """The sources of these ids, by id."""
        return _by_id(self._listed(TransformSource, SourceView, tenant, ids))

    def mappings_of(self, tenant: str, ids: Sequence[int]) -> Mapping[int, MappingView]:
        """The mappings of these ids, by id."""
        return _by_id(self._listed(TransformMapping, MappingView, tenant, ids))

    def formats_of(self, tenant: str, ids: Sequence[int]) -> Mapping[int, FormatView]:
        """The target formats of these ids, by id."""
        return _by_id(self._listed(TransformFormat, FormatView, tenant, ids))

    def requests_of(self, tenant: str, ids: Sequence[int]) -> Mapping[int, tuple[Json, str | None]]:
        """The headers and the bodies of these sources, by id."""
        rows = self._read(TransformSource, ("id", "headers", "body"), tenant, ids)
        return {id: (headers, body) for id, headers, body in rows}

    def rules_of(self, tenant: str, ids: Sequence[int]) -> Mapping[int, Json]:
        """The rules of these mappings, by id."""
        return dict(self._read(TransformMapping, ("id", "mapping"), tenant, ids))

    def definitions_of(self, tenant: str, ids: Sequence[int]) -> Mapping[int, Json]:
        """The definitions of these target formats, by id."""
        return dict(self._read(TransformFormat, ("id", "definition"), tenant, ids))

    def schedules_of(self, tenant: str, ids: Sequence[int]) -> Mapping[int, Schedule]:
        """The schedules of these ids, by id."""
        rows = self.queue.storage.find(Schedule, Select(equal(Schedule, id=tuple(ids))), tenant=tenant) if ids else []
        return {row.id: row for row in rows}

    def jobs_by_source(self, tenant: str, ids: Sequence[int]) -> Mapping[int, Sequence[JobRow]]:
        """The jobs of each of these sources, by id; every id is there."""
        return self._by("source_id", tenant, ids)

    def jobs_by_mapping(self, tenant: str, ids: Sequence[int]) -> Mapping[int, Sequence[JobRow]]:
        """Likewise of mappings."""
        return self._by("mapping_id", tenant, ids)

    def jobs_by_format(self, tenant: str, ids: Sequence[int]) -> Mapping[int, Sequence[JobRow]]:
        """Likewise of target formats."""
        return self._by("format_id", tenant, ids)

    # Pages

    def runs(
        self, tenant: str, job_id: int, *, offset: int | None = None, limit: int | None = None
    ) -> Sequence[TransformRun]:
        """A page of the runs of a job, the newest first. Raises `NotFound`."""
        skip, most = _page(offset, limit)
        with self.queue.storage.begin(write=False) as tx:
            existing_job(tx, tenant, job_id)
            own = equal(TransformRun, transform_job_id=job_id)
            return tx.find(TransformRun, Select(own, _NEWEST, most, skip))

    def records(self, tenant: str, run_id: int, *, offset: int | None = None, limit: int | None = None) -> RecordPage:
        """A page of what a run wrote, and of what it rejected: nothing of one that did not end well. Raises `NotFound`."""
        skip, most = _page(offset, limit)
        with self.queue.storage.begin(write=False) as tx:
            run, job = existing_run(tx, tenant, run_id)
            if run.status is not RunStatus.SUCCESSFUL:
                return RecordPage(0, (), 0, ())
            own = equal(TransformRecord, transform_job_id=run.transform_job_id, born=run.id)
            return _records(tx, job, own, run, skip, most)

    def job_records(
        self, tenant: str, job_id: int, *, offset: int | None = None, limit: int | None = None
    ) -> RecordPage:
        """A page of the current records of a job, and of what its last good run rejected. Raises `NotFound`."""
        skip, most = _page(offset, limit)
        with self.queue.storage.begin(write=False) as tx:
            job = existing_job(tx, tenant, job_id)
            if job.published is None:
                return RecordPage(0, (), 0, ())
            return _records(tx, job, transforms.current(job), tx.get(TransformRun, job.published), skip, most)

    def _job_rows(self, tenant: str, where: Condition) -> list[JobRow]:
        rows = self.queue.storage.columns(TransformJob, _NAMES[JobRow], Select(where), tenant=tenant)
        return [JobRow(*row) for row in rows]

    def _views(self, tenant: str, rows: Sequence[Job]) -> list[JobView]:
        known = self.schedules_of(tenant, [row.schedule_id for row in rows if row.schedule_id is not None])
        return [JobView(row, known.get(row.schedule_id or 0)) for row in rows]

    def _listed(
        self, kind: type[Record], view: type[ViewT], tenant: str, ids: Sequence[int] | None = None
    ) -> list[ViewT]:
        return [view(*row) for row in self._read(kind, _NAMES[view], tenant, ids)]

    def _read(
        self, kind: type[Record], names: Sequence[str], tenant: str, ids: Sequence[int] | None
    ) -> list[tuple[Any, ...]]:
        """These attributes of rows: of all of them, or of those of `ids`."""
        if ids is not None and not ids:
            return []
        which = EVERYTHING if ids is None else equal(kind, id=tuple(ids))
        return self.queue.storage.columns(kind, names, Select(which), tenant=tenant)

    def _by(self, name: str, tenant: str, ids: Sequence[int]) -> dict[int, list[JobRow]]:
        by: dict[int, list[JobRow]] = {id: [] for id in ids}
        if ids:
            for row in self._job_rows(tenant, And((_THERE, equal(TransformJob, **{name: tuple(ids)})))):
                by[getattr(row, name)].append(row)
        return by


def is_over(run: TransformRun) -> bool:
    """Whether a run never changes again."""
    return run.status in RUN_OVER


_THERE: Final = equal(TransformJob, removed_at=None)
_NAMES: Final[Mapping[type, Sequence[str]]] = {
    view: [each.name for each in fields(view)] for view in (SourceView, MappingView, FormatView, JobRow)
}
"""The attributes of rows that each is made of, in its order."""


def _by_id(views: Sequence[ViewT]) -> dict[int, ViewT]:
    return {view.id: view for view in views}


def _page(offset: int | None, limit: int | None) -> tuple[int, int]:
    skip = 0 if offset is None else check_int(offset, "offset", low=0)
    return skip, LIMIT if limit is None else check_int(limit, "limit", low=0, high=MAX_LIMIT)


def _job(tx: Rows, tenant: str, id: int) -> TransformJob | None:
    job = tx.get(TransformJob, check_int(id, "jobId"), tenant=tenant)
    return None if job is None or job.removed_at is not None else job


def existing_job(tx: Rows, tenant: str, id: int) -> TransformJob:
    """The job of that id. Raises `NotFound`."""
    job = _job(tx, tenant, id)
    if job is None:
        raise NotFound("the job does not exist")
    return job


def existing_run(tx: Rows, tenant: str, id: int) -> tuple[TransformRun, TransformJob]:
    """The run of that id, and its job. Raises `NotFound`, also where the job was deleted."""
    run = tx.get(TransformRun, check_int(id, "runId"), tenant=tenant)
    job = None if run is None else _job(tx, tenant, run.transform_job_id)
    if run is None or job is None:
        raise NotFound("the run does not exist")
    return run, job


def field_names(tx: Rows, job: TransformJob) -> Sequence[str]:
    """The fields of a job's records, in the order of its target format."""
    found = tx.columns(TransformFormat, ["fields"], Select(equal(TransformFormat, id=job.format_id)))
    return [name for (names,) in found for name in names]


def ordered(fields: Sequence[str], value: Any) -> dict[str, Json]:
    """A record with its fields in the order of the format: PostgreSQL and MySQL keep none."""
    return {name: value[name] for name in fields if name in value}


def _records(
    tx: Rows, job: TransformJob, which: Condition, run: TransformRun | None, offset: int, limit: int
) -> RecordPage:
    # runs follow each other, so this order is that of the ids, and an index has it
    page = Select(which, (("born", False),), limit, offset)
    records: list[Json] = [value for (value,) in tx.columns(TransformRecord, ["value"], page)]
    if records:
        names = field_names(tx, job)
        records = [ordered(names, value) for value in records]
    rejected: list[Rejected] = []
    if run is not None:
        own = Select(equal(TransformRejected, run_id=run.id), limit=limit, offset=offset)
        rejected = [Rejected(*row) for row in tx.columns(TransformRejected, ["source", "reasons"], own)]
    total = tx.count(TransformRecord, which)
    return RecordPage(total, records, 0 if run is None else run.rejected, rejected)
