"""The task PROCESS_ENTRIES of an export."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from gnj.content import entries
from gnj.content.filters import parse
from gnj.content.task import Task
from gnj.content.tasklog import counted
from gnj.queue import works
from gnj.queue.errors import Failed
from gnj.queue.model_content import ContentJob
from gnj.queue.values import Json, dump_json

_NO_NAME: Final = re.compile(r"[^a-z0-9]+")
_LONGEST: Final = 80


def export_entries(task: Task) -> Json:
    """Writes the entries of a pinned snapshot that meet the filter to a file, as JSON Lines in the shape that an import reads, and gives
    the content job its key.

    A try that is lost leaves no file; the next one begins anew, with the same snapshot. One that comes after the file's key was told
    leaves the file as it is.
    """
    reached = task.cursor
    count = reached["exported"] if isinstance(reached, dict) else _export(task)
    task.content.store.unpin(task.tenant, task.holder)
    # stored with the task's end, so that it is there once
    task.log.info("%s exported", counted(count, "entry", "entries"))
    return {"exported": count}


def _export(task: Task) -> int:
    """Writes the file and tells its key; how many entries it has."""
    store, tenant, size = task.content.store, task.tenant, task.content.limits.batch
    store.ready(tenant)
    environment = store.environment(tenant, None)
    if environment is None:
        raise Failed("the organisation has no default environment")
    filter = parse(task.params.get("filter")).filter
    snapshot = store.pin(tenant, environment.id, task.holder)
    total = store.entries(tenant, environment.id, filter, offset=0, limit=0).total
    key, count, after = file_key(task.row), 0, None
    sink = task.content.files.create(tenant, key)
    try:
        while page := store.scan(tenant, snapshot, filter, after=after, limit=size):
            for each in page:
                sink.write(f"{dump_json(entries.write(each))}\n".encode())
            count += len(page)
            task.checkpoint(None, done=count, total=max(total, count))
            after = page[-1].id
        # asked at the last moment: nobody is to find a file of a job that was deleted meanwhile
        task.checkpoint(None, done=count, total=count, force=True)
    except BaseException:
        sink.abort()
        raise
    sink.finish()
    done = {"exported": count}
    task.checkpoint(done, done=count, total=count, force=True, changes={"file_key": key, "result": done})
    return count


def file_key(row: ContentJob) -> str:
    """Where an export is written: the same for every try of it, and another one for every content job, also of a database that
    was made anew.
    """
    plain = unicodedata.normalize("NFKD", row.name).encode("ascii", "ignore").decode().lower()
    name = _NO_NAME.sub("-", plain).strip("-")[:_LONGEST].strip("-") or "entries"
    return f"exports/{row.id}-{works.mark(row)[:8]}/{name}.jsonl"
