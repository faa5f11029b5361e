"""Lists of jobs by their states, one page over all of them; counts; queues."""

from __future__ import annotations

import time
from typing import Any

import pytest

from gnj.queue import counts, listing, tries
from gnj.queue.derived import STATES, state_of
from gnj.queue.errors import InvalidInput
from gnj.queue.model import Hold, Job, JobAttempt, NewJob, QueueLimit
from gnj.queue.states import JobStatus
from gnj.queue.storage import Select
from gnj.queue.where import equal

pytestmark = pytest.mark.usefixtures("on_every_storage")


def job(name: str = "n", data: Any = 1, **opts: Any) -> dict[str, Any]:
    return {"name": name, "data": data, **({"opts": opts} if opts else {})}


@pytest.fixture
def filled(queue, clock) -> None:
    """The queue "mail" with jobs of every state, among those of another queue and another tenant.

    waiting c2 c b2 b, prioritized e d, active a2 (asked to stop) a, delayed f g, completed i h, failed l (cancelled) k j, planned m.
    """
    for letter in "hia":
        queue.add("mail", [job(letter)], tenant="")
        claim = queue.acquire(["mail"])
        clock.tick()
        if letter != "a":
            queue.succeed(claim, {"done": letter})
    for letter in "jk":
        queue.add("mail", [job(letter)], tenant="")
        queue.fail(queue.acquire(["mail"]), f"no {letter}")
        clock.tick()
    queue.create_jobs([{"type": "mail", "name": "m", "status": JobStatus.PLANNED}])
    queue.add("mail", [job("a2")], tenant="")
    queue.cancel(queue.acquire(["mail"]).id)
    queue.add("mail", [job("l")], tenant="")
    clock.tick()
    queue.cancel(next(job.id for job in queue.storage.find(Job) if job.name == "l"))
    jobs = [
        *(job("e", priority=9), job("d", priority=1), job("b2"), job("c"), job("b", lifo=True)),
        *(job("f", delay=60_000), job("g", delay=30_000), job("c2")),
    ]
    queue.add("mail", jobs, tenant="")
    queue.add("mail", [job("x"), job("x", delay=1)], tenant="t")
    queue.add("post", [job("x"), job("x", priority=1)], tenant="")


@pytest.fixture
def page(queue):
    """The names of a page, and its counts."""

    def asked(states="", start=0, length=10, tenant="", of="mail"):
        found = queue.page(of, states.split(",") if states else (), start, length, tenant=tenant)
        return " ".join(str(job.name) for job in found.jobs), dict(found.counts)

    return asked


WHOLE = "c2 c b2 b e d a2 a f g i h l k j m"
COUNTS = {"waiting": 4, "prioritized": 2, "active": 2, "delayed": 2, "completed": 2, "failed": 3, "waiting-children": 1}


@pytest.mark.usefixtures("filled")
def test_each_state(page):
    """Against the order of service; of those that run the last one comes first, and of those that have ended."""
    told = {
        "waiting": "c2 c b2 b",
        "prioritized": "e d",
        "active": "a2 a",
        "delayed": "f g",
        "completed": "i h",
        "failed": "l k j",
        "waiting-children": "m",
    }
    for state, names in told.items():
        paused = {"paused": 0} if state == "waiting" else {}
        assert page(state) == (names, {state: len(names.split()), **paused})


@pytest.mark.usefixtures("filled")
def test_the_state_of_each_job(queue):
    jobs = queue.page("mail", (), 0, 100, tenant="")
    assert [state_of(job, jobs.now) for job in jobs.jobs] == [state for state in STATES for _ in range(COUNTS[state])]


@pytest.mark.usefixtures("filled")
def test_all_states(page):
    for states in ("", "all", "waiting,all", "all,all"):
        assert page(states, length=100) == (WHOLE, {**COUNTS, "paused": 0})


@pytest.mark.usefixtures("filled")
def test_every_page(page):
    """Of the list of all states, joined: each is a part of it, of the length asked for."""
    whole = WHOLE.split()
    for length in (0, 1, 3, 5, 100):
        for start in range(19):
            assert page("", start, length)[0].split() == whole[start : start + length]


@pytest.mark.usefixtures("filled")
def test_states_in_the_order_asked(page):
    assert page("failed,waiting", 1, 4) == ("k j c2 c", {"failed": 3, "waiting": 4, "paused": 0})
    assert page("delayed,prioritized,delayed", 1, 2) == ("g e", {"delayed": 2, "prioritized": 2})


