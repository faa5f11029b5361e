"""Recurring syncs: schedules whose ticks each make a whole content job, and what they are shown as.

A schedule of the type `gnj:content.sync` keeps, as the input of its jobs, `{"base", "target", "by"}`: the params of the content jobs
to be made, and who made the schedule.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from gnj.queue import schedules
from gnj.queue.errors import IllegalTransition, NotFound
from gnj.queue.kinds import SYNC
from gnj.queue.lists import limit as checked_limit
from gnj.queue.lists import offset as checked_offset
from gnj.queue.model import Schedule, attributes
from gnj.queue.model_content import CONTENT_UNFINISHED, ContentJob, ContentStatus
from gnj.queue.service import Queue
from gnj.queue.storage import Rows, Select
from gnj.queue.syncs import NEWEST, newest_run
from gnj.queue.unit import Unit
from gnj.queue.values import Json, check_int
from gnj.queue.where import And, Compare, Condition, Not, equal


class RecurringStatus(StrEnum):
    """How a recurring job is."""

    SCHEDULED = "SCHEDULED"
    """Between two runs."""
    ACTIVE = "ACTIVE"
    """A run has not ended."""
    PAUSED = "PAUSED"
    FAILED = "FAILED"
    """The last run failed; the next one comes all the same."""
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True)
class RecurringSync:
    """A recurring sync as it is shown."""

    schedule: Schedule
    status: RecurringStatus
    name: str
    base: str
    """Id of an environment."""
    target: str
    """Likewise."""
    by: Json
    """Who made it: `{"id", "name", "email"}`."""
    has_runs: bool
    """Whether there is any run of it."""


class RecurringJobs:
    """The recurring syncs of a queue.

    Args:
        queue: Where they are.
    """

    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    def create(
        self, tenant: str, *, name: str, cron: str, time_zone: str, by: Json, base: str, target: str
    ) -> Schedule:
        """A recurring sync of two environments, given by their ids; the rest is checked by the caller.

        Raises `InvalidInput` where the tenant has as many schedules as it may.
        """
        job = {"type": SYNC, "name": name, "input": {"base": base, "target": target, "by": by}}
        values = {
            "name": f"content:{secrets.token_hex(8)}",
            "cron": cron,
            "time_zone": time_zone,
            "missed": schedules.NEWEST,
            "may_overlap": False,
            "job": job,
        }
        return self.queue.create_schedule(values, tenant=tenant, internal=True)

    def page(
        self, tenant: str, *, offset: int, limit: int, status: RecurringStatus | None = None
    ) -> tuple[Sequence[RecurringSync], int]:
        """Those of a tenant, the newest first, and how many there are in all; deleted ones only if asked for."""
        skip, most = checked_offset(offset), checked_limit(limit)
        if status is RecurringStatus.DELETED:
            return self._deleted(tenant, skip, most)
        wanted = [each for each in self._all(tenant) if status is None or each.status is status]
        return wanted[skip : skip + most], len(wanted)

    def find(self, tenant: str, id: int) -> RecurringSync | None:
        """The one with that id, deleted ones too."""
        with self.queue.storage.begin(write=False) as tx:
            same = Select(equal(Schedule, id=check_int(id, "id")), deleted=True)
            found = [row for row in tx.find(Schedule, same, tenant=tenant) if is_sync(row)]
            return _shown(tx, found)[0] if found else None

    def of(self, schedule: Schedule) -> RecurringSync:
        """What a schedule of that type is shown as."""
        with self.queue.storage.begin(write=False) as tx:
            return _shown(tx, [schedule])[0]

    def run(self, tenant: str, id: int, by: Json) -> ContentJob:
        """Starts a run now, paused or not; the schedule stays as it is. Raises `NotFound`, `IllegalTransition` during a run."""

        def command(unit: Unit) -> ContentJob:
            row = _existing(unit, tenant, id)
            newest = newest_run(unit.tx, row.id)
            if newest is not None and newest.status in CONTENT_UNFINISHED:
                raise IllegalTransition(f"the job {newest.id}, its last run, has not ended")
            job = schedules.run(unit, tenant, row.id)
            (run,) = unit.tx.find(ContentJob, Select(equal(ContentJob, pipeline_id=job.pipeline_id), limit=1))
            (run,) = unit.tx.edit(ContentJob, [run.id], {"created_by": by})
            return run

        return self.queue.run(command)

    def pause(self, tenant: str, id: int, *, paused: bool) -> RecurringSync:
        """Pauses it, or has it go on. Raises `NotFound`."""

        def command(unit: Unit) -> RecurringSync:
            row = schedules.pause(unit, tenant, _existing(unit, tenant, id).id, paused=paused)
            return _shown(unit.tx, [row])[0]

        return self.queue.run(command)

    def delete(self, tenant: str, id: int) -> RecurringSync:
        """Takes it away; its runs stay. Raises `NotFound`."""

        def command(unit: Unit) -> RecurringSync:
            row = schedules.remove(unit, tenant, _existing(unit, tenant, id).id)
            return _shown(unit.tx, [row])[0]

        return self.queue.run(command)

    def about(self, tenant: str, environment_id: str) -> Sequence[RecurringSync]:
        """Those that are not deleted and have that environment as base or target."""
        return [each for each in self._all(tenant) if environment_id in (each.base, each.target)]

    def _all(self, tenant: str) -> list[RecurringSync]:
        """Those of a tenant that are not deleted, the newest first: 100 at most."""
        with self.queue.storage.begin(write=False) as tx:
            select = Select(equal(Schedule, deleted_at=None), order=NEWEST)
            return _shown(tx, [row for row in tx.find(Schedule, select, tenant=tenant) if is_sync(row)])

    def _deleted(self, tenant: str, offset: int, limit: int) -> tuple[Sequence[RecurringSync], int]:
        """A page of those of a tenant that are deleted, of which there may be any number, and how many there are."""
        which: Condition = And((Not(equal(Schedule, deleted_at=None)), Compare(_JOB, ("type",), "eq", SYNC)))
        with self.queue.storage.begin(write=False) as tx:
            page = tx.find(Schedule, Select(which, NEWEST, limit, offset, deleted=True), tenant=tenant)
            # their ids, no more of them: `count` does not count what is deleted
            return _shown(tx, page), len(tx.columns(Schedule, ["id"], Select(which, deleted=True), tenant=tenant))


_JOB: Final = attributes(Schedule)["job"]


def is_sync(row: Schedule) -> bool:
    """Whether a schedule is a recurring sync."""
    return schedules.type_of(row) == SYNC


def _existing(unit: Unit, tenant: str, id: int) -> Schedule:
    row = unit.tx.get(Schedule, check_int(id, "id"), tenant=tenant, lock=True)
    if row is None or not is_sync(row):
        raise NotFound("the recurring job does not exist")
    return row


def _shown(tx: Rows, rows: Sequence[Schedule]) -> list[RecurringSync]:
    """What schedules are shown as: the newest runs of all of them are looked up at once."""
    if not rows:
        return []
    newest = Select(
        equal(ContentJob, schedule_id=tuple(row.id for row in rows)),
        order=NEWEST,
        limit=1,
        per="schedule_id",
    )
    last: dict[int, ContentStatus] = dict(tx.columns(ContentJob, ["schedule_id", "status"], newest))
    return [_one(row, last.get(row.id)) for row in rows]


def _one(row: Schedule, last: ContentStatus | None) -> RecurringSync:
    input: Any = row.job["input"]
    return RecurringSync(
        schedule=row,
        status=_status(row, last),
        name=row.job["name"],
        base=input["base"],
        target=input["target"],
        by=input["by"],
        has_runs=last is not None,
    )


def _status(row: Schedule, last: ContentStatus | None) -> RecurringStatus:
    if row.deleted_at is not None:
        return RecurringStatus.DELETED
    if row.paused:
        return RecurringStatus.PAUSED
    if last in CONTENT_UNFINISHED:
        return RecurringStatus.ACTIVE
    return RecurringStatus.FAILED if last is ContentStatus.FAILED else RecurringStatus.SCHEDULED
