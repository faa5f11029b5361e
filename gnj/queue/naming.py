"""Which job is meant: what the queue contract calls a job's id; and which are the library's own."""

from __future__ import annotations

import re
from typing import Final

from gnj.queue.errors import JobNotFound
from gnj.queue.model import Job
from gnj.queue.storage import Rows
from gnj.queue.values import MAX_INT64

OWN: Final = "gnj:"
"""How the types begin whose jobs are the library's own work, such as `gnj.queue.bulk`: no client makes or works them."""
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,18}")


def id_of(job: Job) -> str:
    """The id that clients know a job by: the one that they gave it, else its number."""
    return str(job.id) if job.custom_id is None else job.custom_id


def find(rows: Rows, queue: str, id: str, tenant: str) -> Job | None:
    """The job of a queue that clients know by that id."""
    if found := rows.named(queue, tenant, [id]):
        return found[0]
    if not _NUMBER.fullmatch(id) or int(id) > MAX_INT64:
        return None
    job = rows.get(Job, int(id), tenant=tenant)
    return None if job is None or job.type != queue or job.custom_id is not None else job


def named(rows: Rows, queue: str, id: str, tenant: str) -> Job:
    """`find`, where there has to be one. Raises `JobNotFound`."""
    job = find(rows, queue, id, tenant)
    if job is None:
        raise JobNotFound
    return job
