"""Workers of limited queues: nothing is claimed ahead, and whoever waits for a limit is woken when it lets something through."""

from __future__ import annotations

import threading
import time

import pytest

from gnj.queue.limits import LimitValues, Rate
from gnj.queue.model import Job, NewJob
from gnj.queue.service import Queue
from gnj.storage.sql import SqlStorage
from gnj.worker import Handlers, Worker
from gnj.worker.hands import Hands
from tests.worker.spy import WAIT, Spy, until

NEVER = 600.0
"""Seconds of a poll that no test waits for."""


class Counting(Spy):
    """Notes how many jobs of the limited type a claim gave, and for how many there were slots."""

    def __init__(self, queue):
        super().__init__(queue)
        self.given = []

    def claim(self, types, limit, slots=None):
        jobs = super().claim(types, limit, slots)
        self.given.append((sum(job.type == "work" for job in jobs), slots, limit))
        return jobs


def test_nothing_limited_is_claimed_ahead(queue, handlers):
    queue.set_limits("work", LimitValues(concurrency=1000), tenant="")
    for type in ("work", "free"):
        handlers.register(type, lambda job: None)
    queue.enqueue_many([NewJob(type) for _ in range(1500) for type in ("work", "free")])
    spy = Counting(queue)
    with Worker(spy, handlers, concurrency=2, poll=NEVER):
        until(lambda: queue.count(Job, status="successful") == 3000, within=6 * WAIT)
    assert all(given <= slots for given, slots, _ in spy.given)
    assert any(limit > slots for _, slots, limit in spy.given)


@pytest.mark.parametrize("limits", [LimitValues(concurrency=1), LimitValues(limiter=Rate(10, 100))])
def test_no_poll_is_needed(queue, handlers, limits):
    queue.set_limits("work", limits, tenant="")
    handlers.register("work", lambda job: None)
    queue.enqueue_many([NewJob("work")] * 50)
    with Worker(queue, handlers, concurrency=4, poll=NEVER):
        until(lambda: queue.count(Job, status="successful") == 50)


@pytest.mark.parametrize("how", ["failed", "retried", "cancelled"])
def test_whatever_ends_a_job_lets_the_next_one_begin(queue, handlers, how):
    queue.set_limits("work", LimitValues(concurrency=1), tenant="")
    began = threading.Event()

    def work(job):
        if job.input == "first" and job.failures == 0:
            began.set()
            if how == "cancelled":
                queue.cancel(job.id)
            raise ValueError(how)

    handlers.register("work", work)
    first = queue.enqueue(
        NewJob("work", "first", max_attempts=1 + (how == "retried"), backoff={"type": "fixed", "delay": 50})
    )
    second = queue.enqueue(NewJob("work", "second"))
    with Worker(queue, handlers, poll=NEVER):
        until(lambda: queue.get(Job, second.id).status == "successful")
    assert began.is_set()
    assert queue.get(Job, first.id).status in ("failed", "successful", "cancelled", "queued")


@pytest.mark.parametrize(
    "database", [pytest.param(name, marks=pytest.mark.backend(name)) for name in ("sqlite", "postgresql")]
)
def test_an_end_elsewhere_wakes_a_worker(request, database):
    url = request.getfixturevalue(f"{database}_database")()
    here, there = SqlStorage(url), SqlStorage(url)
    here.migrate()
    queue, other = Queue(here), Queue(there)
    try:
        queue.set_limits("work", LimitValues(concurrency=1), tenant="")
        first, second = queue.enqueue_many([NewJob("work")] * 2)
        (claim,) = other.acquire(["work"], 5)
        assert claim.id == first.id
        handlers = Handlers()
        handlers.register("work", lambda job: None)
        spy = Spy(queue)
        with Worker(spy, handlers, poll=NEVER):
            spy.wait_for("claim")
            until(lambda: database == "sqlite" or here.listens("jobs"))
            other.succeed(claim)
            until(lambda: queue.count(Job, id=second.id, status="successful"))
    finally:
        here.close()
        there.close()


def test_a_slot_that_comes_free_rings_if_jobs_were_kept_back(queue, handlers):
    go = threading.Event()
    handlers.register("slow", lambda job: go.wait(WAIT))
    source = Spy(queue)
    hands = Hands(source, handlers, 2)
    try:
        queue.enqueue_many([NewJob("slow")] * 2)
        hands.take(source.claim(["slow"], 2, 2))
        assert hands.free == 0
        before = source.rings
        hands.keep_back(0)
        assert source.rings == before
        go.set()
        until(lambda: source.rings == before + 1)
        until(lambda: hands.free == 2)
        assert source.rings == before + 1
        hands.keep_back(0)
        assert source.rings == before + 2
    finally:
        go.set()
        hands.close(time.monotonic() + WAIT)


def test_a_worker_that_is_full_of_others_takes_a_limited_job_when_a_slot_is_free(queue, handlers):
    """Though it asked before that was so, and nobody rings for the ends of others."""
    go, ran = threading.Event(), threading.Event()
    handlers.register("slow", lambda job: go.wait(WAIT))
    handlers.register("work", lambda job: ran.set())
    handlers.register("quick", lambda job: None)
    queue.set_limits("work", LimitValues(concurrency=9), tenant="")
    queue.enqueue_many([NewJob("quick", priority=9)] * 500)
    with Worker(queue, handlers, concurrency=2, poll=NEVER):
        queue.enqueue_many([NewJob("slow")] * 2)
        queue.enqueue(NewJob("work", priority=-9))
        until(lambda: queue.count(Job, type="slow", status="processing") == 2)
        go.set()
        assert ran.wait(WAIT)
