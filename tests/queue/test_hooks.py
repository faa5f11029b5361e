"""Hooks: what they are told, when, and by whom."""

from __future__ import annotations

import asyncio
import logging
import threading
from datetime import timedelta
from typing import Any

import pytest

import gnj
from gnj.queue.errors import InvalidInput
from gnj.queue.events import NAMES, Event
from gnj.queue.model import Hook, Job
from gnj.queue.service import Queue
from gnj.storage.memory import MemoryStorage
from gnj.testing import drain

everywhere = pytest.mark.usefixtures("everywhere")


def claim(jobs) -> Job:
    """The first job of the type "mail", claimed."""
    claimed: Job | None = jobs.queue.acquire(["mail"])
    assert claimed is not None
    return claimed


@pytest.fixture
def jobs(storage):
    """An application on the storage under test."""
    with gnj.GNJ(storage) as jobs:
        yield jobs


@pytest.fixture
def told(jobs):
    """What hooks of this process were told so far: names, statuses before and after."""
    events: list[Event] = []
    jobs.on(*NAMES)(events.append)

    def told():
        assert jobs.queue.hooks.flush(10)
        seen = [(event.name, event.previous, event.job.status) for event in events]
        events.clear()
        return seen

    return told


def test_the_life_of_a_job(jobs, told):
    @jobs.handler("mail", max_attempts=2)
    def mail(job, ctx):
        ctx.progress({"percent": 50 * job.attempt})
        if job.attempt == 1:
            raise ValueError("no")

    job = jobs.enqueue("mail")
    assert told() == [("created", None, "queued")]
    drain(jobs)
    assert told() == [
        ("started", "queued", "processing"),
        ("progressed", "processing", "processing"),
        ("retrying", "processing", "queued"),
        ("started", "queued", "processing"),
        ("progressed", "processing", "processing"),
        ("succeeded", "processing", "successful"),
    ]
    jobs.delete(job.id)
    assert told() == [("deleted", "successful", "successful")]


def test_failing_recovering_retrying_cancelling(jobs, told):
    job = jobs.enqueue("mail", recoverable=True)
    jobs.queue.fail(claim(jobs), "no")
    assert told()[-1] == ("failed", "processing", "failed")
    jobs.recover(job.id)
    assert told() == [("recovered", "failed", "queued")]
    jobs.cancel(job.id)
    assert told() == [("cancelled", "queued", "cancelled")]
    jobs.retry(job.id)
    assert told() == [("created", None, "queued")]
    held = claim(jobs)
    jobs.cancel(held.id)
    jobs.queue.cancelled(held, "bye")
    assert told() == [("started", "queued", "processing"), ("cancelled", "cancel-requested", "cancelled")]


def test_a_lost_lease_is_a_try_that_is_followed_by_another(jobs, told, clock):
    jobs.queue.enqueue(gnj.NewJob("mail", max_stalled=2))
    jobs.queue.acquire(["mail"], lease=1)
    clock.tick(2)
    jobs.queue.reap(force=True)
    assert told()[-1] == ("retrying", "processing", "queued")
    jobs.queue.acquire(["mail"], lease=1)
    clock.tick(2)
    jobs.queue.reap(force=True)
    assert told()[-1] == ("failed", "processing", "failed")


def test_what_is_no_event(jobs, told):
    """A release, a snooze, a plain edit, a heartbeat, a planned job that is queued, a repeated unique id."""
    job = jobs.enqueue("mail", unique_id="u")
    held = claim(jobs)
    told()
    jobs.queue.heartbeat(held)
    jobs.queue.update_job(job.id, {"name": "x"})
    jobs.queue.release([held])
    jobs.enqueue("mail", unique_id="u")
    with jobs.pipeline("p") as p:
        p.add("scan")
    assert told() == [("created", None, "planned")]


def test_telling_the_same_end_again_is_told_once(jobs, told):
    jobs.enqueue("mail")
    held = claim(jobs)
    told()
    jobs.queue.succeed(held, {"a": 1})
    jobs.queue.succeed(held, {"a": 1})
    assert told() == [("succeeded", "processing", "successful")]


def test_nothing_is_told_before_the_commit_nor_of_what_is_rolled_back(storage):
    queue, events = Queue(storage), list[Event]()
    queue.hooks.add(NAMES, events.append)

    def command(unit):
        unit.tell("created", unit.tx.insert_jobs([{"type": "mail"}])[0][0], None)
        assert queue.hooks.flush(5)
        assert events == []
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        queue.run(command)
    assert queue.hooks.flush(5)
    assert events == []


