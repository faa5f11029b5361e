"""Jobs named by how far they got, made through the queue's own commands so that no test has to spell the way there.

Each takes the queue and any attributes of `NewJob`; each returns the job as it then is.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import count
from typing import Any

from gnj.queue.clock import NOW, After
from gnj.queue.model import Batch, Job, NewJob, Pipeline
from gnj.queue.service import Queue
from gnj.queue.states import JobStatus
from gnj.queue.storage import Storage
from gnj.queue.values import Json

TYPE = "mail"
LEASE = 60.0
WORKER = "worker-1"

_numbers = count(1)


def queue_on(storage: Storage, **options: Any) -> Queue:
    """A queue over a storage, which is migrated; claims last a minute and its jitter is the same in every run."""
    storage.migrate()
    return Queue(storage, **{"lease": LEASE, "seed": 0, **options})


def fill(storage: Storage, number: int, type: str = TYPE, **values: Any) -> list[Job]:
    """Stores so many queued jobs, all alike but for their input, their place among them."""
    rows = [{"type": type, "input": {"place": place}, **values} for place in range(number)]
    return [job for job, _ in storage.insert_jobs(rows)]


def unique_id() -> str:
    """A unique id no other call of this process gave."""
    return f"unique-{next(_numbers)}"


def queued_job(queue: Queue, type: str = TYPE, input: Json = None, **options: Any) -> Job:
    """Waits for a worker."""
    return queue.enqueue(NewJob(type, input, **options))


def delayed_job(queue: Queue, type: str = TYPE, seconds: float = 3600.0, **options: Any) -> Job:
    """Is queued, and not due for `seconds`."""
    return queue.enqueue(NewJob(type, start_after=timedelta(seconds=seconds), **options))


def planned_job(queue: Queue, type: str = TYPE, tenant: str = "", **options: Any) -> Job:
    """Waits for somebody to queue it."""
    return queue.create_jobs([{"type": type, "status": JobStatus.PLANNED, **options}], tenant=tenant)[0]


def processing_job(queue: Queue, type: str = TYPE, **options: Any) -> Job:
    """Is held by a claim of `WORKER`, its first."""
    job = queued_job(queue, type, **options)
    return queue.update_job(job.id, {"status": JobStatus.PROCESSING, "worker_id": WORKER})


def cancel_requested_job(queue: Queue, type: str = TYPE, **options: Any) -> Job:
    """Is held by a claim, and was asked to stop."""
    return queue.cancel(processing_job(queue, type, **options).id)


def lost_job(queue: Queue, type: str = TYPE, *, seconds: float = 1.0, **options: Any) -> Job:
    """Is held by a claim whose lease ran out `seconds` ago; nobody has noticed yet."""
    job = processing_job(queue, type, **options)
    return queue.storage.edit(Job, [job.id], {"lease_expires_at": After(-seconds)})[0]


def retrying_job(queue: Queue, type: str = TYPE, *, seconds: float = 60.0, **options: Any) -> Job:
    """Has failed once and waits `seconds` for its second try."""
    backoff = {"type": "fixed", "delay": round(seconds * 1000)}
    job = processing_job(queue, type, **{"max_attempts": 2, "backoff": backoff, **options})
    return queue.fail(job, "no luck")


def successful_job(queue: Queue, type: str = TYPE, output: Json = "done", **options: Any) -> Job:
    """Ended well."""
    return queue.succeed(processing_job(queue, type, **options), output)


def failed_job(queue: Queue, type: str = TYPE, error: str = "no luck", **options: Any) -> Job:
    """Has no try left."""
    return queue.fail(processing_job(queue, type, **options), error)


def cancelled_job(queue: Queue, type: str = TYPE, **options: Any) -> Job:
    """Was cancelled before a worker had it."""
    return queue.cancel(queued_job(queue, type, **options).id)


def deleted_job(queue: Queue, type: str = TYPE, **options: Any) -> Job:
    """Was queued, and is soft-deleted."""
    job = queued_job(queue, type, **options)
    return queue.storage.edit(Job, [job.id], {"deleted_at": NOW})[0]


def started_batch(queue: Queue, members: int = 2, type: str = TYPE, **options: Any) -> Batch:
    """A batch whose members wait for workers."""
    return queue.add_batch([NewJob(type, place) for place in range(members)], **options)


def started_pipeline(queue: Queue, steps: Sequence[int] = (1, 1), type: str = TYPE, **options: Any) -> Pipeline:
    """A pipeline at its first step; each number is how many jobs a step has (1: a job, else a batch)."""
    members = [NewJob(type) if number == 1 else [NewJob(type, i) for i in range(number)] for number in steps]
    return queue.add_pipeline("steps", members, **options)
