"""Which function does which task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Protocol

from gnj.content import assets, exporting, importing, operations
from gnj.content.application import Content
from gnj.content.task import Task, Work, handled
from gnj.queue.model_content import ContentType, TaskType
from gnj.queue.values import Json


class Registry(Protocol):
    """Where handlers are registered: `gnj.worker.handlers.Handlers`."""

    def register(self, type: str, fn: Callable[..., Any], /, *, max_attempts: int | None = ...) -> None:
        """Has jobs of that type run by `fn`."""


def process_entries(task: Task) -> Json:
    """PROCESS_ENTRIES: of an import or of an export."""
    if task.row.type is ContentType.EXPORT_ENTRIES:
        return exporting.export_entries(task)
    return importing.import_entries(task)


WORK: Final[Mapping[TaskType, Work]] = {
    TaskType.PROCESS_ENTRIES: process_entries,
    TaskType.PROCESS_ASSETS: assets.import_assets,
    TaskType.DELETE_CONTENT: operations.delete_content,
    TaskType.CLONE_DATABASE_DATA: operations.copy_environment,
    TaskType.CLONE_INDEXED_DATA: operations.finish_environment,
    TaskType.SYNC_DATABASE_DATA: operations.sync_environment,
    TaskType.SYNC_INDEXED_DATA: partial(operations.reindex, what="general"),
    TaskType.DELETE_ENVIRONMENT_DATA: operations.drop_environment,
    TaskType.REINDEX_ENTRIES: partial(operations.reindex, what="entries"),
    TaskType.REINDEX_URLS: partial(operations.reindex, what="urls"),
    TaskType.REINDEX_TAGS: partial(operations.reindex, what="tags"),
    TaskType.REINDEX_GENERAL: partial(operations.reindex, what="general"),
    TaskType.CLONE_SITE: operations.clone_site,
}


def register(handlers: Registry, content: Content, *, stopping: Callable[[], bool] = lambda: False) -> None:
    """Registers a handler for each type of task (`TaskType.job_type`).

    Args:
        handlers: Where.
        content: What they work with.
        stopping: Whether the worker is to end soon; see `Task`.
    """
    for type, work in WORK.items():
        handlers.register(type.job_type, handled(content, work, stopping=stopping))
