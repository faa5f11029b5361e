"""How jobs are shown: their tasks, their logs, and who made them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from graphql import GraphQLResolveInfo

from gnj.api.content.face import Call, call
from gnj.api.content.paging import collection
from gnj.content.recurring import RecurringSync
from gnj.graphql.plans import Reads
from gnj.graphql.records import Resolvers
from gnj.queue import works
from gnj.queue.model import Job
from gnj.queue.model_content import PREFIX, ContentJob, TaskType
from gnj.queue.states import JobStatus
from gnj.queue.values import Json

Info = GraphQLResolveInfo[Any]

_ROWS: Final = "rows"
_TASKS: Final = "tasks"

_STATUS: Final[Mapping[JobStatus, str]] = {
    JobStatus.PLANNED: "PENDING",
    JobStatus.QUEUED: "PENDING",
    JobStatus.PROCESSING: "ACTIVE",
    JobStatus.CANCEL_REQUESTED: "ACTIVE",
    JobStatus.SUCCESSFUL: "COMPLETED",
    JobStatus.FAILED: "FAILED",
    JobStatus.CANCELLED: "FAILED",
}
"""What a task's job is called here, whatever happened to it."""

_NAMES: Final[Mapping[TaskType, str]] = {
    TaskType.PROCESS_ASSETS: "Process assets",
    TaskType.PROCESS_ENTRIES: "Process entries",
    TaskType.DELETE_CONTENT: "Delete content",
    TaskType.CLONE_DATABASE_DATA: "Clone database data",
    TaskType.CLONE_INDEXED_DATA: "Clone indexed data",
    TaskType.SYNC_DATABASE_DATA: "Sync database data",
    TaskType.SYNC_INDEXED_DATA: "Sync indexed data",
    TaskType.DELETE_ENVIRONMENT_DATA: "Delete environment data",
    TaskType.REINDEX_ENTRIES: "Reindex entries",
    TaskType.REINDEX_URLS: "Reindex URLs",
    TaskType.REINDEX_TAGS: "Reindex tags",
    TaskType.REINDEX_GENERAL: "Reindex everything",
    TaskType.CLONE_SITE: "Clone site",
}
"""What a task is called for people."""


@dataclass(frozen=True, slots=True)
class Task:
    """A task as it is shown."""

    row: ContentJob
    job: Job


@dataclass(frozen=True, slots=True)
class Synced:
    """What a sync of environments was made: one of the two."""

    job: ContentJob | None
    recurring: RecurringSync | None


def came(found: Call, rows: Sequence[ContentJob]) -> None:
    """Jobs that are shown together, and whose tasks are loaded together."""
    found.memo.setdefault(_ROWS, set()).update(row.id for row in rows)


def tasks(row: ContentJob, info: Info) -> Sequence[Task]:
    """The tasks of a job, in their order."""
    found = call(info)
    loaded: dict[int, Sequence[Job]] = found.memo.setdefault(_TASKS, {})
    if row.id not in loaded:
        ids = {row.id, *found.memo.get(_ROWS, ())} - loaded.keys()
        of = found.face.queue.content_tasks(found.tenant, sorted(ids))
        loaded.update({id: of.get(id, ()) for id in ids})
    return [Task(row, job) for job in loaded[row.id]]


def person(kept: Json) -> Json:
    """A user, if it is known who it was."""
    return kept if isinstance(kept, dict) and isinstance(kept.get("id"), str) else None


def name_of(kept: Json) -> str:
    """A user's name."""
    user = person(kept) or {}
    return str(user.get("name") or user.get("id") or "")


def _creator(row: ContentJob, _info: Info) -> Json:
    return person(row.created_by)


def _changer(row: ContentJob, _info: Info) -> Json:
    return person(row.changed_by or row.created_by)


def _summary(row: ContentJob, _info: Info) -> ContentJob | None:
    return None if row.started_at is None else row


def _elapsed(row: ContentJob, _info: Info) -> timedelta:
    begun = row.started_at or row.created_at  # what has not begun has no summary
    return (row.finished_at or datetime.now(UTC)) - begun


def _task_type(task: Task, _info: Info) -> TaskType:
    return TaskType(task.job.type.removeprefix(PREFIX).upper())


