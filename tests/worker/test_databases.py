"""A worker on a database that other processes use, too."""

import threading
import time
from itertools import pairwise

import pytest

from gnj.queue.errors import Snooze
from gnj.queue.model import Job, NewJob
from gnj.queue.retry import Fixed
from gnj.queue.service import Queue
from gnj.queue.states import JobStatus
from gnj.storage.sql.storage import SqlStorage
from gnj.worker import Worker
from tests.worker.spy import WAIT, Spy, at_most


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def two_queues(request):
    """Two queues that share nothing but their database, as two processes do."""
    url = request.getfixturevalue(f"{request.param}_database")()
    storages = [SqlStorage(url) for _ in range(2)]
    storages[0].migrate()
    yield [Queue(storage) for storage in storages]
    for storage in storages:
        storage.close()


def test_work_of_another_process_wakes_the_worker_at_once(handlers, two_queues):
    here, there = two_queues
    if "notify" not in here.storage.capabilities:
        pytest.skip("capability: this storage wakes no other processes")
    handlers.register("work", lambda job: job.id)
    spy = Spy(here)
    with Worker(spy, handlers, poll=60):
        spy.wait_for("claim")
        for _ in range(3):
            with at_most(1.0):
                there.enqueue(NewJob("work"))
                spy.outcome()
    assert all(job.output == job.id for job in there.list(Job))


def test_a_cancellation_by_another_process_is_seen_within_two_seconds(handlers, two_queues):
    here, there = two_queues
    started = threading.Event()

    @handlers.handler("work")
    def work(job, ctx):
        started.set()
        return ctx.wait_for_cancel(WAIT)

    spy = Spy(here)
    with Worker(spy, handlers):
        job = there.enqueue(NewJob("work"))
        assert started.wait(WAIT)
        with at_most(8.0):  # 2 at rest (test_worker.py); four processes share two cores here
            there.cancel(job.id)
            assert spy.outcome()[1].output is True


def test_the_next_try_begins_when_it_is_due(handlers, two_queues):
    here, _ = two_queues
    begun = []

    @handlers.handler("work", max_attempts=3, backoff=Fixed(0.2))
    def work(job):
        begun.append(time.monotonic())
        if len(begun) == 2:
            raise Snooze(0.2)
        if len(begun) < 4:
            raise ValueError

    here.policies = handlers.policies
    spy = Spy(here)
    with Worker(spy, handlers, poll=60):
        here.enqueue(NewJob("work"))
        spy.outcomes(4)
    assert all(0.2 <= later - earlier < 1.0 for earlier, later in pairwise(begun))


def test_an_idle_worker_looks_up_what_a_claim_needs_before_there_is_one(handlers, two_queues, monkeypatch):
    here, there = two_queues
    if "notify" not in here.storage.capabilities:
        pytest.skip("capability: this storage wakes no other processes")
    asked, begun = [], threading.Semaphore(0)

    def note(owner, name):
        original = getattr(owner, name)

        def call(*arguments, **options):
            asked.append(name)
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, call)

    note(here.wake, "set")
    for name in ("claim", "find", "lost", "listens"):
        note(here.storage, name)
    handlers.register("work", lambda _: begun.release())
    with Worker(here, handlers):
        for _ in range(100):
            there.enqueue(NewJob("work"))
            assert begun.acquire(timeout=WAIT)
            time.sleep(0.015)
    looked = [(before, name) for before, name in pairwise(asked) if name in ("find", "lost", "listens")]
    assert {"find", "lost", "listens"} <= {name for _, name in looked}
    # but for moments in which the machine had no time for it
    assert sum(before == "set" for before, _ in looked) <= len(looked) / 4


def test_steps_and_many_jobs(handlers, two_queues):
    here, there = two_queues

    @handlers.handler("work", max_attempts=2)
    async def work(job, ctx):
        value = await ctx.step_async("a", lambda: {"attempt": job.attempt, "big": 1e16})
        if job.attempt == 1:
            raise ValueError
        return value

    spy = Spy(here)
    here.policies = handlers.policies
    there.enqueue_many([NewJob("work") for _ in range(20)])
    with Worker(spy, handlers, poll=0.05):
        ends = [job for _, job in spy.outcomes(40)]
    done = [job for job in ends if job.status == JobStatus.SUCCESSFUL]
    assert len(done) == 20
    assert {job.output["attempt"] for job in done} == {1}
