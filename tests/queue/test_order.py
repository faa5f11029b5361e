"""Threads that tell of the same job: who hears of it ends with what it is."""

from __future__ import annotations

import gc
import threading
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from gnj.queue.feed import Change, Feed
from gnj.queue.model import Job, NewJob
from gnj.queue.order import Order
from gnj.storage.memory import MemoryStorage


@pytest.fixture
def job() -> Job:
    ((job, _),) = MemoryStorage().insert_jobs([{"type": "a"}])
    return job


@pytest.fixture
def told():
    return []


@pytest.fixture
def feed(told):
    feed = Feed()
    with feed.follow(told.extend):
        yield feed


def test_what_is_told_late_is_left_out(feed, told, job):
    first, second = (Change("updated", "", job.evolve(name=name)) for name in ("first", "second"))
    tickets = [feed.ticket([first]), feed.ticket([second])]
    feed.publish([second, Change("pinged", "")], tickets[1])
    feed.publish([first, Change("pinged", "")], tickets[0])
    assert told == [second, Change("pinged", ""), Change("pinged", "")]


def test_a_creation_that_is_told_late_is_told_with_what_is_known_by_then(feed, told, job):
    created, updated = Change("created", "", job), Change("updated", "", job.evolve(name="new"))
    tickets = [feed.ticket([created]), feed.ticket([updated])]
    feed.publish([updated], tickets[1])
    feed.publish([created], tickets[0])
    assert told == [updated, Change("created", "", updated.value)]


def test_what_is_told_in_turn_is_told(feed, told, job):
    changes = [Change("created", "", job), *(Change("updated", "", job.evolve(name=name)) for name in "ab")]
    for change in changes:
        feed.publish([change], feed.ticket([change]))
    assert told == changes


def test_nobody_follows_nobody_draws(job):
    assert Feed().ticket([Change("created", "", job)]) is None


def test_what_others_did_is_read_once_our_own_is_told(job):
    order = Order()
    ours = order.draw([1, 2])
    assert order.draw_alone([2, 3]) is None
    theirs = order.draw_alone([3])
    assert theirs is not None
    assert theirs.number > ours.number
    with order.lock:
        order.done(ours)
    assert order.draw_alone([2]) is not None


def test_a_transaction_that_failed_is_waited_for_by_nobody():
    order = Order()
    ticket: Any = order.draw([1])
    assert order.draw_alone([1]) is None
    del ticket
    gc.collect()
    assert order.draw_alone([1]) is not None


def test_what_nobody_can_be_late_with_is_forgotten(job):
    order = Order()
    early = order.draw([1])
    tickets = [order.draw([id]) for id in range(2, 1_502)]
    with order.lock:
        for ticket in tickets:
            (id,) = ticket.jobs
            order.newest(ticket, job.evolve(id=id))
            order.done(ticket)
        assert order.newest(early, job.evolve(id=1_500)).id == 1_500
        order.done(early)
        late = order.draw([7])
        assert order.newest(late, job.evolve(id=7, name="x")).name == "x"


def test_a_thread_that_is_late_after_its_commit(queue, told, monkeypatch):
    """It has committed, and another one changes the job and tells of it before."""
    job = queue.enqueue(NewJob("a"))
    begin, first = queue.storage.begin, [True]

    @contextmanager
    def late(*, write=True):
        with begin(write=write) as tx:
            yield tx
        if first.pop() if first else False:
            queue.update_job(job.id, {"name": "second"})

    monkeypatch.setattr(queue.storage, "begin", late)
    with queue.feed.follow(told.extend):
        queue.update_job(job.id, {"name": "first"})
    assert [change.value.name for change in told] == ["second"]


@pytest.mark.usefixtures("everywhere")
def test_threads_that_change_the_same_jobs(queue):
    """Whatever the order of commits was: what was told last of each job is what it is."""
    last: dict[int, Job] = {}

    def put(changes):
        last.update((change.value.id, change.value) for change in changes)

    with queue.feed.follow(put):
        jobs = [queue.enqueue(NewJob("a")).id for _ in range(3)]

        def change(thread):
            for n in range(25):
                queue.update_job(jobs[n % 3], {"name": f"{thread} {n}"})

        threads = [threading.Thread(target=partial(change, number)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    queue.feed.close()
    assert [last[id] for id in jobs] == queue.list(Job, type="a")
