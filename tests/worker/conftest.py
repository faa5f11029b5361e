from __future__ import annotations

import threading

import pytest

from gnj.queue.model import Job, JobAttempt, NewJob
from gnj.queue.service import Queue
from gnj.storage.memory import MemoryStorage
from gnj.worker import Handlers, Worker
from tests.worker.spy import Spy, until


@pytest.fixture
def handlers():
    return Handlers()


@pytest.fixture
def queue(handlers):
    return Queue(MemoryStorage(), policies=handlers.policies, seed=1)


@pytest.fixture
def spy(queue):
    return Spy(queue)


@pytest.fixture(autouse=True)
def no_thread_left():
    """Every test ends with the threads it began with; one that leaves a handler hanging lets it go in the end."""
    before = set(threading.enumerate())
    yield
    until(lambda: not [t for t in threading.enumerate() if t not in before], within=5)


@pytest.fixture
def working(spy, handlers):
    """Call it for a worker that works, over the spy unless told otherwise; it is stopped after the test."""
    workers = []

    def work(source=spy, **options):
        worker = Worker(source, handlers, **options)
        workers.append(worker)
        worker.start()
        return worker

    yield work
    for worker in workers:
        worker.stop(1)


@pytest.fixture
def add(queue):
    """Call it to enqueue a job."""

    def add(type="work", input=None, **options):
        return queue.enqueue(NewJob(type, input, **options))

    return add


@pytest.fixture
def now(queue):
    """Call it for a job as it is now."""
    return lambda job: queue.get(Job, job.id)


@pytest.fixture
def attempts(queue):
    """Call it for the history of a job."""
    return lambda job: queue.list(JobAttempt, job_id=job.id, order=("id",))
