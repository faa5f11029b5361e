"""The commands and reads of content jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from gnj.queue import lists, works
from gnj.queue.errors import InvalidInput
from gnj.queue.inputs import check_tenant
from gnj.queue.model import Job, RecordT
from gnj.queue.model_content import CONTENT_OVER, CONTENT_UNFINISHED, ContentJob, ContentLog, ContentStatus, ContentType
from gnj.queue.runner import Runner
from gnj.queue.storage import Select
from gnj.queue.values import MAX_NAME, Json, check_int, check_json, check_text, check_time, clean_text, shown
from gnj.queue.where import And, Condition, Not, containing, equal
from gnj.queue.works import ERROR, INFORMATION, KEPT, LEVELS, WARNING, Line

__all__ = ["ERROR", "INFORMATION", "KEPT", "WARNING", "Line", "Working"]

_CHANGEABLE: Final = ("result", "file_key")
"""What a checkpoint may change of a content job."""


class Working(Runner):
    """Content jobs."""

    def create_content_job(
        self,
        tenant: str,
        *,
        name: str,
        type: ContentType,
        params: Json,
        by: Json,
        start_after: datetime | None = None,
        file_key: str | None = None,
        schedule_id: int | None = None,
    ) -> ContentJob:
        """A content job with its tasks (`TASKS`), in one transaction.

        Args:
            tenant: Whose it is.
            name: For people.
            type: Which tasks it has.
            params: What the tasks go by: an object, checked by the caller.
            by: Who makes it: `{"id", "name", "email"}`.
            start_after: When the first task may start at the earliest; None, or past: now.
            file_key: The file that it reads.
            schedule_id: The recurring job that it is made for.

        Raises `InvalidInput` for a name or values that cannot be kept, and where 1,000 of the tenant are not over.
        """
        owner = check_tenant(tenant)
        values: dict[str, Any] = {
            "name": check_text(name, "name", maximum=MAX_NAME),
            "type": type,
            "params": check_json(params, "params"),
            "by": check_json(by, "by"),
            "start_after": None if start_after is None else check_time(start_after, "start_after"),
            "file_key": None if file_key is None else check_text(file_key, "file_key"),
            "schedule_id": schedule_id,
        }
        return self.run(lambda unit: works.create(unit, owner, **values))

    def content_job(self, tenant: str, id: int) -> ContentJob | None:
        """The content job of the tenant with that id, deleted ones too; None: there is none."""
        return self.storage.get(ContentJob, check_int(id, "id"), tenant=tenant)

    def content_jobs(
        self,
        tenant: str,
        *,
        offset: int,
        limit: int,
        type: ContentType | None = None,
        status: ContentStatus | None = None,
        search: str | None = None,
        schedule_id: int | None = None,
    ) -> tuple[Sequence[ContentJob], int]:
        """A page of the tenant's content jobs, the newest first, and how many there are in all.

        Deleted ones only if `status` asks for them. `search`: what the name contains, whatever the case. `schedule_id`: those
        that this recurring job made.
        """
        parts: list[Condition] = [
            Not(equal(ContentJob, status=ContentStatus.DELETED)) if status is None else equal(ContentJob, status=status)
        ]
        if type is not None:
            parts.append(equal(ContentJob, type=type))
        if schedule_id is not None:
            parts.append(equal(ContentJob, schedule_id=schedule_id))
        if search:
            parts.append(containing(ContentJob, "name", search))
        return self._newest(ContentJob, And(tuple(parts)), tenant, offset, limit)

    def content_tasks(self, tenant: str, ids: Sequence[int]) -> Mapping[int, Sequence[Job]]:
        """The tasks of content jobs of the tenant, by the ids of these, in their order; one query for all of them.

        Those of content jobs that the tenant does not have are left out. Jobs that are not among a content job's `task_ids` are left out, and so are tasks that
        were pruned.
        """
        with self.storage.begin(write=False) as tx:
            found = tx.columns(ContentJob, ["id", "task_ids"], Select(equal(ContentJob, id=tuple(ids))), tenant=tenant)
            owners = {task: id for id, tasks in found for task in tasks or ()}
            # not by the pipeline: what says it is of that may be any number of others, of any size
            jobs = tx.find(Job, Select(equal(Job, id=tuple(owners))), tenant=tenant) if owners else []
        tasks: dict[int, list[Job]] = {id: [] for id, _ in found}
        for job in jobs:
            tasks[owners[job.id]].append(job)
        return tasks

    def content_logs(
        self, tenant: str, id: int, *, offset: int, limit: int, job_id: int | None = None, level: str | None = None
    ) -> tuple[Sequence[ContentLog], int]:
        """A page of a content job's log, the newest line first, and how many lines there are in all.

        `job_id`: those of that task; `level`: of that level. Nothing for a content job that the tenant does not have.
        """
        parts: list[Condition] = [equal(ContentLog, content_job_id=check_int(id, "id"))]
        if job_id is not None:
            parts.append(equal(ContentLog, job_id=job_id))
        if level is not None:
            parts.append(equal(ContentLog, level=level))
        return self._newest(ContentLog, And(tuple(parts)), tenant, offset, limit)

    def content_task(self, claim: Job) -> ContentJob:
        """The content job of a claimed task. Raises `Failed` for a job that is no task of a content job of its tenant, or of one
        that is over (`retry`, `recover` and the like bring none back), and `CancelRequested` for one that was deleted.

        Anybody may enqueue a job that says it belongs to a pipeline: what counts is that the content job names it.
        """
        with self.storage.begin(write=False) as tx:
            return works.begun(tx, claim)

    def checkpoint(
        self,
        claim: Job,
        progress: Json,
        lines: Sequence[Line] = (),
        *,
        changes: Mapping[str, Any] | None = None,
        beyond: int = KEPT,
    ) -> Job:
        """Notes how far a claimed task has come, together with the lines it has logged since: in one transaction.

        The first one of a content job makes it ACTIVE.

        Args:
            claim: The task as it was claimed; its (id, attempt) is the fence.
            progress: What takes the place of the job's progress.
            lines: Logged in this order, cut to 10,000 characters each; counted among the content job's `logs`, `warnings` and `errors`.
            changes: What else changes of the content job: `result`, `file_key`.
            beyond: Lines of a content job that are kept: the oldest of those beyond go.

        Returns:
            The task as it now is: `cancel-requested` tells the caller to end.

        Raises `LeaseLost` where the claim does not hold the job any more: then nothing was written.
        """
        told = [Line(_level(line.level), clean_text(line.message)) for line in lines]
        noted, kept, edits = (
            check_json(progress, "progress"),
            check_int(beyond, "beyond", low=0),
            _changes(changes or {}),
        )
        return self.run(lambda unit: works.checkpoint(unit, claim, noted, told, edits, kept))

    def delete_content_job(self, tenant: str, id: int, by: Json) -> ContentJob:
        """Deletes a content job, and cancels the task that runs or would be next; the content job as it then is.

        Nothing for one that is deleted already. Raises `NotFound`.
        """
        number, who = check_int(id, "id"), check_json(by, "by")
        return self.run(lambda unit: works.delete(unit, tenant, number, who))

    def unfinished_content_jobs(self, tenant: str, type: ContentType | None = None) -> Sequence[ContentJob]:
        """The tenant's content jobs that are not over, of all types or of one: there are 1,000 at most."""
        parts = [equal(ContentJob, status=tuple(CONTENT_UNFINISHED))]
        if type is not None:
            parts.append(equal(ContentJob, type=type))
        return self.storage.find(ContentJob, Select(And(tuple(parts))), tenant=tenant)

    def content_over(self, tenant: str, id: int) -> bool:
        """Whether a content job is over: completed, failed, deleted, or not there any more."""
        row = self.content_job(tenant, id)
        return row is None or row.status in CONTENT_OVER

    def _newest(
        self, kind: type[RecordT], where: Condition, tenant: str, offset: int, limit: int
    ) -> tuple[Sequence[RecordT], int]:
        page = Select(where, order=(("id", True),), offset=lists.offset(offset), limit=lists.limit(limit))
        with self.storage.begin(write=False) as tx:
            return tx.find(kind, page, tenant=tenant), tx.count(kind, where, tenant=tenant)


def _level(level: str) -> str:
    if level not in LEVELS:
        raise InvalidInput(f"the level of a line must be one of {', '.join(LEVELS)}, not {shown(level)}")
    return level


def _changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint changes of a content job, checked."""
    for name in changes:
        if name not in _CHANGEABLE:
            raise InvalidInput(f"changes: {name} is none of {', '.join(_CHANGEABLE)}")
    checked = dict(changes)
    if "result" in checked:
        checked["result"] = check_json(checked["result"], "result")
    if checked.get("file_key") is not None:
        checked["file_key"] = check_text(checked["file_key"], "file_key")
    return checked
