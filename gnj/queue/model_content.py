"""The records of content jobs, and of the files that are uploaded for them.

A content job is a row that follows a pipeline of its own (`Pipeline.kind`): each of its tasks is a job in that pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Final

from gnj.queue.records import HIDDEN, ID, Record
from gnj.queue.values import Json


class ContentType(StrEnum):
    """What a content job does."""

    IMPORT_ASSETS = "IMPORT_ASSETS"
    IMPORT_ENTRIES = "IMPORT_ENTRIES"
    EXPORT_ENTRIES = "EXPORT_ENTRIES"
    DELETE_CONTENT = "DELETE_CONTENT"
    DELETE_FILTERED_CONTENT = "DELETE_FILTERED_CONTENT"
    DELETE_FIELD = "DELETE_FIELD"
    CREATE_ENVIRONMENT = "CREATE_ENVIRONMENT"
    SYNC_ENVIRONMENTS = "SYNC_ENVIRONMENTS"
    DELETE_ENVIRONMENT = "DELETE_ENVIRONMENT"
    CLONE_SITE = "CLONE_SITE"


class ContentStatus(StrEnum):
    """How far a content job has come."""

    PENDING = "PENDING"
    """None of its tasks has begun."""
    ACTIVE = "ACTIVE"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    """A task failed, was cancelled or lost; those after it never begin."""
    DELETED = "DELETED"
    """Somebody deleted it; what it had done stays. It never has another status afterwards."""


class TaskType(StrEnum):
    """What a task of a content job does."""

    PROCESS_ASSETS = "PROCESS_ASSETS"
    PROCESS_ENTRIES = "PROCESS_ENTRIES"
    DELETE_CONTENT = "DELETE_CONTENT"
    CLONE_DATABASE_DATA = "CLONE_DATABASE_DATA"
    CLONE_INDEXED_DATA = "CLONE_INDEXED_DATA"
    SYNC_DATABASE_DATA = "SYNC_DATABASE_DATA"
    SYNC_INDEXED_DATA = "SYNC_INDEXED_DATA"
    DELETE_ENVIRONMENT_DATA = "DELETE_ENVIRONMENT_DATA"
    REINDEX_ENTRIES = "REINDEX_ENTRIES"
    REINDEX_URLS = "REINDEX_URLS"
    REINDEX_TAGS = "REINDEX_TAGS"
    REINDEX_GENERAL = "REINDEX_GENERAL"
    CLONE_SITE = "CLONE_SITE"

    @property
    def job_type(self) -> str:
        """The type of the jobs of such tasks: one of gnj's own, which no face lets anybody enqueue but as part of a content job."""
        return f"{PREFIX}{self.value.lower()}"


PREFIX: Final = "gnj:content."
"""How the types of tasks begin, as jobs."""

TASKS: Final[Mapping[ContentType, tuple[TaskType, ...]]] = MappingProxyType(
    {
        ContentType.IMPORT_ASSETS: (TaskType.PROCESS_ASSETS, TaskType.REINDEX_GENERAL),
        ContentType.IMPORT_ENTRIES: (
            TaskType.PROCESS_ENTRIES,
            TaskType.REINDEX_ENTRIES,
            TaskType.REINDEX_URLS,
            TaskType.REINDEX_TAGS,
        ),
        ContentType.EXPORT_ENTRIES: (TaskType.PROCESS_ENTRIES,),
        ContentType.DELETE_CONTENT: (TaskType.DELETE_CONTENT, TaskType.REINDEX_GENERAL),
        ContentType.DELETE_FILTERED_CONTENT: (TaskType.DELETE_CONTENT, TaskType.REINDEX_ENTRIES),
        ContentType.DELETE_FIELD: (TaskType.DELETE_CONTENT, TaskType.REINDEX_ENTRIES),
        ContentType.CREATE_ENVIRONMENT: (TaskType.CLONE_DATABASE_DATA, TaskType.CLONE_INDEXED_DATA),
        ContentType.SYNC_ENVIRONMENTS: (TaskType.SYNC_DATABASE_DATA, TaskType.SYNC_INDEXED_DATA),
        ContentType.DELETE_ENVIRONMENT: (TaskType.DELETE_ENVIRONMENT_DATA,),
        ContentType.CLONE_SITE: (TaskType.CLONE_SITE, TaskType.REINDEX_GENERAL),
    }
)
"""The tasks of a content job, in their order."""

CONTENT_OVER: Final = frozenset({ContentStatus.COMPLETED, ContentStatus.FAILED, ContentStatus.DELETED})
"""No task of such a content job will do anything more."""
CONTENT_UNFINISHED: Final = frozenset(ContentStatus) - CONTENT_OVER
"""All others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentJob(Record):
    """What somebody wants done with content, and how far it has come."""

    name: str
    type: ContentType
    status: ContentStatus = ContentStatus.PENDING
    pipeline_id: Annotated[int | None, ID] = None
    """The pipeline of its tasks."""
    schedule_id: Annotated[int | None, ID] = None
    """The recurring job that made it."""
    task_ids: Annotated[Json, HIDDEN] = None
    """The ids of its tasks' jobs, in their order: a job that is not among them is none of its tasks, whatever it says of itself."""
    params: Annotated[Json, HIDDEN] = None
    """What the tasks go by: an object that was checked when the content job was made."""
    result: Annotated[Json, HIDDEN] = None
    """What became of it, for people and for the tasks that follow: an object."""
    file_key: str | None = None
    """The file that it reads, or has written."""
    created_by: Annotated[Json, HIDDEN] = None
    """Who made it: `{"id", "name", "email"}`."""
    changed_by: Annotated[Json, HIDDEN] = None
    """Who changed it last, likewise; None: nobody did."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    """When it was over, deleted or not."""
    logs: Annotated[int, ID] = 0
    """Lines of its log that were written, kept or not."""
    warnings: Annotated[int, ID] = 0
    """Those among them that warn."""
    errors: Annotated[int, ID] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentLog(Record):
    """A line of a content job's log; `created_at` is when it was logged."""

    content_job_id: Annotated[int, ID]
    job_id: Annotated[int, ID]
    """The task."""
    level: str
    """`INFORMATION`, `WARNING` or `ERROR`."""
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload(Record):
    """A file that is being uploaded in parts, or was; or any other one that nobody wants any more."""

    upload_id: str
    """What clients call it."""
    key: str
    """What the file is called once it is complete."""
    name: str
    """What its owner calls the file: no path."""
    size: Annotated[int, ID]
    """Bytes."""
    parts: int
    state: str = "open"
    """`open`, `complete`, or `unwanted`: the file is to be removed, and then this row."""
    backend: Annotated[str, HIDDEN] = ""
    """What the file store calls the upload."""
    expires_at: datetime
    """When the parts of an open one go."""
    created_by: Annotated[Json, HIDDEN] = None