def test_a_hook_that_fails_is_logged_and_the_next_one_called(jobs, caplog):
    seen: list[Any] = []

    @jobs.on("created")
    def broken(event):
        raise ValueError("broken")

    jobs.on("created")(seen.append)
    with caplog.at_level(logging.ERROR, "gnj.hooks"):
        job = jobs.enqueue("mail")
        assert jobs.queue.hooks.flush(10)
    assert [event.job for event in seen] == [job]
    assert [event.at for event in seen] == [job.created_at]
    assert "created failed for job" in caplog.text
    assert "ValueError: broken" in caplog.text


def test_an_async_hook_and_on_job_fail():
    seen: list[Any] = []

    async def on_job_fail(job):
        await asyncio.sleep(0)
        seen.append(job)

    with gnj.GNJ("memory://", on_job_fail=on_job_fail) as jobs:
        jobs.enqueue("mail")
        failed = jobs.queue.fail(claim(jobs), "no")
    assert seen == [failed]


def test_a_slow_hook_keeps_nobody_waiting(jobs):
    begun, go = threading.Event(), threading.Event()

    @jobs.on("created")
    def slow(event):
        begun.set()
        assert go.wait(30)

    jobs.enqueue("mail")
    assert begun.wait(30)
    assert jobs.enqueue("mail").id  # while the first hook still runs
    assert not jobs.queue.hooks.flush(0)
    go.set()
    assert jobs.queue.hooks.flush(30)


@pytest.mark.parametrize("names", [(), ("fail",), ("failed", "Failed"), (None,)])
@pytest.mark.parametrize("durable", [False, True])
def test_unknown_events_are_refused(jobs, names, durable):
    with pytest.raises(InvalidInput, match="created, started, progressed"):
        jobs.on(*names, durable=durable)(print)


# Durable ones


def alert_of(storage, seen, **options):
    jobs = gnj.GNJ(storage, **options)

    @jobs.on("failed", "cancelled", durable=True)
    def alert(event):
        seen.append((event.name, event.job.id, event.previous, event.at))

    return jobs


@everywhere
def test_a_durable_hook_is_told_by_whoever_has_it(storage):
    """Of changes of a process that does not: as a job, created with the change, also of another tenant's."""
    seen: list[Any] = []
    worker = alert_of(storage, seen)
    _ = worker.queue
    other = gnj.GNJ(storage)
    job = other.enqueue("mail", tenant="t")
    assert other.count(type="hook:alert") == 0
    failed = other.queue.fail(claim(other), "no")
    (hook,) = other.list(type="hook:alert")
    assert (hook.tenant, hook.name, hook.status) == ("t", "failed", "queued")
    assert hook.input["job"]["id"] == job.id
    drain(worker)
    assert seen == [("failed", job.id, "processing", failed.updated_at)]
    assert worker.get(hook.id).status == "successful"


@everywhere
def test_a_durable_hook_that_fails_is_tried_again(storage, clock):
    jobs, tries = gnj.GNJ(storage), list[Any]()

    @jobs.on("deleted", durable=True, name="audit")
    def broken(event):
        tries.append(event.job.deleted_at)
        if len(tries) < 3:
            raise ValueError("not yet")

    _ = jobs.queue
    jobs.delete(jobs.enqueue("mail").id)
    for _ in range(4):
        drain(jobs)
        clock.tick(3600)
    assert len(tries) == 3
    assert tries[0] is not None
    (hook,) = jobs.list(type="hook:audit")
    assert hook.failures == 2


def test_the_job_and_its_hook_are_one_transaction(storage):
    seen: list[Any] = []
    jobs = alert_of(storage, seen)
    job = jobs.enqueue("mail")

    def command(unit):
        from gnj.queue import jobs as verbs

        verbs.cancel(unit, None, job.id)
        unit.close()
        raise RuntimeError("the process dies")

    with pytest.raises(RuntimeError):
        jobs.queue.run(command)
    assert jobs.get(job.id).status == "queued"
    assert jobs.count(type="hook:alert") == 0


def test_a_hook_is_not_told_of_hooks(storage):
    jobs = gnj.GNJ(storage)
    jobs.on("created", "succeeded", durable=True)(lambda event: None)
    (type,) = jobs.handlers.types
    _ = jobs.queue
    jobs.enqueue("mail")
    drain(jobs)
    assert jobs.count(type=type) == 1


def test_two_durable_hooks_of_one_name_are_refused(storage):
    jobs = alert_of(storage, [])
    with pytest.raises(InvalidInput, match="a durable hook 'alert' already"):
        jobs.on("created", durable=True, name="alert")(print)


def test_an_async_durable_hook(storage):
    jobs, seen = gnj.GNJ(storage), list[Job]()

    @jobs.on("created", durable=True)
    async def audit(event):
        await asyncio.sleep(0)
        seen.append(event.job)

    _ = jobs.queue
    job = jobs.enqueue("mail")
    drain(jobs)
    assert seen == [job]


