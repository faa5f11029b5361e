"""Syncs that recur: what a tick of a schedule of theirs makes (the rest is in `gnj.content.recurring`).

Apart from the content jobs themselves, since whoever looks at schedules must know what those of others make: a plain worker too,
which does no content jobs and loads none of what these need (1 MB).
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from gnj.queue import works
from gnj.queue.model import Job, Schedule
from gnj.queue.model_content import CONTENT_UNFINISHED, ContentJob, ContentType
from gnj.queue.storage import Rows, Select
from gnj.queue.unit import Unit
from gnj.queue.where import equal
from gnj.queue.working import KEPT, WARNING, Line

NEWEST: Final = (("id", True),)
"""The newest run first."""


class SyncMaker:
    """Makes the content job of a tick of `gnj:content.sync`; a `gnj.queue.schedules.Maker`. Looks at rows of the queue only.

    Args:
        kept: Lines of a content job's log that are kept.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept

    def make(self, unit: Unit, row: Schedule) -> Job:
        """The first task of the content job that is made."""
        input = row.job["input"]
        made = works.create(
            unit,
            row.tenant,
            name=row.job["name"],
            type=ContentType.SYNC_ENVIRONMENTS,
            params={"base": input["base"], "target": input["target"]},
            by=input["by"],
            schedule_id=row.id,
        )
        first = unit.tx.get(Job, works.task_ids(made)[0])
        assert first is not None  # noqa: S101 - tells the type checker what was just stored
        return first

    def busy(self, tx: Rows, row: Schedule) -> bool:
        """Whether the newest run of the schedule has not ended."""
        newest = newest_run(tx, row.id)
        return newest is not None and newest.status in CONTENT_UNFINISHED

    def skipped(self, unit: Unit, row: Schedule, at: datetime) -> None:
        """Says so, as a WARNING in the log of the run that has not ended."""
        newest = newest_run(unit.tx, row.id)
        if newest is not None:
            told = Line(WARNING, f"the run of {at:%Y-%m-%dT%H:%M:%SZ} was skipped: this one had not ended")
            works.log(unit, newest, works.task_ids(newest)[0], [told], beyond=self._kept)


def newest_run(tx: Rows, schedule_id: int) -> ContentJob | None:
    """The newest content job of a schedule; None: it has made none."""
    select = Select(equal(ContentJob, schedule_id=schedule_id), order=NEWEST, limit=1)
    return next(iter(tx.find(ContentJob, select)), None)
