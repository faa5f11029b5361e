"""Jobs that are added in arrays: all or none, one for each `jobId`, one for each `deduplication` that holds."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from gnj.queue import adding
from gnj.queue.errors import Conflict, InvalidInput
from gnj.queue.model import DEFAULT_PRIORITY, Job, NewJob
from gnj.queue.states import JobStatus
from gnj.queue.storage import Select

pytestmark = pytest.mark.usefixtures("on_every_storage")
THREADS = 32


def job(name: str = "n", data: Any = 1, **opts: Any) -> dict[str, Any]:
    return {"name": name, "data": data, **({"opts": opts} if opts else {})}


@pytest.fixture
def add(queue):
    """Adds jobs to "mail": the name of each, and whether it is new."""

    def added(*jobs, tenant="", to="mail"):
        return [(job.name, new) for job, new in queue.add(to, jobs, tenant=tenant)]

    return added


@pytest.fixture
def names(storage):
    """The names of all jobs there are, by id."""
    return lambda: [job.name for job in storage.find(Job)]


def test_what_is_stored(queue, storage, clock):
    opts = {"attempts": 3, "backoff": {"type": "linear", "delay": 5}, "delay": 1500, "jobId": "x", "group": "g"}
    (answered, new), (plain, _) = queue.add("mail", [job("a", {"b": [1]}, **opts), job("c", None)], tenant="t")
    assert new
    assert storage.get(Job, answered.id) == answered
    due = clock() + timedelta(seconds=1.5)
    assert answered == plain.evolve(
        id=answered.id,
        name="a",
        input={"b": [1]},
        options=opts,
        max_attempts=3,
        backoff={"type": "linear", "delay": 5},
        start_after=due,
        due_at=due,
        custom_id="x",
        limit_key="g",
    )
    assert (plain.type, plain.tenant, plain.input, plain.status) == ("mail", "t", None, JobStatus.QUEUED)
    assert (plain.options, plain.priority, plain.created_at) == (None, DEFAULT_PRIORITY, clock())


def test_the_order_of_service(queue, add):
    """Jobs without a priority, of whichever face, are one line; then come priorities, from 1 upwards."""
    add(job("d", priority=2), job("c", priority=1), job("e", priority=2), job("b"))
    queue.enqueue(NewJob("mail", name="b2"))
    add(job("b3"), job("a", lifo=True), job("c2", priority=1, lifo=True), job("a0", lifo=True))
    got = [job.name for job in queue.acquire(["mail"], 20)]
    assert got == ["a0", "a", "b", "b2", "b3", "c", "c2", "d", "e"]


def test_a_delay(queue, add, clock):
    add(job("late", delay=1000), job("lifo", delay=1, lifo=True))
    assert queue.acquire(["mail"]) is None
    clock.tick(0.999)
    assert queue.acquire(["mail"]).name == "lifo"
    assert queue.acquire(["mail"]) is None
    clock.tick(0.001)
    assert queue.acquire(["mail"]).name == "late"


def test_tries(queue, add, clock):
    add(job(attempts=3, backoff={"type": "exponential", "delay": 1000}))
    for wait in (1.0, 2.0):
        failed = queue.fail(queue.acquire(["mail"]), "no")
        assert failed.due_at == clock() + timedelta(seconds=wait)
        clock.tick(wait)
    failed = queue.fail(queue.acquire(["mail"]), "no")
    assert (failed.status, failed.failures) == (JobStatus.FAILED, 3)


@pytest.mark.parametrize("wrong", [{}, job(delay=-1), job(jobId="5"), 5, {"name": "n", "data": 1, "x": 1}])
def test_all_or_none(queue, refused, wrong):
    for place in range(3):
        jobs = [job("a"), job("b", jobId="b")]
        jobs.insert(place, wrong)
        with refused(InvalidInput):
            queue.add("mail", jobs, tenant="")
    with refused(InvalidInput, "queue name is reserved: 'gnj:bulk'"):
        queue.add("gnj:bulk", [job()], tenant="")


def test_nothing(queue, refused):
    assert queue.add("mail", [], tenant="") == []


def test_one_job_for_each_id(queue, storage, add, names):
    assert add(job("a", jobId="x")) == [("a", True)]
    before = storage.find(Job)
    assert add(job("b", jobId="x", delay=5)) == [("a", False)]
    assert storage.find(Job) == before
    assert add(job("c"), job("d", jobId="x"), job("e", jobId="y"), job("f", jobId="y"), job("g", jobId="")) == [
        ("c", True),
        ("a", False),
        ("e", True),
        ("e", False),
        ("g", True),
    ]
    assert names() == ["a", "c", "e", "g"]
    assert add(job("h", jobId="x", lifo=True), job("i", jobId="z", lifo=True)) == [("a", False), ("i", True)]


def test_ids_are_a_queues_and_a_tenants(add):
    assert add(job("a", jobId="x")) == [("a", True)]
    assert add(job("b", jobId="x"), to="post") == [("b", True)]
    assert add(job("c", jobId="x"), tenant="t") == [("c", True)]
    assert add(job("d", jobId="X")) == [("d", True)]
    assert add(job("e", jobId="x "), job("f", jobId="é"), job("g", jobId="e\u0301")) == [
        ("e", True),
        ("f", True),
        ("g", True),
    ]


@pytest.mark.parametrize("end", ["succeed", "fail", "cancel"])
def test_an_id_stays_with_what_has_ended(queue, add, end):
    add(job("a", jobId="x"))
    if end == "cancel":
        queue.cancel(queue.add("mail", [job("?", jobId="x")], tenant="")[0][0].id)
    else:
        claim = queue.acquire(["mail"])
        queue.succeed(claim) if end == "succeed" else queue.fail(claim, "no")
    assert add(job("b", jobId="x")) == [("a", False)]


def test_what_is_deleted_gives_its_id_back(queue, add):
    (first, _) = queue.add("mail", [job("a", jobId="x", deduplication={"id": "k"})], tenant="")[0]
    queue.delete(Job, first.id)
    assert add(job("b", jobId="x", deduplication={"id": "k"})) == [("b", True)]


def test_many_ids(queue, names):
    """More than one statement takes, half of them there already."""
    half = [job(f"n{n}", jobId=f"x{n}") for n in range(0, 1200, 2)]
    assert all(new for _, new in queue.add("mail", half, tenant=""))
    every = [job(f"m{n}", jobId=f"x{n}") for n in range(1200)]
    answer = queue.add("mail", every, tenant="")
    assert [(job.name, new) for job, new in answer] == [
        (f"m{n}", True) if n % 2 else (f"n{n}", False) for n in range(1200)
    ]
    assert len(names()) == 1200


def race(work):
    """The answers of so many threads that begin together."""
    barrier = threading.Barrier(THREADS)

    def begin(number):
        barrier.wait(30)
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(begin, range(THREADS)))


def test_racing_for_an_id(queue, storage):
    answers = race(lambda n: queue.add("mail", [job(f"n{n}", jobId="x")], tenant=""))
    (there,) = storage.find(Job)
    assert {found.id for ((found, _),) in answers} == {there.id}
    assert sum(new for ((_, new),) in answers) == 1


def test_racing_for_several_ids(queue, storage):
    """In one order and in the other, beside jobs without one."""

    def work(number):
        ids = range(5) if number % 2 else reversed(range(5))
        return queue.add("mail", [job(f"n{number}"), *(job(f"n{number}", jobId=f"x{n}") for n in ids)], tenant="")

    answers = race(work)
    named = {found.custom_id: found.id for found in storage.find(Job) if found.custom_id is not None}
    assert len(named) == 5
    assert len(storage.find(Job)) == THREADS + 5
    assert all(named[found.custom_id] == found.id for answer in answers for found, _ in answer[1:])
    assert sum(new for answer in answers for _, new in answer[1:]) == 5
    assert all(new for ((_, new), *_) in answers)


def test_racing_for_a_deduplication(queue, storage):
    """Over one that has just ended."""
    queue.add("mail", [job("first", deduplication={"id": "k"})], tenant="")
    queue.succeed(queue.acquire(["mail"]))
    answers = race(lambda n: queue.add("mail", [job(f"n{n}", deduplication={"id": "k"})], tenant=""))
    (_, there) = storage.find(Job)
    assert {found.id for ((found, _),) in answers} == {there.id}
    assert sum(new for ((_, new),) in answers) == 1


@pytest.mark.parametrize("end", ["succeed", "fail", "cancel"])
def test_a_simple_deduplication_holds_until_the_end(queue, storage, add, clock, end):
    assert add(job("a", deduplication={"id": "k"}), job("b", deduplication={"id": "k"})) == [("a", True), ("a", False)]
    clock.tick(1e6)
    claim = queue.acquire(["mail"])
    before = storage.find(Job)
    assert add(job("c", deduplication={"id": "k"})) == [("a", False)]
    assert storage.find(Job) == before
    if end == "cancel":
        queue.cancel(claim.id)
        queue.cancelled(claim, "stopped")
    else:
        queue.succeed(claim) if end == "succeed" else queue.fail(claim, "no")
    assert add(job("d", deduplication={"id": "k"}), job("e", deduplication={"id": "k"})) == [("d", True), ("d", False)]
    assert add(job("f", deduplication={"id": "k", "ttl": 1})) == [("d", False)]


def test_deduplications_are_a_queues_and_a_tenants(add):
    one = {"deduplication": {"id": "k"}}
    assert add(job("a", **one)) == [("a", True)]
    assert add(job("b", **one), to="post") == [("b", True)]
    assert add(job("c", **one), tenant="t") == [("c", True)]
    assert add(job("d", deduplication={"id": "K"})) == [("d", True)]


def test_a_throttle_holds_for_its_time(queue, add, clock):
    """Though the job has ended; and it is that of the job that is there."""
    assert add(job("a", deduplication={"id": "k", "ttl": 5000})) == [("a", True)]
    queue.succeed(queue.acquire(["mail"]))
    clock.tick(4.999)
    assert add(job("b", deduplication={"id": "k"})) == [("a", False)]
    clock.tick(0.001)
    assert add(job("c", deduplication={"id": "k", "ttl": 5000})) == [("c", True)]
    clock.tick(5)
    assert add(job("d", deduplication={"id": "k", "ttl": 5000}), job("e", deduplication={"id": "k"})) == [
        ("d", True),
        ("d", False),
    ]


def test_throttles_that_are_over_are_given_up_in_one_order(queue, clock, monkeypatch):
    """Whatever the order of the request: each is locked, and others may do the same."""
    names = ["a", "b", "c"]
    opts = {name: {"deduplication": {"id": name, "ttl": 1000}} for name in names}
    ids = [job.id for job, _ in queue.add("mail", [job(name, **opts[name]) for name in names], tenant="")]
    clock.tick(1)
    locked: list[int] = []
    real = adding._freed

    def freed(unit, job):
        locked.append(job.id)
        return real(unit, job)

    monkeypatch.setattr(adding, "_freed", freed)
    added = queue.add("mail", [job(name, **opts[name]) for name in reversed(names)], tenant="")
    assert [new for _, new in added] == [True] * 3
    assert locked == ids


def test_a_deduplication_that_is_always_taken_again(queue, monkeypatch):
    """Is a conflict: the job must not be lost."""
    queue.add("mail", [job("a", deduplication={"id": "k"})], tenant="")
    monkeypatch.setattr(adding, "_freed", lambda *_: True)
    with pytest.raises(Conflict):
        queue.add("mail", [job("b", deduplication={"id": "k"})], tenant="")


def test_an_id_is_looked_at_before_a_deduplication(add):
    assert add(job("a", jobId="x", deduplication={"id": "k"})) == [("a", True)]
    assert add(job("b", jobId="y", deduplication={"id": "k"})) == [("a", False)]
    assert add(job("c", jobId="x", deduplication={"id": "l"})) == [("a", False)]
    assert add(job("d", deduplication={"id": "l"})) == [("d", True)]


def test_a_job_that_is_retried_in_graphql_takes_its_id_along(queue, add, names):
    add(job("a", jobId="x", deduplication={"id": "k"}))
    old = queue.fail(queue.acquire(["mail"]), "no")
    new = queue.retry(old.id)
    assert (new.custom_id, new.name, new.options) == ("x", "a", old.options)
    assert add(job("b", jobId="x")) == [("a", False)]
    assert names() == ["a", "a"]


def test_what_is_told(queue, storage, add):
    """As of any other job; of duplicates nothing is."""
    seen = []
    queue.hooks.add(["created"], lambda event: seen.append(event.job.name))
    add(job("a"), job("b", jobId="x"))
    add(job("c", jobId="x"), job("d"))
    add(job("e", deduplication={"id": "k"}), job("f", deduplication={"id": "k"}))
    assert queue.hooks.flush(10)
    assert seen == ["a", "b", "d", "e"]


def test_within_a_transaction(queue, storage, names):
    """Of the caller's: nobody is told before its end, and a duplicate does not end it."""
    queue.add("mail", [job("a", jobId="x")], tenant="")

    def broken():
        with queue.transaction() as (inner, _):
            inner.add("mail", [job("b", jobId="y")], tenant="")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    with queue.transaction() as (inner, _):
        answer = inner.add("mail", [job("b"), job("c", jobId="x")], tenant="")
        assert [(found.name, new) for found, new in answer] == [("b", True), ("a", False)]
        assert inner.add("mail", [job("d", jobId="y", deduplication={"id": "k"})], tenant="")[0][1]
    assert names() == ["a", "b", "d"]


def test_who_waits_for_work_is_woken(queue, add):
    for opts in ({}, {"jobId": "x"}, {"deduplication": {"id": "k"}}):
        rings = queue.wake.rings
        add(job("a", **opts))
        assert queue.wake.rings > rings
    rings = queue.wake.rings
    add(job("b", jobId="x", deduplication={"id": "k"}))
    assert queue.wake.rings == rings


def test_every_row_is_there_once(storage, add):
    add(*(job(f"n{n}", jobId=f"x{n % 7}") for n in range(50)))
    assert len(storage.find(Job, Select(deleted=True))) == 7