def test_a_durable_hook_that_nobody_has_any_more_is_forgotten(storage, clock):
    seen: list[Any] = []
    _ = alert_of(storage, seen).queue
    clock.tick(7 * 86_400 + 1)
    later = gnj.GNJ(storage)
    later.cancel(later.enqueue("mail").id)
    assert later.count(type="hook:alert") == 0


def test_a_durable_hook_is_renewed_and_wants_what_any_version_of_it_wants(storage, clock):
    _ = alert_of(storage, []).queue
    clock.tick(2 * 86_400)
    newer = gnj.GNJ(storage)
    newer.on("created", durable=True, name="alert")(print)
    _ = newer.queue
    (row,) = storage.find(Hook)
    assert row.wants == ["cancelled", "created", "failed"]
    assert (row.expires_at - clock()).days == 7
    older = alert_of(storage, [])
    older.enqueue("mail")
    assert older.count(type="hook:alert") == 1
    drain(older)  # it is told of what only the newer one wants, and passes over it
    assert older.list(type="hook:alert")[0].status == "successful"


def test_a_hook_is_told_of_the_job_as_it_was(clock):
    """Though it went on, and even when it is no longer there."""
    seen: list[Event] = []
    jobs = gnj.GNJ(MemoryStorage(clock))
    jobs.on("cancelled", durable=True, name="alert")(seen.append)
    job = jobs.enqueue("mail", {"to": ["ä", 1.0]}, start_after=timedelta(hours=1), timeout=1.5, unique_id="u")
    cancelled = jobs.cancel(job.id)
    clock.tick(86_400)
    assert jobs.prune(3600) == 1
    drain(jobs)
    assert [event.job for event in seen] == [cancelled]


@everywhere
def test_bulk_ends_enqueue_a_hook_each(storage):
    jobs = gnj.GNJ(storage)
    jobs.on("succeeded", durable=True, name="each")(lambda event: None)
    jobs.enqueue_many(gnj.NewJob("mail", {"n": n}) for n in range(50))
    claims = jobs.queue.acquire(["mail"], 50)
    jobs.queue.settle([gnj.queue.ends.Outcome(claim, gnj.JobStatus.SUCCESSFUL) for claim in claims])
    assert {hook.input["job"]["id"] for hook in jobs.list(type="hook:each")} == {claim.id for claim in claims}
    assert storage.count(Job) == 100


def test_what_is_too_large_is_left_out_of_what_a_durable_hook_is_told(storage):
    jobs, seen = gnj.GNJ(storage), list[Event]()
    jobs.on("created", durable=True, name="later")(seen.append)
    jobs.enqueue("mail", {"large": "x" * 100_000}, name="n")
    drain(jobs)
    assert [(event.job.input, event.job.name) for event in seen] == [(None, "n")]


def test_the_tenant_of_an_event_is_that_of_its_job(storage):
    jobs, seen = gnj.GNJ(storage), list[Event]()
    jobs.on("created", durable=True, name="later")(seen.append)
    jobs.enqueue("mail", tenant="t")
    (hook,) = jobs.list(type="hook:later")
    jobs.queue.update_job(hook.id, {"input": {**hook.input, "job": {**hook.input["job"], "tenant": "victim"}}})
    drain(jobs)
    assert [event.job.tenant for event in seen] == ["t"]


def test_a_name_that_is_too_long_registers_nothing(jobs):
    with pytest.raises(InvalidInput, match="the type of a hook"):
        jobs.on("created", durable=True, name="n" * 198)(print)
    jobs.enqueue("mail")
    assert jobs.count() == 1


def test_an_idle_worker_keeps_its_hooks_known(storage, clock, monkeypatch):
    """Also one that was registered after the queue was first used."""
    monkeypatch.setattr("gnj.queue.events._RENEW", 0.0)
    jobs = gnj.GNJ(storage)
    _ = jobs.queue
    jobs.on("created", durable=True, name="later")(print)
    assert jobs.queue.acquire(["nothing"]) is None
    assert [hook.name for hook in storage.find(Hook)] == ["later"]
    clock.tick(3 * 86_400)
    jobs.hooks._looked = float("-inf")
    jobs.queue.reap(force=True)
    assert (storage.find(Hook)[0].expires_at - clock()).days == 7


def test_ratings_do_not_count_hooks(storage):
    from gnj.queue.ratings import job_ratings

    jobs = gnj.GNJ(storage)
    jobs.on("failed", durable=True, name="later")(lambda event: None)
    jobs.enqueue("mail")
    jobs.queue.fail(claim(jobs), "no")
    drain(jobs, types=["hook:later"])
    with storage.begin(write=False) as tx:
        assert job_ratings(tx, "")[0].total_jobs == 1
