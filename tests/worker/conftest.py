from __future__ import annotations

import threading

import pytest

from gnj.app import GNJ
from gnj.queue.model import Job, JobAttempt, NewJob
from gnj.queue.service import Queue
from gnj.storage.memory import MemoryStorage
from gnj.worker import Handlers, Worker
from tests.serving import served
from tests.worker.spy import FarSpy, Spy, until

BOTH = {"test_worker", "test_stop", "test_outage"}
"""Modules whose tests run over both kinds of sources."""


@pytest.fixture
def handlers():
    return Handlers()


@pytest.fixture
def queue(handlers):
    return Queue(MemoryStorage(), policies=handlers.policies, seed=1)


def pytest_generate_tests(metafunc):
    """What a worker is, it is over any source: most tests run over a queue in this process and over one behind a server."""
    if metafunc.module.__name__.rpartition(".")[2] in BOTH and "spy" in metafunc.fixturenames:
        metafunc.parametrize("place", ["near", "far"], indirect=True)


@pytest.fixture
def place(request):
    """Whether the source of `spy` is near (a queue in this process) or far (behind a server)."""
    return getattr(request, "param", "near")


@pytest.fixture
def spy(request, place):
    return request.getfixturevalue("far_spy") if place == "far" else Spy(request.getfixturevalue("queue"))


@pytest.fixture
def endpoint(queue):
    """The GraphQL endpoint of a server of the queue, which knows nothing of the handlers."""
    queue.policies = {}
    with GNJ(queue.storage) as jobs:
        jobs._queue = queue
        jobs._ready = True
        with served(jobs.asgi_app()) as address:
            yield f"{address}/graphql"


@pytest.fixture
def far_spy(endpoint, handlers):
    spy = FarSpy(endpoint, policies=handlers.policies)
    yield spy
    spy.close()


@pytest.fixture(autouse=True)
def no_thread_left():
    """Every test ends with the threads it began with; one that leaves a handler hanging lets it go in the end.

    A server's threads end by themselves, some seconds after the last request.
    """

    def there():
        return {thread for thread in threading.enumerate() if thread.name != "gnj-request"}

    before = there()
    yield
    until(lambda: there() <= before, within=5)


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
