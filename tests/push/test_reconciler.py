"""What runs is what the table says, whichever server runs it, and whatever it has missed."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from gnj.push import calls
from gnj.push import reconciler as module
from gnj.queue.errors import StorageUnavailable
from gnj.queue.limits import LimitValues, Rate
from gnj.queue.model import Job, NewJob
from gnj.queue.pushing import MOST_FAILED
from gnj.queue.service import Queue
from gnj.queue.states import JobStatus
from gnj.queue.storage import Select
from gnj.queue.where import equal
from gnj.storage.sql import SqlStorage
from gnj.worker import Worker
from tests.push.conftest import ok, registration
from tests.worker.spy import until


@pytest.fixture(autouse=True)
def no_thread_left():
    before = set(threading.enumerate())
    yield
    until(lambda: {each for each in threading.enumerate() if each.name.startswith("gnj-")} <= before, within=15)


def ended(queue, count, status=JobStatus.SUCCESSFUL):
    until(lambda: queue.storage.count(Job, equal(Job, status=status)) == count, within=30)


def enqueue(queue, count=1, type="mail", **more):
    return queue.enqueue_many([NewJob(type, {"n": n}, **more) for n in range(count)])


def test_what_is_registered_runs_and_what_is_not_does_not(everywhere, queue, endpoint, reconciler):
    runs, called = reconciler(), endpoint()
    runs.tick()
    assert runs.running == {}
    row = queue.register(registration(called.url), tenant="")
    queue.register(registration(called.url, "other"), tenant="else")
    enqueue(queue, 3)
    enqueue(queue, 2, tenant="else")  # of a queue that has its own push workers there, and none
    runs.tick()
    assert len(runs.running) == 2
    ended(queue, 3)
    assert called.underway == 0
    jobs = queue.storage.find(Job, Select(equal(Job, status=JobStatus.SUCCESSFUL)))
    assert [job.output for job in jobs] == [{"did": {"n": n}} for n in range(3)]
    assert {(job.worker_type, job.worker_id, job.attempt) for job in jobs} == {("push", runs.holder, 1)}
    queue.unregister("mail", tenant="")
    runs.tick()
    assert row.id not in runs.running
    assert len(runs.running) == 1
    enqueue(queue)
    runs.tick()
    assert len(called.calls) == 3


def test_a_new_version_takes_the_place_of_the_old_one(queue, endpoint, reconciler):
    runs, old, new = reconciler(), endpoint(), endpoint()
    row = queue.register(registration(old.url), tenant="")
    runs.tick()
    enqueue(queue)
    ended(queue, 1)
    queue.register(registration(new.url), tenant="")
    runs.tick()
    assert runs.running == {row.id: 2}
    enqueue(queue, 5)
    ended(queue, 6)
    assert (len(old.calls), len(new.calls)) == (1, 5)


def test_no_more_calls_at_once_than_a_server_makes_and_none_without_its_turn(queue, endpoint, reconciler, monkeypatch):
    """One tenant's endpoints do not answer: that keeps half of the calls, and what others have to call for is called."""
    monkeypatch.setattr(calls, "MOST", 8)
    over = threading.Event()
    hangs, answers = endpoint(lambda *asked: over.wait(30) and ok(*asked)), endpoint()
    runs = reconciler()
    for name in ("aaa", "bbb", "ccc"):
        queue.register(registration(hangs.url, name, opts={"concurrency": 5}, endpoint={"timeout": 60_000}), tenant="a")
        enqueue(queue, 5, type=name, tenant="a")
    runs.tick()
    until(lambda: hangs.underway == 4, within=10)
    queue.register(registration(answers.url, opts={"concurrency": 100}), tenant="b")
    enqueue(queue, 50, tenant="b")
    runs.tick()
    ended(queue, 50)
    assert answers.most <= 2
    assert hangs.most == 4
    assert sum(each.name.startswith("gnj-job") for each in threading.enumerate()) <= 8 + 4
    over.set()
    until(lambda: runs.tick() or queue.storage.count(Job, equal(Job, status=JobStatus.SUCCESSFUL)) == 65, within=30)
    runs.close()
    assert (runs._calls._under_way, runs._calls._of_tenants, runs._calls._of_queues) == (0, {}, {})