@pytest.mark.usefixtures("filled")
def test_other_queues_and_tenants(page):
    assert page("waiting,prioritized", of="post")[1] == {"waiting": 1, "prioritized": 1, "paused": 0}
    assert page("waiting,delayed", tenant="t")[1] == {"waiting": 1, "delayed": 1, "paused": 0}
    assert page(tenant="u") == page(of="nobody") == ("", {**dict.fromkeys(STATES, 0), "paused": 0})


@pytest.mark.usefixtures("filled")
def test_jobs_that_come_due(page, clock, queue):
    """Wait, in the place they are handed out from, before anybody has asked for work."""
    clock.tick(30)
    assert page("delayed,waiting") == ("f c2 g c b2 b", {"delayed": 1, "waiting": 5, "paused": 0})
    clock.tick(30)
    assert page("waiting") == ("c2 g f c b2 b", {"waiting": 6, "paused": 0})
    assert [job.name for job in queue.acquire(["mail"], 6)] == ["b", "b2", "c", "f", "g", "c2"]


@pytest.mark.parametrize("state", ["paused", "Waiting", " waiting", "x", "stalled", "x" * 200])
def test_states_there_are_not(queue, refused, state):
    told = state if len(state) < 50 else "x" * 58
    for states in ([state], ["waiting", state]):
        with refused(InvalidInput, f"Invalid status: {told}"):
            queue.page("mail", states, 0, 10, tenant="")


def test_errors(queue, storage, clock):
    """Of each try that failed, oldest first; of jobs that are retried too."""
    queue.add("mail", [job("a", attempts=3), job("b", attempts=2), job("c")], tenant="")
    for number in range(2):
        for claim in queue.acquire(["mail"], 2):
            queue.fail(claim, f"{claim.name}{number}")
            clock.tick()
    found = queue.page("mail", (), 0, 10, tenant="")
    told = {job.name: found.errors.get(job.id) for job in found.jobs}
    assert told == {"a": ["a0", "a1"], "b": ["b0", "b1"], "c": None}
    assert queue.errors_of(found.jobs) == found.errors
    assert queue.errors_of([]) == {}


def test_errors_are_those_of_the_last_tries(queue, storage, monkeypatch):
    """As many as are told; more are kept, but not all."""
    monkeypatch.setattr(tries, "KEPT", 20)
    queue.add("mail", [job("a", attempts=99), job("b", attempts=99)], tenant="")
    for number in range(30):
        for claim in queue.acquire(["mail"], 2):
            queue.fail(claim, f"{claim.name}{number}")
    found = queue.page("mail", (), 0, 10, tenant="")
    told = {job.name: found.errors.get(job.id) for job in found.jobs}
    assert told == {name: [f"{name}{number}" for number in range(20, 30)] for name in "ab"}
    for one in found.jobs:
        assert [each.attempt for each in storage.find(JobAttempt, Select(equal(JobAttempt, job_id=one.id)))] == [
            *range(11, 31)
        ]


def test_a_page_that_is_too_large(queue, monkeypatch, refused):
    """Is refused; a single job never is."""
    monkeypatch.setattr(listing, "MOST_BYTES", 2**20)
    monkeypatch.setattr(listing, "_TOGETHER", 2)
    queue.add("mail", [job("a", data="x" * 300_000)] * 3 + [job("b", data="x" * 1_500_000), job("c")], tenant="")
    assert len(queue.page("mail", (), 2, 3, tenant="").jobs) == 3
    assert len(queue.page("mail", (), 1, 1, tenant="").jobs) == 1
    with refused(InvalidInput, "These jobs have more than 1 MiB together: ask for fewer"):
        queue.page("mail", (), 0, 5, tenant="")


@pytest.mark.usefixtures("filled")
def test_jobs_that_are_due_are_not_delayed(queue, page, clock, storage, monkeypatch):
    """Whatever is asked for, and however many they are: they are counted as waiting before anybody has looked for them."""
    monkeypatch.setattr(listing, "_PROMOTED", 1)
    monkeypatch.setattr(listing, "_TURNS", 1)
    queue.add("mail", [job("h", delay=1_000), job("h", delay=1_000, priority=1)] * 3, tenant="")
    clock.tick(30)
    states = {"waiting": 4 + 3 + 1, "prioritized": 2 + 3, "delayed": 1}
    assert page("delayed") == ("f", {"delayed": 1})
    for _ in range(2):
        (one,) = queue.queues(tenant="", search="mail")
        for summary in (one, queue.summary("mail", tenant="")):
            assert {state: summary.counts[state] for state in states} == states
        assert page("waiting,prioritized,delayed", length=0)[1] == {**states, "paused": 0}
        assert page("delayed", 0, 1) == ("f", {"delayed": 1})


