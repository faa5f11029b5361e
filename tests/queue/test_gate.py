"""What a limited queue lets through: what, how much, when, and who is woken."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gnj.queue import claims
from gnj.queue.clock import system_clock
from gnj.queue.counting import Level
from gnj.queue.ends import Outcome
from gnj.queue.errors import StorageUnavailable
from gnj.queue.limits import KEEP, LimitValues, Rate
from gnj.queue.model import Grant, Job, Permit
from gnj.queue.policy import Policy
from gnj.queue.service import Queue
from gnj.queue.states import JobStatus
from gnj.queue.where import EVERYTHING, equal


@pytest.fixture
def add(storage):
    """Stores jobs of type "a" with the keys, or attributes, given."""

    def added(*keys, tenant="", type="a", **values):
        rows = [
            {"type": type, "tenant": tenant, "limit_key": key, "status": JobStatus.QUEUED, **values} for key in keys
        ]
        return [job.id for job, _ in storage.insert_jobs(rows)]

    return added


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr("gnj.queue.gate.LOOK_EVERY", 0.0)
    monkeypatch.setattr("gnj.queue.gate.PROMOTE_EVERY", 0.0)


@pytest.fixture
def opens(queue, monkeypatch):
    """The seconds after which the queue is to ring by itself, as it was told."""
    told: list[float] = []
    monkeypatch.setattr(queue.wake, "set_in", told.append)
    return told


def ids(jobs):
    return [job.id for job in jobs]


def limit(queue, tenant="", **values):
    return queue.set_limits("a", LimitValues(**values), tenant=tenant)


@pytest.mark.usefixtures("everywhere")
def test_no_more_run_than_may(queue, storage, add):
    limit(queue, concurrency=3)
    waiting = add(*[None] * 9)
    first = queue.acquire(["a"], 9, worker_id="w", worker_type="k", lease=7)
    assert ids(first) == waiting[:3]
    assert {(j.status, j.attempt, j.worker_id, j.worker_type, j.lease) for j in first} == {
        ("processing", 1, "w", "k", 7.0)
    }
    assert queue.acquire(["a"]) is None
    queue.succeed(first[1])
    assert queue.acquire(["a"]).id == waiting[3]
    queue.fail(first[0])
    queue.release([first[2]])
    assert ids(queue.acquire(["a"], 9)) == [waiting[2], waiting[4]]
    assert storage.count(Permit) == 3


@pytest.mark.usefixtures("everywhere")
def test_no_more_start_than_may(queue, storage, add, clock, opens):
    limit(queue, limiter=Rate(3, 1000))
    waiting = add(*[None] * 9)
    assert ids(queue.acquire(["a"], 2)) == waiting[:2]
    clock.tick(0.5)
    assert ids(queue.acquire(["a"], 9)) == waiting[2:3]
    opens.clear()
    assert queue.acquire(["a"]) is None
    assert 0.5 <= opens.pop() <= 0.52
    assert opens == []
    clock.tick(0.499)
    assert queue.acquire(["a"]) is None
    clock.tick(0.021)
    assert ids(queue.acquire(["a"], 9)) == waiting[3:5]
    clock.tick(0.52)
    assert ids(queue.acquire(["a"], 9)) == waiting[5:6]
    clock.tick(3600)
    assert ids(queue.acquire(["a"], 9)) == waiting[6:9]
    assert queue.acquire(["a"], 9) == []
    assert storage.count(Permit) == 0


def test_starts_that_count_no_more_are_removed(queue, storage, add, clock):
    limit(queue, limiter=Rate(1000, 100))
    for _ in range(120):
        add(None)
        assert queue.acquire(["a"])
        clock.tick(0.01)
    assert storage.count(Grant) <= 120 - 50
    queue._gates.sweeps.clear()
    clock.tick(10)
    add(None)
    queue.acquire(["a"])
    assert storage.count(Grant) == 1


@pytest.mark.usefixtures("everywhere")
def test_many_of_them_are_removed_one_sweep_after_the_other(queue, storage, add, clock, monkeypatch):
    """A thousand at a time, but not so often that claims would do little else."""
    monkeypatch.setattr("gnj.queue.gate.SHARE", 0)
    row = limit(queue, limiter=Rate(1000, 100))
    (other,) = storage.insert(Grant, [{"limit_id": row.id + 1, "key": "", "period": 5, "count": 1}])
    storage.insert(Grant, [{"limit_id": row.id, "key": f"={n}", "period": 5, "count": 1} for n in range(3_500)])
    add(*[None] * 9)
    left = []
    for _ in range(5):
        assert queue.acquire(["a"])
        left.append(storage.count(Grant, equal(Grant, period=5)) - 1)
    assert left == [2_500, 1_500, 500, 0, 0]
    assert storage.get(Grant, other.id)
    monkeypatch.setattr("gnj.queue.gate.SHARE", 10**9)
    storage.insert(Grant, [{"limit_id": row.id, "key": f"={n}", "period": 5, "count": 1} for n in range(2_500)])
    queue._gates.sweeps.clear()
    for _ in range(3):
        assert queue.acquire(["a"])
    assert storage.count(Grant, equal(Grant, period=5)) == 1_501


def test_starts_are_looked_up_of_as_many_groups_as_needed(queue, add, monkeypatch):
    limit(queue, group_limiter=Rate(1, 1000))
    add(*[f"k{n}" for n in range(1_000)])
    asked = []
    count = Level._count

    def counted(level, rates):
        asked.append(len(rates))
        count(level, rates)

    monkeypatch.setattr(Level, "_count", counted)
    assert queue.acquire(["a"])
    assert sum(asked) == 1
    for _ in range(9):
        assert queue.acquire(["a"])
    add(*[f"k{n % 10}" for n in range(30)], priority=9)
    asked.clear()
    assert queue.acquire(["a"])
    assert sum(asked) == 10 + 55


@pytest.mark.usefixtures("everywhere")
def test_both_rates_hold(queue, add, clock):
    limit(queue, limiter=Rate(3, 1000))
    queue.set_limits("a", KEEP, tenant="", worker=Rate(1, 100))
    add(*[None] * 9)
    starts = 0
    for _ in range(50):
        starts += len(queue.acquire(["a"], 9))
        clock.tick(0.02)
    assert starts == 3
    clock.tick(1)
    assert len(queue.acquire(["a"], 9)) == 1


@pytest.mark.usefixtures("everywhere")
def test_groups_are_apart(queue, add):
    limit(queue, concurrency=4, group_concurrency=1)
    x1, x2, none, y1, y2, z1 = add("x", "x", None, "y", "y", "z")
    first = queue.acquire(["a"], 9)
    assert ids(first) == [x1, none, y1, z1]
    assert queue.acquire(["a"]) is None
    queue.succeed(first[2])
    assert queue.acquire(["a"]).id == y2
    queue.succeed(first[0])
    assert queue.acquire(["a"]).id == x2


@pytest.mark.usefixtures("everywhere")
def test_starts_of_groups_are_apart(queue, add, clock, opens):
    limit(queue, group_limiter=Rate(1, 1000))
    x1, x2, y1, x3, y2, none, nothing = add("x", "x", "y", "x", "y", None, None)
    assert ids(queue.acquire(["a"], 9)) == [x1, y1, none, nothing]
    assert queue.acquire(["a"], 9) == []
    assert all(1 <= each <= 1.02 for each in opens)
    assert len(opens) == 2
    clock.tick(1.02)
    assert ids(queue.acquire(["a"], 9)) == [x2, y2]
    clock.tick(1.02)
    assert ids(queue.acquire(["a"], 9)) == [x3]


@pytest.mark.usefixtures("everywhere")
def test_a_full_group_keeps_nobody_behind_it(queue, storage, add, monkeypatch):
    monkeypatch.setattr("gnj.queue.admission.NEAR", 2)
    monkeypatch.setattr("gnj.queue.admission.FAR", 5)
    monkeypatch.setattr("gnj.queue.admission.LOOKED_UP", 2)
    limit(queue, group_concurrency=1)
    hot, near = add(*["hot"] * 5), add("b", None)
    assert ids(queue.acquire(["a"], 1)) == hot[:1]
    assert ids(queue.acquire(["a"], 1)) == near[:1]
    assert ids(queue.acquire(["a"], 1)) == near[1:]
    add(*["hot"] * 25)
    far = add("c", "d", "e", "f", "g", "c")
    assert ids(queue.acquire(["a"], 1)) == far[:1]
    assert ids(queue.acquire(["a"], 9)) == far[1:3]
    assert ids(queue.acquire(["a"], 9)) == far[3:5]
    assert queue.acquire(["a"], 9) == []
    assert queue.acquire(["a"], 9) == []


@pytest.mark.usefixtures("everywhere")
def test_the_order_is_that_of_claims(queue, add, clock):
    limit(queue, concurrency=9)
    low = add(None, priority=-1)
    due = add(None, priority=9, due_at=clock())
    plain = add(None, None)
    high = add(None, priority=7)
    lifo = add(None, position=-5)
    clock.tick(1)
    assert ids(queue.acquire(["a"], 9)) == due + high + lifo + plain + low


@pytest.mark.usefixtures("everywhere")
def test_what_is_not_free_is_passed_by(queue, add, clock):
    limit(queue, concurrency=9)
    add(None, status=JobStatus.PLANNED)
    add(None, due_at=clock() + timedelta(seconds=1))
    (cancelled, deleted, free) = add(None, None, None)
    queue.cancel(cancelled)
    queue.delete(Job, deleted)
    assert ids(queue.acquire(["a"], 9)) == [free]


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("type, tenant", [("a", ""), ("all", ""), ("a", "t"), ("all", "t")])
def test_holds_hold(queue, add, type, tenant):
    limit(queue, tenant="t", concurrency=9)
    add(None, tenant="t")
    queue.hold(type, tenant=tenant)
    assert queue.acquire(["a"], 9) == queue.acquire(["a"], 9, tenants=["t"]) == []
    queue.release_hold(type, tenant=tenant)
    assert len(queue.acquire(["a"], 9)) == 1


@pytest.mark.usefixtures("everywhere")
def test_limits_of_a_tenant_are_nobody_elses(queue, add):
    limit(queue, tenant="t", concurrency=1)
    mine, others, hosts = add(None, None, tenant="t"), add(None, None, tenant="u"), add(None)
    assert ids(queue.acquire(["a"], 9, tenants=["u"])) == others
    assert ids(queue.acquire(["a"], 9, tenants=["t"])) == mine[:1]
    assert queue.acquire(["a"], 9, tenants=["t"]) == []
    assert ids(queue.acquire(["a"], 9)) == hosts
    assert queue.acquire(["a"], tenants=["t", "u"]) is None


@pytest.mark.usefixtures("everywhere")
def test_limits_of_the_host_count_all_tenants(queue, add):
    limit(queue, concurrency=3)
    limit(queue, tenant="t", concurrency=1)
    t1, t2 = add(None, None, tenant="t")
    u1, u2, u3 = add(None, None, None, tenant="u")
    queue.hold("a", tenant="v")
    add(None, tenant="v", priority=9)
    first = queue.acquire(["a"], 9)
    assert ids(first) == [t1, u1, u2]
    assert queue.acquire(["a"], 9) == queue.acquire(["a"], 9, tenants=["t"]) == []
    queue.succeed(first[1])
    assert queue.acquire(["a"], 9, tenants=["t"]) == []
    assert ids(queue.acquire(["a"], 9, tenants=["t", "u"])) == [u3]
    queue.succeed(first[0])
    assert ids(queue.acquire(["a"], 9, tenants=["t"])) == [t2]


def test_many_tenants_with_limits(queue, add):
    for tenant in "tuvwx":
        limit(queue, tenant=tenant, concurrency=1)
    jobs = [add(None, None, tenant=tenant)[0] for tenant in "uwx"]
    (due,) = add(None, tenant="v", due_at=queue.storage.now())
    assert set(ids(queue.acquire(["a"], 9))) == {*jobs, due}


@pytest.mark.usefixtures("everywhere")
def test_a_lost_lease_frees_its_permit(queue, add, clock):
    limit(queue, concurrency=1)
    first, second = add(None, None)
    assert queue.acquire(["a"], lease=10).id == first
    clock.tick(9)
    queue.reap(force=True)
    assert queue.acquire(["a"]) is None
    clock.tick(2)
    assert queue.reap(force=True) == 1
    again = queue.acquire(["a"])
    assert (again.id, again.attempt) == (first, 2)
    assert queue.acquire(["a"]) is None
    del second


def test_limited_types_and_others_take_turns(queue, add):
    limit(queue, concurrency=100)
    limited, free = set(add(*[None] * 8)), set(add(*[None] * 8, type="b"))
    got = [queue.acquire(["a", "b"]).id for _ in range(8)]
    assert len(limited & set(got)) == len(free & set(got)) == 4
    assert len(queue.acquire(["a", "b"], 99)) == 8


def test_slots_bound_what_is_limited(queue, add):
    limit(queue, concurrency=100)
    limited, free = add(*[None] * 8), add(*[None] * 8, type="b")
    got = ids(queue.acquire(["a", "b"], 20, slots=3))
    assert set(got) == {*limited[:3], *free}
    assert queue.acquire(["a"], 20, slots=0) == []
    assert len(queue.acquire(["a"], 2, slots=50)) == 2


@pytest.mark.usefixtures("everywhere")
def test_one_job_or_many(queue, add):
    """All three ways to claim."""
    limit(queue, concurrency=3)
    add(*[None] * 9)
    assert queue.acquire(["a"]) is not None
    assert queue.acquire_later(["a"]).result() is not None
    assert len(queue.acquire(["a"], 9)) == 1
    assert queue.acquire(["a"]) is queue.acquire_later(["a"]).result() is None
    assert queue.acquire(["a"], policies={"a": Policy(timeout=3)}) is None


def test_policies_fill_what_is_claimed(storage, add):
    queue = Queue(storage, policies={"a": Policy(max_attempts=4)})
    limit(queue, concurrency=3)
    add(None, None)
    (first,), (second,) = queue.acquire(["a"], 1), queue.acquire(["a"], 1, policies={"a": Policy(timeout=3)})
    assert (first.max_attempts, second.timeout) == (4, 3)


def test_a_transaction_of_the_callers_passes_them_by(queue, add):
    limit(queue, concurrency=3)
    add(None)
    (free,) = add(None, type="b")
    with queue.transaction() as (inner, _):
        assert inner.acquire(["a"]) is None
        assert ids(inner.acquire(["a", "b"], 5)) == [free]
    assert queue.acquire(["a"]) is not None


def test_a_choice_passes_them_by(queue, add):
    limit(queue, concurrency=1)
    add(None)
    (free,) = add(None, type="b")
    asked: dict[str, Any] = {"where": EVERYTHING, "order": (), "lease": 9.0, "who": {}, "tenant": "", "policies": {}}
    assert queue.run(lambda unit: claims.choose(unit, ["a", "b"], **asked)).id == free
    assert queue.run(lambda unit: claims.choose(unit, ["a", "b"], **asked)) is None


def test_whoever_waits_is_woken_by_an_end(queue, add):
    limit(queue, concurrency=9)
    add(*[None] * 9)
    claims = queue.acquire(["a"], 9)

    def rings(end):
        before = queue.wake.rings
        end(claims.pop())
        return queue.wake.rings > before

    assert rings(queue.succeed)
    assert rings(queue.fail)
    assert rings(lambda job: queue.cancelled(job, "no"))
    assert rings(lambda job: queue.finish([Outcome(job, JobStatus.SUCCESSFUL)]))
    assert rings(lambda job: queue.update_job(job.id, {"status": "successful"}, attempt=job.attempt))
    assert rings(lambda job: queue.update_job(job.id, {"status": "failed"}, attempt=job.attempt))
    assert rings(lambda job: queue.snooze(job.id, job.attempt, 50))
    assert rings(lambda job: queue.give_back([job]))
    assert not rings(queue.heartbeat)


def test_an_end_wakes_nobody_where_nothing_is_limited(queue, add):
    add(None, type="b")
    limit(queue, concurrency=9)
    job = queue.acquire(["b"])
    before = queue.wake.rings
    queue.finish([Outcome(job, JobStatus.SUCCESSFUL)])
    assert queue.wake.rings == before


def test_a_rate_rings_when_it_opens(queue, storage, add):
    storage.clock = system_clock
    limit(queue, limiter=Rate(1, 100))
    add(None, None)
    assert queue.acquire(["a"])
    seen = queue.wake.rings
    assert queue.acquire(["a"]) is None
    assert queue.wake.wait(seen, 10.0) > seen
    assert queue.acquire(["a"]) is not None


def test_what_was_claimed_is_not_lost_to_an_error(queue, storage, add, monkeypatch):
    limit(queue, concurrency=9)
    (free,) = add(None, type="b")
    add(None)

    def broken(*_, **__):
        raise StorageUnavailable

    monkeypatch.setattr(queue, "_pass", broken)
    queue._gates.turns = iter([0, 0])
    assert ids(queue.acquire(["b", "a"], 9)) == [free]
    with pytest.raises(StorageUnavailable):
        queue.acquire(["a"], 9)
    monkeypatch.setattr(storage, "find", broken)
    queue._gates.limited = {}
    assert queue.acquire(["b"], 9) == []


def test_more_than_enough_permits_are_not_looked_at(queue, storage, add, monkeypatch):
    monkeypatch.setattr("gnj.queue.counting.TRUSTED", 2)
    limit(queue, concurrency=5)
    add(*[None] * 20)
    first = queue.acquire(["a"], 2)
    queue.succeed(first[0])
    assert len(queue.acquire(["a"], 9)) == 3
    assert storage.count(Permit) == 5
    assert len(queue.acquire(["a"], 9)) == 1
    assert storage.count(Permit) == 5
    assert queue.acquire(["a"]) is None