@pytest.mark.slow_on("postgresql")
def test_registered_anew_it_is_called_no_more_often_at_once(everywhere, queue, endpoint, reconciler):
    """Calls of the old version, which go on to their end, count with those of the new one."""
    over = threading.Event()
    runs, called = reconciler(), endpoint(lambda *asked: over.wait(30) and ok(*asked))
    queue.register(registration(called.url, opts={"concurrency": 3}, endpoint={"timeout": 60_000}), tenant="")
    enqueue(queue, 2)
    runs.tick()
    until(lambda: called.underway == 2, within=10)
    queue.unregister("mail", tenant="")
    queue.register(registration(called.url, opts={"concurrency": 3}, endpoint={"timeout": 60_000}), tenant="")
    enqueue(queue, 10)
    runs.tick()
    until(lambda: called.underway == 3, within=10)
    queue.register(registration(called.url, opts={"concurrency": 3}), tenant="")
    runs.tick()
    time.sleep(0.5)
    assert called.underway == 3
    over.set()
    ended(queue, 12)
    assert called.most == 3


def test_a_server_holds_so_many_and_leaves_the_others(everywhere, queue, endpoint, reconciler, monkeypatch, caplog):
    monkeypatch.setattr(module, "MOST", 3)
    one, two, called = reconciler(), reconciler(), endpoint()
    rows = [queue.register(registration(called.url, name), tenant="a") for name in ("aaa", "bbb", "ccc", "ddd")]
    one.tick()
    assert set(one.running) == {row.id for row in rows[:3]}
    assert "1 push workers are left to other servers: this one runs 3" in caplog.text
    caplog.clear()
    other = queue.register(registration(called.url), tenant="b")  # whose turn comes before the third of the first
    enqueue(queue, tenant="b")
    one.tick()
    assert set(one.running) == {rows[0].id, rows[1].id, other.id}
    ended(queue, 1)
    two.tick()
    assert set(two.running) == {rows[2].id, rows[3].id}
    for _ in range(3):
        one.tick()
        two.tick()
    assert (len(one.running), len(two.running)) == (3, 2)


def test_what_one_server_cannot_call_at_once_another_takes(shared, place, queue, endpoint, reconciler, monkeypatch):
    """Where there is none, it takes it itself, a while later."""
    monkeypatch.setattr(module, "CALLS", 10)
    monkeypatch.setattr(module, "PATIENCE", 1.0)
    called = endpoint()
    rows = [queue.register(registration(called.url, f"q-{n}", opts={"concurrency": 4}), tenant="") for n in range(5)]
    ids = [row.id for row in rows]
    one, two = reconciler(), reconciler()
    one.tick()
    assert set(one.running) == set(ids[:2])
    two.tick()
    assert set(two.running) == set(ids[2:4])
    one.tick()
    assert len(one.running) == 2
    time.sleep(1.0)
    one.tick()
    assert set(one.running) == {*ids[:2], ids[4]}


def test_what_runs_goes_on_where_the_server_was_late(queue, endpoint, reconciler, monkeypatch):
    """Its hold was over, and nobody has taken it: also where the server has as much as it takes."""
    monkeypatch.setattr(module, "HELD", 0.2)
    monkeypatch.setattr(module, "CALLS", 4)
    runs, called = reconciler(), endpoint()
    row = queue.register(registration(called.url, opts={"concurrency": 4}), tenant="")
    runs.tick()
    begun = runs._running[row.id]
    time.sleep(0.3)
    runs.tick()
    assert runs._running == {row.id: begun}
    enqueue(queue)
    ended(queue, 1)


def test_a_call_under_way_goes_on_to_its_end(queue, endpoint, reconciler):
    begun, over = threading.Event(), threading.Event()

    def answer(headers, asked):
        begun.set()
        over.wait(20)
        return ok(headers, asked)

    runs, called = reconciler(), endpoint(answer)
    queue.register(registration(called.url), tenant="")
    enqueue(queue, 2)
    runs.tick()
    assert begun.wait(10)
    queue.unregister("mail", tenant="")
    runs.tick()
    assert runs.running == {}
    over.set()
    ended(queue, 1)
    runs.close()
    assert len(called.calls) == 1


@pytest.mark.slow_on("sqlite")
def test_registered_again_at_once_it_always_runs(everywhere, queue, endpoint, reconciler):
    """Forty times, with calls of the deleted one still under way: nothing that was missed is missed for good."""
    runs, called = reconciler(), endpoint()
    stopped = threading.Event()

    def tick():
        while not stopped.wait(0.005):
            runs.tick()

    ticking = threading.Thread(target=tick)
    ticking.start()
    try:
        queue.register(registration(called.url), tenant="")
        for number in range(1, 41):
            enqueue(queue)
            queue.unregister("mail", tenant="")
            queue.register(registration(called.url), tenant="")
            ended(queue, number)
    finally:
        stopped.set()
        ticking.join(30)
    assert sorted(called.ids) == sorted(set(called.ids))
    assert len(called.ids) == 40