def test_one(queue):
    (job_a, _), (job_b, _) = queue.add("mail", [job("a", jobId="x"), job("b")], tenant="t")
    assert queue.find_one("mail", "x", tenant="t") == job_a
    assert queue.find_one("mail", str(job_b.id), tenant="t") == job_b
    assert queue.find_one("mail", str(job_a.id), tenant="t") is None
    for queue_name, id, tenant in (
        ("mail", "x", ""),
        ("mail", str(job_b.id), ""),
        ("post", "x", "t"),
        ("post", str(job_b.id), "t"),
        ("mail", "X", "t"),
        ("mail", f"0{job_b.id}", "t"),
        ("mail", f" {job_b.id}", "t"),
        ("mail", "0", "t"),
        ("mail", "-1", "t"),
        ("mail", "9" * 19, "t"),
        ("mail", "9" * 500, "t"),
        ("mail", "\u0663", "t"),
    ):
        assert queue.find_one(queue_name, id, tenant=tenant) is None
    queue.delete(Job, job_a.id)
    assert queue.find_one("mail", "x", tenant="t") is None


@pytest.mark.usefixtures("filled")
def test_queues(queue, storage):
    queue.create_jobs([{"type": "gnj:bulk"}, {"type": "hook:x"}])
    queue.hold("held")
    storage.insert(QueueLimit, [{"type": "post", "concurrency": 1}, {"type": "limited", "concurrency": 1}])
    storage.insert(Hold, [{"type": "limited", "limited": True, "held": False}, {"type": "mail", "tenant": "t"}])
    none = dict.fromkeys(STATES, 0)

    def told(**asked):
        return [(one.name, one.paused, one.limited, dict(one.counts)) for one in queue.queues(**asked)]

    assert told(tenant="") == [
        ("held", True, False, none),
        ("limited", False, True, none),
        ("mail", False, False, COUNTS),
        ("post", False, True, {**none, "waiting": 1, "prioritized": 1}),
    ]
    assert told(tenant="", search="m") == [*told(tenant="")[1:3]]
    assert told(tenant="", search="%") == told(tenant="u", search="x") == []
    # what the host holds is held for everybody
    assert told(tenant="t") == [
        ("held", True, False, none),
        ("mail", True, False, {**none, "waiting": 1, "delayed": 1}),
    ]
    for name in ("held", "limited", "mail", "post"):
        (one,) = told(tenant="", search=name)
        summary = queue.summary(name, tenant="")
        assert one == (name, summary.paused, summary.limited, dict(summary.counts))
    assert queue.summary("nobody", tenant="") == listing.QueueSummary("nobody", False, False, none)
    queue.hold("all")
    assert [paused for _, paused, *_ in told(tenant="t")] == [True, True]
    assert queue.summary("nobody", tenant="t").paused


@pytest.mark.usefixtures("filled")
def test_limits_and_worker_of_a_queue(queue, storage):
    assert queue.settings_of("mail", tenant="") == (None, None)
    (limit,) = storage.insert(QueueLimit, [{"type": "mail", "concurrency": 1}])
    assert queue.settings_of("mail", tenant="") == (limit, None)
    assert queue.settings_of("mail", tenant="t") == queue.settings_of("post", tenant="") == (None, None)


def test_counts_that_take_long_are_told_again(queue, page, monkeypatch):
    """For a while; within a transaction of the caller's every one is made."""
    queue.add("mail", [job("a")], tenant="")
    monkeypatch.setattr(counts, "SLOW", 0.0)
    assert page("waiting")[1]["waiting"] == 1
    queue.add("mail", [job("b")], tenant="")
    assert page("waiting") == ("b a", {"waiting": 1, "paused": 0})
    with queue.transaction() as (inner, _):
        assert inner.page("mail", ["waiting"], 0, 10, tenant="").counts["waiting"] == 2
    monkeypatch.setattr(counts, "SLOW", 10.0)
    monkeypatch.setattr(time, "monotonic", lambda: 1e12)
    assert page("waiting") == ("b a", {"waiting": 2, "paused": 0})
    queue.add("mail", [job("c")], tenant="")
    assert page("waiting") == ("c b a", {"waiting": 3, "paused": 0})


def test_jobs_of_graphql(queue, page):
    queue.enqueue(NewJob("mail", name="low", priority=-5))
    queue.enqueue(NewJob("mail", name="high", priority=9))
    queue.enqueue(NewJob("mail", name="usual"))
    assert page("waiting")[0] == "usual high"
    assert page("prioritized")[0] == "low"
