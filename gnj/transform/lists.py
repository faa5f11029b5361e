"""What there is of transformation jobs: lists, pages, and loaders that read for many rows at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from gnj.queue import transforms
from gnj.queue.errors import NotFound
from gnj.queue.model import RecordT, Schedule
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
from gnj.queue.values import check_int
from gnj.queue.where import And, Condition, equal
from gnj.transform.requests import JobView, RecordPage, Rejected

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

    def sources(self, tenant: str) -> Sequence[TransformSource]:
        """The tenant's sources, by id: 1,000 at most, as of all that follows."""
        return self.queue.storage.find(TransformSource, tenant=tenant)

    def mappings(self, tenant: str) -> Sequence[TransformMapping]:
        """The tenant's mappings, by id."""
        return self.queue.storage.find(TransformMapping, tenant=tenant)

    def formats(self, tenant: str) -> Sequence[TransformFormat]:
        """The tenant's target formats, by id."""
        return self.queue.storage.find(TransformFormat, tenant=tenant)

    def jobs(self, tenant: str) -> Sequence[JobView]:
        """The tenant's jobs, by id."""
        return self._views(tenant, _THERE)

    def job(self, tenant: str, id: int) -> JobView | None:
        """The job of that id; None: there is none."""
        same = And((_THERE, equal(TransformJob, id=check_int(id, "id"))))
        return next(iter(self._views(tenant, same)), None)

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

    def sources_of(self, tenant: str, ids: Sequence[int]) -> Mapping[int, TransformSource]:
        """The sources of these ids, by id."""
        return self._of(TransformSource, tenant, ids)

    def mappings_of(self, tenant: str, ids: Sequence[int]) -> Mapping[int, TransformMapping]:
        """The mappings of these ids, by id."""
        return self._of(TransformMapping, tenant, ids)

    def formats_of(self, tenant: str, ids: Sequence[int]) -> Mapping[int, TransformFormat]:
        """The target formats of these ids, by id."""
        return self._of(TransformFormat, tenant, ids)

    def jobs_by_source(self, tenant: str, ids: Sequence[int]) -> Mapping[int, Sequence[JobView]]:
        """The jobs of each of these sources, by id; every id is there."""
        return self._by("source_id", tenant, ids)

    def jobs_by_mapping(self, tenant: str, ids: Sequence[int]) -> Mapping[int, Sequence[JobView]]:
        """Likewise of mappings."""
        return self._by("mapping_id", tenant, ids)

    def jobs_by_format(self, tenant: str, ids: Sequence[int]) -> Mapping[int, Sequence[JobView]]:
        """Likewise of target formats."""
        return self._by("format_id", tenant, ids)

    # Pages

    def runs(
        self, tenant: str, job_id: int, *, offset: int | None = None, limit: int | None = None
    ) -> Sequence[TransformRun]:
        """A page of the runs of a job, the newest first. Raises `NotFound`."""
        skip, most = _page(offset, limit)
        with self.queue.storage.begin(write=False) as tx:
            _existing(tx, tenant, job_id)
            own = equal(TransformRun, transform_job_id=job_id)
            return tx.find(TransformRun, Select(own, _NEWEST, most, skip))

    def records(self, tenant: str, run_id: int, *, offset: int | None = None, limit: int | None = None) -> RecordPage:
        """A page of what a run wrote, and of what it rejected: nothing of one that did not end well. Raises `NotFound`."""
        skip, most = _page(offset, limit)
        with self.queue.storage.begin(write=False) as tx:
            run = tx.get(TransformRun, check_int(run_id, "runId"), tenant=tenant)
            if run is None or _job(tx, tenant, run.transform_job_id) is None:
                raise NotFound("the run does not exist")
            if run.status is not RunStatus.SUCCESSFUL:
                return RecordPage(0, (), 0, ())
            own = equal(TransformRecord, transform_job_id=run.transform_job_id, born=run.id)
            return _records(tx, own, run, skip, most)

    def job_records(
        self, tenant: str, job_id: int, *, offset: int | None = None, limit: int | None = None
    ) -> RecordPage:
        """A page of the current records of a job, and of what its last good run rejected. Raises `NotFound`."""
        skip, most = _page(offset, limit)
        with self.queue.storage.begin(write=False) as tx:
            job = _existing(tx, tenant, job_id)
            if job.published is None:
                return RecordPage(0, (), 0, ())
            return _records(tx, transforms.current(job), tx.get(TransformRun, job.published), skip, most)

    def _views(self, tenant: str, where: Condition) -> list[JobView]:
        with self.queue.storage.begin(write=False) as tx:
            found = tx.find(TransformJob, Select(where), tenant=tenant)
            ids = tuple(job.schedule_id for job in found if job.schedule_id is not None)
            schedules = tx.find(Schedule, Select(equal(Schedule, id=ids))) if ids else []
        known = {schedule.id: schedule for schedule in schedules}
        return [JobView(job, known.get(job.schedule_id or 0)) for job in found]

    def _of(self, kind: type[RecordT], tenant: str, ids: Sequence[int]) -> dict[int, RecordT]:
        if not ids:
            return {}
        found = self.queue.storage.find(kind, Select(equal(kind, id=tuple(ids))), tenant=tenant)
        return {row.id: row for row in found}

    def _by(self, name: str, tenant: str, ids: Sequence[int]) -> dict[int, list[JobView]]:
        by: dict[int, list[JobView]] = {id: [] for id in ids}
        if ids:
            for view in self._views(tenant, And((_THERE, equal(TransformJob, **{name: tuple(ids)})))):
                by[getattr(view.job, name)].append(view)
        return by


def is_over(run: TransformRun) -> bool:
    """Whether a run never changes again."""
    return run.status in RUN_OVER


_THERE: Final = equal(TransformJob, removed_at=None)


def _page(offset: int | None, limit: int | None) -> tuple[int, int]:
    skip = 0 if offset is None else check_int(offset, "offset", low=0)
    return skip, LIMIT if limit is None else check_int(limit, "limit", low=0, high=MAX_LIMIT)


def _job(tx: Rows, tenant: str, id: int) -> TransformJob | None:
    job = tx.get(TransformJob, check_int(id, "jobId"), tenant=tenant)
    return None if job is None or job.removed_at is not None else job


def _existing(tx: Rows, tenant: str, id: int) -> TransformJob:
    job = _job(tx, tenant, id)
    if job is None:
        raise NotFound("the job does not exist")
    return job


def _records(tx: Rows, which: Condition, run: TransformRun | None, offset: int, limit: int) -> RecordPage:
    # runs follow each other, so this order is that of the ids, and an index has it
    page = Select(which, (("born", False),), limit, offset)
    records = [value for (value,) in tx.columns(TransformRecord, ["value"], page)]
    rejected: list[Rejected] = []
    if run is not None:
        own = Select(equal(TransformRejected, run_id=run.id), limit=limit, offset=offset)
        rejected = [Rejected(*row) for row in tx.columns(TransformRejected, ["source", "reasons"], own)]
    total = tx.count(TransformRecord, which)
    return RecordPage(total, records, 0 if run is None else run.rejected, rejected)