def test_of_two_servers_one_calls_and_each_job_once(shared, place, queue, endpoint, reconciler):
    called = endpoint()
    storage = SqlStorage(place)
    second = Queue(storage)
    one, two = reconciler(queue), reconciler(second)
    queue.register(registration(called.url, opts={"concurrency": 4}), tenant="")
    enqueue(queue, 200)
    gate = threading.Barrier(2)

    def tick(runs):
        for _ in range(5):
            gate.wait(10)
            runs.tick()

    threads = [threading.Thread(target=tick, args=(each,)) for each in (one, two)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(len(each.running) for each in (one, two)) == [0, 1]
    ended(queue, 200)
    assert sorted(called.ids) == sorted(job.id for job in queue.storage.find(Job))
    assert called.most <= 4
    two.close()
    storage.close()


def test_one_server_goes_on_when_another_ends(everywhere, queue, endpoint, reconciler):
    one, two, called = reconciler(), reconciler(), endpoint()
    queue.register(registration(called.url), tenant="")
    one.tick()
    two.tick()
    assert (len(one.running), len(two.running)) == (1, 0)
    one.close()
    two.tick()
    assert len(two.running) == 1
    enqueue(queue)
    ended(queue, 1)


def test_one_server_goes_on_when_another_is_lost(queue, endpoint, reconciler, monkeypatch):
    """A server that cannot renew its hold claims no more by itself, before another one may."""
    monkeypatch.setattr(module, "HELD", 0.3)
    monkeypatch.setattr(module, "RENEWED", 0.2)
    one, two, called = reconciler(), reconciler(), endpoint()
    queue.register(registration(called.url), tenant="")
    one.tick()
    two.tick()
    assert (len(one.running), len(two.running)) == (1, 0)
    time.sleep(0.35)  # in which `one` does not tick, as if its thread stood still
    enqueue(queue, 3)
    assert called.came.acquire(timeout=0.2) is False
    two.tick()
    assert len(two.running) == 1
    ended(queue, 3)
    assert {job.worker_id for job in queue.storage.find(Job)} == {two.holder}
    one.tick()
    assert one.running == {}


def test_a_hold_is_renewed_while_it_ticks(queue, endpoint, reconciler, monkeypatch):
    monkeypatch.setattr(module, "HELD", 0.5)
    monkeypatch.setattr(module, "RENEWED", 0.4)
    one, two, called = reconciler(), reconciler(), endpoint()
    queue.register(registration(called.url), tenant="")
    end = time.monotonic() + 1.2
    while time.monotonic() < end:
        one.tick()
        two.tick()
        time.sleep(0.05)
    assert (len(one.running), len(two.running)) == (1, 0)
    enqueue(queue)
    ended(queue, 1)


def test_a_database_that_does_not_answer_for_a_while(queue, endpoint, reconciler, monkeypatch):
    runs, called = reconciler(), endpoint()
    queue.register(registration(called.url), tenant="")
    runs.tick()

    def gone(*_):
        raise StorageUnavailable

    with monkeypatch.context() as patched:
        patched.setattr(queue, "standing", gone)
        with pytest.raises(StorageUnavailable):
            runs.tick()
    assert len(runs.running) == 1
    runs.tick()
    enqueue(queue)
    ended(queue, 1)


def test_an_endpoint_that_never_answers_is_left_alone(everywhere, queue, endpoint, reconciler):
    answers: list[Any] = [(503, {}, b"")] * MOST_FAILED
    runs, called = reconciler(), endpoint(lambda *asked: answers.pop() if answers else ok(*asked))
    queue.register(registration(called.url), tenant="")
    enqueue(queue, MOST_FAILED + 5)
    runs.tick()
    ended(queue, MOST_FAILED, JobStatus.FAILED)
    runs.tick()
    assert runs.running == {}
    (row,) = queue.registrations("")
    assert (row.failed, row.disabled_at is not None, row.holder) == (MOST_FAILED, True, None)
    runs.tick()
    assert len(called.calls) == MOST_FAILED
    failed = queue.storage.find(Job, Select(equal(Job, status=JobStatus.FAILED)))
    assert {job.output["error"] for job in failed} == {"Service Unavailable"}
    queue.register(registration(called.url), tenant="")
    runs.tick()
    ended(queue, 5)


def test_failures_are_counted_on_by_the_next_server(queue, endpoint, reconciler):
    one, two, called = reconciler(), reconciler(), endpoint(lambda *_: (500, {}, b""))
    queue.register(registration(called.url), tenant="")
    enqueue(queue, 3)
    one.tick()
    ended(queue, 3, JobStatus.FAILED)
    one.tick()
    assert queue.registrations("")[0].failed == 3
    one.close()
    two.tick()
    enqueue(queue, 2)
    ended(queue, 5, JobStatus.FAILED)
    two.tick()
    assert queue.registrations("")[0].failed == 5


def test_tries_and_waits_are_those_of_the_job(queue, endpoint, reconciler):
    answers: list[Any] = [(500, {}, b""), (404, {}, b"")]
    runs, called = reconciler(), endpoint(lambda *asked: answers.pop(0) if answers else ok(*asked))
    queue.register(registration(called.url), tenant="")
    enqueue(queue, max_attempts=3, backoff={"type": "fixed", "delay": 50})
    runs.tick()
    ended(queue, 1)
    (job,) = queue.storage.find(Job)
    assert (job.attempt, job.failures, len(called.calls)) == (3, 2, 3)
    assert [headers["gnj-attempt"] for headers, _ in called.calls] == ["1", "2", "3"]


@pytest.mark.parametrize("concurrency", [1, 3])
def test_as_many_calls_at_once_as_were_asked_for(queue, endpoint, reconciler, concurrency):
    full, over = threading.Event(), threading.Event()

    def answer(headers, asked):
        if called.underway == concurrency:
            full.set()
        over.wait(20)
        return ok(headers, asked)

    runs, called = reconciler(), endpoint(answer)
    queue.register(registration(called.url, opts={"concurrency": concurrency}), tenant="")
    enqueue(queue, 10)
    runs.tick()
    assert full.wait(10)
    over.set()
    ended(queue, 10)
    assert called.most == concurrency


def test_how_often_a_job_may_be_lost(queue, endpoint, reconciler):
    runs, called = reconciler(), endpoint()
    queue.register(registration(called.url, opts={"maxStalledCount": 2}), tenant="")
    (job,) = enqueue(queue)
    runs.tick()
    ended(queue, 1)
    (job,) = queue.storage.find(Job)
    assert job.max_stalled == 2


def test_it_claims_for_as_long_as_a_call_takes_and_a_little_more(queue, endpoint, reconciler):
    runs, called = reconciler(), endpoint()
    queue.register(registration(called.url, endpoint={"timeout": 1_000}), tenant="")
    queue.register(registration(called.url, "other", endpoint={"timeout": 600_000}), tenant="")
    enqueue(queue)
    enqueue(queue, type="other")
    runs.tick()
    ended(queue, 2)
    assert {job.type: job.lease for job in queue.storage.find(Job)} == {"mail": 16.0, "other": 30.0}


def test_one_that_cannot_begin_keeps_no_other_from_it(queue, endpoint, reconciler, monkeypatch):
    runs, called = reconciler(), endpoint()
    bad = queue.register(registration(called.url, "bad"), tenant="")
    good = queue.register(registration(called.url), tenant="")
    begin = Worker.start
    broken = [True]

    def start(worker):
        if broken and worker.handlers.types == ("bad",):
            raise RuntimeError("can't start new thread")
        begin(worker)

    monkeypatch.setattr(Worker, "start", start)
    runs.tick()
    assert set(runs.running) == {good.id}
    broken.clear()
    runs.tick()
    assert set(runs.running) == {bad.id, good.id}


def test_a_limiter_is_that_of_the_queue(everywhere, queue, endpoint, reconciler):
    """So it holds over all servers, whoever calls; with the registration it comes and goes."""
    runs, called = reconciler(), endpoint()
    limiter = {"max": 3, "duration": 60_000}
    queue.register(registration(called.url, opts={"limiter": limiter, "concurrency": 10}), tenant="")
    limit = queue.limits_of("mail", tenant="")
    assert (limit.worker_max, limit.worker_ms, limit.rate_max) == (3, 60_000, None)
    enqueue(queue, 8)
    runs.tick()
    ended(queue, 3)
    assert queue.acquire(["mail"]) is None
    assert len(called.calls) == 3
    queue.register(registration(called.url), tenant="")
    assert queue.limits_of("mail", tenant="") is None
    runs.tick()
    ended(queue, 8)


def test_the_limits_that_a_queue_has_stay(queue, endpoint):
    called = endpoint()
    queue.set_limits("mail", LimitValues(limiter=Rate(7, 1_000)), tenant="")
    queue.register(registration(called.url, opts={"limiter": {"max": 3, "duration": 60_000}}), tenant="")
    limit = queue.limits_of("mail", tenant="")
    assert (limit.rate_max, limit.rate_ms, limit.worker_max, limit.worker_ms) == (7, 1_000, 3, 60_000)
    queue.unregister("mail", tenant="")
    limit = queue.limits_of("mail", tenant="")
    assert (limit.rate_max, limit.worker_max) == (7, None)