def _run_at(task: Task, _info: Info) -> datetime | None:
    """When a task may begin, where that is known; when it did, where not."""
    job = task.job
    if job.start_after is not None:
        return job.start_after
    first = works.task_ids(task.row)[:1] == [job.id]
    return job.created_at if first else job.started_at


def _progress(task: Task, _info: Info) -> float | None:
    if task.job.status is JobStatus.SUCCESSFUL:
        return 100.0
    told = task.job.progress
    percent = told.get("percent") if isinstance(told, dict) else None
    if isinstance(percent, bool) or not isinstance(percent, (int, float)):
        return None
    return min(100.0, max(0.0, float(percent)))


def _of_task(name: str, *, text: bool = False) -> Callable[..., Any]:
    read = Reads(name, text=text)
    return lambda task, info: read(task.job, info)


_SHOWN: Final[Mapping[str, Callable[..., Any]]] = {
    "id": Reads("id", text=True),
    "name": Reads("name"),
    "type": Reads("type", text=True),
    "status": Reads("status", text=True),
    "tasks": tasks,
    "createdAt": Reads("created_at"),
    "updatedAt": Reads("updated_at"),
}
"""What a job and every payload of one have."""
_FILE: Final[Mapping[str, Callable[..., Any]]] = {"fileKey": Reads("file_key")}
_RECURRING: Final[Mapping[str, Callable[..., Any]]] = {"recurringJobId": Reads("schedule_id", text=True)}
_MAKERS: Final[Mapping[str, Callable[..., Any]]] = {
    "createdBy": lambda row, _info: name_of(row.created_by),
    "updatedBy": lambda row, _info: name_of(row.changed_by or row.created_by),
}
"""Those of a payload, which names them."""

TYPES: Final[tuple[Resolvers, ...]] = (
    Resolvers(
        "Job",
        {
            **_SHOWN,
            **_FILE,
            **_RECURRING,
            "finishedAt": Reads("finished_at"),
            "summary": _summary,
            "createdBy": _creator,
            "updatedBy": _changer,
        },
    ),
    Resolvers("CreateImportJobPayload", {**_SHOWN, **_FILE, **_MAKERS}),
    Resolvers("CreateExportJobPayload", {**_SHOWN, **_FILE, **_MAKERS}),
    Resolvers("CreateDeleteJobPayload", {**_SHOWN, **_MAKERS}),
    Resolvers("CreateEnvironmentJobPayload", {**_SHOWN, **_FILE, **_RECURRING, **_MAKERS}),
    Resolvers("DeleteEnvironmentJobPayload", {**_SHOWN, **_FILE, **_MAKERS}),
    Resolvers("CreateCloneSiteJobPayload", {**_SHOWN, **_MAKERS}),
    Resolvers("SyncEnvironmentsJobPayload", {"job": Reads("job"), "recurringJob": Reads("recurring")}),
    Resolvers("DeleteJobPayload", {"success": lambda _row, _info: True, "id": Reads("id", text=True)}),
    Resolvers(
        "JobTask",
        {
            "id": _of_task("id", text=True),
            "jobId": lambda task, _info: str(task.row.id),
            "consoleAppName": lambda _task, _info: "gnj-content",
            "displayName": lambda task, info: _NAMES[_task_type(task, info)],
            "type": _task_type,
            "status": lambda task, _info: _STATUS[task.job.status],
            "runAt": _run_at,
            "startedAt": _of_task("started_at"),
            "finishedAt": _of_task("ended_at"),
            "progress": _progress,
        },
    ),
    Resolvers(
        "JobTaskLog",
        {
            "id": Reads("id", text=True),
            "jobTaskId": Reads("job_id", text=True),
            "message": Reads("message"),
            "loggedAt": Reads("created_at"),
            "type": Reads("level"),
            "jobId": Reads("content_job_id", text=True),
        },
    ),
    Resolvers(
        "JobSummary",
        {
            "totalLogs": Reads("logs"),
            "totalErrors": Reads("errors"),
            "totalWarnings": Reads("warnings"),
            "elapsedTime": _elapsed,
            "startedAt": Reads("started_at"),
        },
    ),
    Resolvers("User", {name: lambda user, _info, name=name: user.get(name) for name in ("id", "name", "email")}),
    collection("JobCollection"),
    collection("JobTaskLogCollection"),
)
"""What resolves Job, JobTask, JobSummary, JobTaskLog, User, the collections and the payloads."""
