"""A source that serves tenants in turn, and leaves slots to others."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gnj.queue.ends import Outcome
from gnj.queue.model import Job, NewJob
from gnj.queue.service import Queue
from gnj.queue.states import JobStatus
from gnj.storage.memory import MemoryStorage
from gnj.testing import FakeClock
from gnj.worker.turns import TurnSource


@pytest.fixture
def queue() -> Queue:
    return Queue(MemoryStorage(), lease=60.0)


def add(queue: Queue, **numbers: int) -> None:
    for tenant, number in numbers.items():
        for _ in range(number):
            queue.enqueue(NewJob("call", tenant=tenant))


def tenants(jobs: list[Job]) -> list[str]:
    return [job.tenant for job in jobs]


def test_without_a_share_slots_that_are_free_are_used(queue: Queue):
    add(queue, acme=5, zen=1)
    assert tenants(TurnSource(queue).claim(["call"], 4)) == ["acme", "zen", "acme", "acme"]


def test_a_tenant_has_its_share_at_most(queue: Queue):
    add(queue, acme=5, zen=1)
    source = TurnSource(queue, share=2)
    assert tenants(source.claim(["call"], 4)) == ["acme", "zen", "acme"]
    assert source.claim(["call"], 1) == []
    add(queue, bolt=3)
    assert tenants(source.claim(["call"], 4)) == ["bolt", "bolt"]
    assert tenants(TurnSource(queue, share=2).claim(["call"], 1)) == ["acme"]  # another source has its own shares


def test_what_is_due_is_claimed_beside_a_tenant_that_has_its_share():
    clock = FakeClock()
    queue = Queue(MemoryStorage(clock), lease=60.0)
    add(queue, acme=2)
    source = TurnSource(queue, share=1)
    assert tenants(source.claim(["call"], 3)) == ["acme"]
    queue.enqueue(NewJob("call", tenant="zen", start_after=clock() + timedelta(seconds=5)))
    assert source.claim(["call"], 3) == []
    clock.tick(10)
    assert tenants(source.claim(["call"], 3)) == ["zen"]


@pytest.mark.parametrize("status", [JobStatus.SUCCESSFUL, JobStatus.FAILED, JobStatus.QUEUED])
def test_what_ended_is_not_held_and_others_are_looked_for_at_once(queue: Queue, status: JobStatus):
    add(queue, acme=4, zen=2)
    source = TurnSource(queue, share=2)
    first = source.claim(["call"], 3)
    seen = source.rings
    (zen,) = (job for job in first if job.tenant == "zen")
    source.settle([Outcome(zen, JobStatus.SUCCESSFUL)])
    assert source.rings == seen  # it had no share that kept it waiting
    acme = next(job for job in first if job.tenant == "acme")
    source.settle([Outcome(acme, status)])
    assert source.rings > seen
    assert sorted(tenants(source.claim(["call"], 4))) == ["acme", "zen"]


def test_what_is_given_back_is_not_held(queue: Queue):
    add(queue, acme=3)
    source = TurnSource(queue, share=1)
    (job,) = source.claim(["call"], 2)
    assert source.claim(["call"], 2) == []
    source.release([job])
    assert len(source.claim(["call"], 2)) == 1


def test_a_claim_that_nobody_tells_of_is_held_until_its_lease_ends(queue: Queue, monkeypatch):
    now = 0.0
    monkeypatch.setattr("gnj.worker.turns.time.monotonic", lambda: now)
    add(queue, acme=3)
    source = TurnSource(queue, lease=30, share=1)
    (job,) = source.claim(["call"], 1)
    now = 29.0
    assert source.renew([job]) != [None]
    now = 58.0
    assert source.claim(["call"], 1) == []
    now = 60.0
    assert len(source.claim(["call"], 1)) == 1
    # renewed while it ended: it is not held again
    source.settle([Outcome(job, JobStatus.SUCCESSFUL)])
    source._shares.renew([job])  # type: ignore[union-attr]
    assert source._shares.full() == {"acme"}  # type: ignore[union-attr]
    assert len(source._shares._claims) == 1  # type: ignore[union-attr]


def test_what_is_due_is_claimed_also_where_nothing_is_ready(queue: Queue):
    add(queue, acme=1)
    source = TurnSource(queue, share=1)
    (job,) = source.claim(["call"], 1)
    source.settle([Outcome(job, JobStatus.QUEUED, delay=0)])
    assert tenants(source.claim(["call"], 1)) == ["acme"]
    assert source.claim(["call"], 1) == []
