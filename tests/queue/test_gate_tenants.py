"""Limited queues of many tenants: who is kept keeps nobody else, and those without jobs cost nothing."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from gnj.queue.limits import LimitValues, Rate
from gnj.queue.service import Queue
from gnj.queue.states import JobStatus
from gnj.queue.storage import Storage


@pytest.fixture
def add(storage):
    """Stores so many jobs of type "a" of a tenant; their ids."""

    def added(tenant, count=1, *, keys=(None,), type="a", **values):
        rows = [
            {"type": type, "tenant": tenant, "limit_key": keys[n % len(keys)], "status": JobStatus.QUEUED, **values}
            for n in range(count)
        ]
        return [job.id for job, _ in storage.insert_jobs(rows)]

    return added


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Little is looked at, so that few jobs are many."""
    monkeypatch.setattr("gnj.queue.admission.NEAR", 2)
    monkeypatch.setattr("gnj.queue.admission.FAR", 5)
    monkeypatch.setattr("gnj.queue.admission.LOOKED_UP", 3)
    monkeypatch.setattr("gnj.queue.admission._FIRST", 2)


@pytest.fixture
def calls(storage, monkeypatch):
    """How often a verb of the storage was called, outside of transactions."""
    found: Counter[str] = Counter()

    def watch(name):
        call = getattr(storage, name)

        def counted(*given, **named):
            found[name] += 1
            return call(*given, **named)

        monkeypatch.setattr(storage, name, counted)

    for name in ("tenants", "lane", "begin", "promote", "claim"):
        watch(name)
    return found


def ids(jobs):
    return [job.id for job in jobs]


def limit(queue, tenant="", **values):
    queue.set_limits("a", LimitValues(**values), tenant=tenant)


@pytest.mark.usefixtures("on_every_storage")
@pytest.mark.parametrize("kept", ["held", "full", "slow", "groups"])
def test_who_is_kept_keeps_nobody_else(queue, add, kept):
    """However many jobs stand before those of the others."""
    limit(queue, concurrency=100)
    keys: list[str | None] = [None]
    if kept == "held":
        queue.hold("a", tenant="big")
    elif kept == "full":
        limit(queue, "big", concurrency=1)
    elif kept == "slow":
        limit(queue, "big", limiter=Rate(1, 60_000))
    else:
        limit(queue, "big", group_concurrency=1)
        keys = ["k"]
    first = add("big", 40, keys=keys)
    one, two = add("small"), add("other", 2)
    claimed = [] if kept == "held" else [queue.acquire(["a"]).id]
    assert claimed == first[: len(claimed)]
    assert {queue.acquire(["a"]).id for _ in range(3)} == {*one, *two}
    assert queue.acquire(["a"]) is None
    more = add("small", 9)
    assert ids(queue.acquire(["a"], 99)) == more


@pytest.mark.usefixtures("on_every_storage")
def test_more_tenants_are_kept_than_are_looked_at(queue, add):
    """Those that have room come by and by."""
    limit(queue, concurrency=100)
    for n in range(10):
        limit(queue, f"t{n}", concurrency=1)
        add(f"t{n}", 9)
    add("held", 9)
    queue.hold("a", tenant="held")
    assert len([queue.acquire(["a"]) for _ in range(20)]) == 20
    free = add("t55", 3)
    found = [queue.acquire(["a"], 9) for _ in range(10)]
    assert sorted(job.id for jobs in found for job in jobs) == free


@pytest.mark.usefixtures("on_every_storage")
def test_groups_of_several_tenants_come_by_and_by(queue, add):
    """Each tenant's from where it was left."""
    limit(queue, concurrency=1_000)
    for tenant in ("x", "y"):
        limit(queue, tenant, group_concurrency=1)
        add(tenant, 30, keys=["hot"])
    mine = {tenant: add(tenant, 10, keys=[f"k{n}" for n in range(10)]) for tenant in ("x", "y")}
    claimed = [job.id for _ in range(60) for job in queue.acquire(["a"], 1)]
    assert len(claimed) == len(set(claimed)) == 22
    assert {*mine["x"], *mine["y"]} < set(claimed)


def test_tenants_without_jobs_are_not_asked_for(queue, add, calls):
    """However many have limits, a claim that finds nothing of theirs costs the same."""

    def spent(tenants):
        for n in tenants:
            limit(queue, f"t{n}", concurrency=1)
        queue.acquire(["a"], 9)
        calls.clear()
        assert queue.acquire(["a"], 9) == []
        return dict(calls)

    few, many = spent(range(10)), spent(range(10, 300))
    assert few == many
    assert few["tenants"] <= 4
    add("free", 2)
    calls.clear()
    assert len(queue.acquire(["a"], 9)) == 2
    assert calls["begin"] <= 12


