"""What queues did lately, on every storage."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gnj.queue import counts, figures
from gnj.queue.figures import Minute, Quantiles, quantiles
from gnj.queue.model import Job, NewJob
from gnj.queue.service import Queue
from gnj.queue.states import JobStatus
from gnj.queue.storage import Select
from gnj.storage.memory import MemoryStorage
from gnj.storage.sql import SqlStorage
from gnj.testing import FakeClock

BACKENDS = [pytest.param(name, marks=pytest.mark.backend(name)) for name in ("memory", "sqlite", "postgresql", "mysql")]
NOTHING = Quantiles(None, None)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture(params=BACKENDS)
def queue(request, clock):
    if request.param == "memory":
        yield Queue(MemoryStorage(clock), seed=1)
        return
    storage = SqlStorage(request.getfixturevalue(f"{request.param}_database")())
    storage.migrate()
    storage.clock = clock
    yield Queue(storage, seed=1)
    storage.close()


def work(queue, clock, type="mail", *, waits=0.0, runs=0.0, fails=False, tenant="", **values):
    """A job that waits and runs for so many seconds, and then ends."""
    job = queue.enqueue(NewJob(type, tenant=tenant, **values))
    clock.tick(waits)
    claim = queue.acquire([type], tenants=[tenant])
    assert claim is not None
    clock.tick(runs)
    if fails:
        queue.fail(claim, "no")
    else:
        queue.succeed(claim)
    return job


def test_what_ended_in_each_minute(queue, clock):
    begin = clock().replace(second=0, microsecond=0) + timedelta(minutes=1)
    clock.set(begin)
    for waits, runs in ((0.1, 1), (0.2, 2), (0.3, 3)):
        work(queue, clock, waits=waits, runs=runs)
    clock.tick(60)
    work(queue, clock, waits=0.4, runs=4, fails=True)
    work(queue, clock, "other", runs=50)
    work(queue, clock, tenant="acme", runs=50)
    queue.cancel(queue.enqueue(NewJob("mail")).id)
    queue.enqueue(NewJob("mail"))
    found = queue.figures("mail", 5, tenant="")
    last = clock().replace(second=0, microsecond=0)
    assert [each.at for each in found.minutes] == [last - timedelta(minutes=4 - n) for n in range(5)]
    assert [(each.completed, each.failed) for each in found.minutes if each.completed or each.failed] == [
        (3, 0),
        (0, 1),
        (0, 1),
    ]
    assert found.minutes[2] == Minute(begin, 3, 0)
    assert found.wait == Quantiles(200, 400)
    assert found.run == Quantiles(2000, 4000)
    assert found.sampled == 5
    nothing = queue.figures("nowhere", 2, tenant="")
    assert [(each.completed, each.failed) for each in nothing.minutes] == [(0, 0)] * 2
    assert (nothing.wait, nothing.run, nothing.sampled) == (NOTHING, NOTHING, 0)
    (minute,) = queue.figures("mail", 1, tenant="acme").minutes
    assert (minute.completed, minute.failed) == (1, 0)


def test_what_jobs_waited_for(queue, clock):
    """A job that was not to start yet has not waited; one that was tried twice tells only how long it ran."""
    queue.enqueue(NewJob("mail", start_after=clock() + timedelta(seconds=10)))
    clock.tick(12)
    queue.succeed(queue.acquire(["mail"]))
    assert queue.figures("mail", 1, tenant="").wait == Quantiles(2000, 2000)
    queue.enqueue(NewJob("twice", max_attempts=2))
    queue.fail(queue.acquire(["twice"]), "no")
    clock.tick(7)
    claim = queue.acquire(["twice"])
    clock.tick(3)
    queue.succeed(claim)
    found = queue.figures("twice", 1, tenant="")
    assert (found.wait, found.run, found.sampled) == (NOTHING, Quantiles(3000, 3000), 1)


def test_the_newest_are_looked_at(queue, clock, monkeypatch):
    monkeypatch.setattr(figures, "SAMPLE", 3)
    for runs in (9, 1, 2, 3):
        work(queue, clock, runs=runs)
    found = queue.figures("mail", 60, tenant="")
    assert (found.sampled, found.run) == (3, Quantiles(2000, 3000))
    # within one second there is no choosing by the clock: the newest by their numbers
    queue.enqueue_many([NewJob("burst")] * 5)
    for claim in queue.acquire(["burst"], 5):
        queue.succeed(claim)
    assert queue.figures("burst", 60, tenant="").sampled == 3


def test_what_ended_lately_by_queue(queue, clock):
    work(queue, clock, runs=1)
    clock.tick(61)
    work(queue, clock, runs=2)
    work(queue, clock, "thumb", waits=1, runs=3, fails=True)
    work(queue, clock, "thumb", tenant="acme")
    found = queue.recent(tenant="")
    assert set(found) == {"mail", "thumb"}
    assert (found["mail"].completed, found["mail"].failed, found["mail"].run) == (1, 0, Quantiles(2000, 2000))
    assert (found["thumb"].completed, found["thumb"].failed, found["thumb"].wait) == (0, 1, Quantiles(1000, 1000))
    assert queue.recent(tenant="nobody") == {}


def test_what_was_deleted_is_not_counted(queue, clock):
    queue.delete(Job, work(queue, clock).id)
    assert queue.figures("mail", 1, tenant="").sampled == 0
    assert queue.recent(tenant="") == {}
    (job,) = queue.select(Job, Select(deleted=True))
    assert job.status is JobStatus.SUCCESSFUL


def test_what_took_long_is_told_again(queue, clock, monkeypatch):
    """For a moment; not inside a transaction, where what was done in it must be seen."""
    monkeypatch.setattr(counts, "SLOW", -1.0)
    assert (queue.figures("mail", 1, tenant="").sampled, len(queue.recent(tenant=""))) == (0, 0)
    work(queue, clock)
    assert (queue.figures("mail", 1, tenant="").sampled, len(queue.recent(tenant=""))) == (0, 0)
    assert queue.figures("mail", 2, tenant="").sampled == 1
    with queue.transaction() as (inner, _):
        assert (inner.figures("mail", 1, tenant="").sampled, len(inner.recent(tenant=""))) == (1, 1)


def test_quantiles_are_ranks():
    assert quantiles([]) == NOTHING
    assert quantiles([None, 3.0]) == Quantiles(3, 3)
    assert quantiles([float(n) for n in range(1, 101)]) == Quantiles(50, 95)
    assert quantiles([2.0, 1.0]) == Quantiles(1, 2)