@pytest.mark.usefixtures("on_every_storage")
@pytest.mark.parametrize("limited", [2, 7])
def test_tenants_take_turns(queue, add, limited):
    """Those with limits among each other, and with all of those that have none."""
    for n in range(limited):
        limit(queue, f"t{n}", concurrency=50)
        add(f"t{n}", 20)
    free = set(add("free", 40))
    claimed = [queue.acquire(["a"]) for _ in range(4 * limited)]
    assert len(free & set(ids(claimed))) == 2 * limited
    turns = [job.tenant for job in claimed if job.id not in free]
    assert Counter(turns) == {f"t{n}": 2 for n in range(limited)}
    assert all(a != b for a, b in pairwise(turns))


@pytest.mark.usefixtures("on_every_storage")
def test_tenants_that_are_asked_for(queue, add):
    """Of many, and of few."""
    for n in range(8):
        limit(queue, f"t{n}", concurrency=1)
        add(f"t{n}", 2)
    add("free")
    assert [job.tenant for job in queue.acquire(["a"], 9, tenants=["t1"])] == ["t1"]
    found = queue.acquire(["a"], 9, tenants=["t1", "t2", "t3", "t4", "t5", "nobody"])
    assert {job.tenant for job in found} == {"t2", "t3", "t4", "t5"}
    assert {job.tenant for job in queue.acquire(["a"], 9)} == {"t0", "t6", "t7", "free"}


def test_what_is_due_is_found_at_once(queue, add, clock, monkeypatch):
    """Also where jobs were made ready a moment ago."""
    monkeypatch.setattr("gnj.queue.gate.PROMOTE_EVERY", 60.0)
    for n in range(5):
        limit(queue, f"t{n}", concurrency=1)
    (first,) = add("t3", due_at=clock())
    assert ids(queue.acquire(["a"], 9)) == [first]
    (second,) = add("t4", due_at=clock())
    assert ids(queue.acquire(["a"], 9)) == [second]
    assert queue.acquire(["a"], 9) == []


@pytest.mark.usefixtures("on_every_storage")
@pytest.mark.parametrize("tenants", [None, ["t"], ["t", "u"]])
def test_what_another_process_changes_is_learned_in_passing(queue, storage: Storage, add, tenants, monkeypatch):
    """Limits that were set, changed or taken away since they were looked up let nothing through, and keep nothing for long."""
    monkeypatch.setattr("gnj.queue.gate.LOOK_EVERY", 3_600.0)
    other = Queue(storage)
    limit(queue, "t", concurrency=1)
    add("t", 9)
    assert len(queue.acquire(["a"], 9, tenants=tenants)) == 1
    limit(other, concurrency=2)
    assert len(queue.acquire(["a"], 9, tenants=tenants)) == 0
    limit(other, "t", concurrency=5)
    assert len(queue.acquire(["a"], 9, tenants=tenants)) == 2
    other.set_limits("a", None, tenant="")
    # that there is none for all is learned by the first one, which then has what nobody limits
    assert sum(len(queue.acquire(["a"], 9, tenants=tenants)) for _ in range(2)) == 2
    limit(other, "u", concurrency=1)
    add("u", 3)
    assert len(queue.acquire(["a"], 9, tenants=tenants)) == 0
    queue._forget()
    assert len(queue.acquire(["a"], 9, tenants=tenants)) == (0 if tenants == ["t"] else 1)
    other.set_limits("a", None, tenant="t")
    assert len(queue.acquire(["a"], 9, tenants=tenants)) == 4
    other.set_limits("a", None, tenant="u")
    assert len(queue.acquire(["a"], 9, tenants=tenants)) == (0 if tenants == ["t"] else 2)


@pytest.mark.usefixtures("on_every_storage")
@pytest.mark.parametrize("jobs", [0, 3])
def test_limits_that_were_set_anew_are_others(queue, storage: Storage, add, jobs, monkeypatch):
    """What is thought to be the limit of a tenant, and is gone, lets none of its jobs through, and none of the others wait."""
    monkeypatch.setattr("gnj.queue.gate.LOOK_EVERY", 3_600.0)
    other = Queue(storage)
    limit(queue, concurrency=20)
    limit(queue, "t", concurrency=5)
    mine = add("t", 9)
    others = add("u", jobs)
    other.set_limits("a", None, tenant="t")
    limit(other, "t", concurrency=2)
    found = [job.id for _ in range(2) for job in queue.acquire(["a"], 9)]
    assert sorted(found) == sorted([*mine[:2], *others])
