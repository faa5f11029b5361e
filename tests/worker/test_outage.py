"""A queue that cannot be reached: nothing is lost, nothing ends, and the log stays readable."""

import logging
import random
import threading
import time

import pytest

from gnj.queue.errors import Conflict, StorageUnavailable
from gnj.queue.model import Job, NewJob
from gnj.queue.states import JobStatus
from gnj.worker import Worker, outage
from gnj.worker.outage import Outages, pause
from tests.worker.spy import OWN, WAIT, Spy, at_most, until


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(outage._WAIT.__class__, "wait", lambda self, failures, random: 0.01)


ALL = {"claim", "renew", "settle", "release", "progress"}


def test_an_outage_while_jobs_run_loses_nothing(handlers, queue, caplog):
    spy = Spy(queue, lease=3)
    caplog.set_level(logging.INFO)
    started, go, ran = threading.Semaphore(0), threading.Event(), []

    @handlers.handler("work")
    def work(job):
        ran.append(job.id)
        started.release()
        go.wait(WAIT)
        return job.id

    queue.enqueue_many([NewJob("work") for _ in range(30)])
    with Worker(spy, handlers, concurrency=4, poll=0.02):
        for _ in range(4):
            assert started.acquire(timeout=WAIT)
        spy.cut |= ALL
        go.set()
        spy.wait_for_next("settle", 5)
        spy.wait_for_next("claim", 5)
        spy.wait_for_next("renew", 1)
        assert queue.count(Job, status="successful") == 0
        assert len(ran) == 4
        spy.cut.clear()
        spy.outcomes(30)
        until(lambda: "answers again after" in caplog.text)
    assert len(ran) == 30
    assert {(job.output == job.id, job.attempt, job.failures) for job in queue.list(Job)} == {(True, 1, 0)}
    texts = [record.getMessage() for record in caplog.records]
    assert sum("trying again until it works: StorageUnavailable: cut off" in text for text in texts) == 1
    assert sum("answers again after" in text for text in texts) == 1


def test_lost_answers_are_told_again_and_count_once(handlers, queue, spy):
    @handlers.handler("good")
    def good(job):
        return job.id

    @handlers.handler("bad", max_attempts=2)
    def bad(job):
        raise ValueError(job.attempt)

    spy.deaf.add("settle")
    for type in ("good", "bad"):
        queue.enqueue(NewJob(type))
    with Worker(spy, handlers, poll=0.02):
        spy.wait_for("settle", 3)
        spy.deaf.clear()
        until(lambda: queue.count(Job, status=["successful"]) and queue.count(Job, status="failed"))
    done = {job.type: job for job in queue.list(Job)}
    assert (done["good"].output, done["good"].attempt) == (done["good"].id, 1)
    assert (done["bad"].failures, done["bad"].attempt) == (2, 2)


@pytest.mark.parametrize("failure", [StorageUnavailable("busy"), Conflict("in the way")])
def test_an_outcome_that_found_no_way_is_told_again(handlers, queue, caplog, failure):
    class Busy(Spy):
        left = 3

        def settle(self, outcomes):
            if self.left:
                self.left -= 1
                return [*super().settle(outcomes[1:]), failure][::-1]
            return super().settle(outcomes)

    handlers.register("work", lambda job: job.id)
    queue.enqueue_many([NewJob("work") for _ in range(6)])
    spy = Busy(queue)
    with Worker(spy, handlers, poll=0.02):
        until(lambda: queue.count(Job, status="successful") == 6)
    assert caplog.text.count("trying again until it works") == 1


def test_ends_that_cannot_be_told_do_not_pile_up(handlers, queue, spy):
    handlers.register("work", lambda job: None)
    queue.enqueue_many([NewJob("work") for _ in range(50)])
    spy.cut.add("settle")
    with Worker(spy, handlers, concurrency=3, poll=0.01):
        spy.wait_for("settle", 10)
        assert queue.count(Job, status="processing") <= 6
        spy.cut.clear()
        spy.outcomes(50)


def test_untold_ends_keep_their_leases(handlers, queue):
    spy = Spy(queue, lease=0.3)
    handlers.register("work", lambda job: "done", on_lost="fail")
    queue.enqueue(NewJob("work"))
    spy.cut.add("settle")
    with Worker(spy, handlers, poll=0.02):
        begun = time.monotonic()
        while time.monotonic() - begun < 0.6:
            spy.wait_for_next("renew")
            queue.reap(force=True)
        spy.cut.clear()
        assert spy.outcome()[1].output == "done"


def test_a_short_outage_of_heartbeats_costs_no_lease(handlers, queue):
    spy = Spy(queue, lease=1.5)
    finish = threading.Event()
    handlers.register("work", lambda job, ctx: [finish.wait(WAIT), ctx.lease_lost])
    queue.enqueue(NewJob("work"))
    with Worker(spy, handlers):
        spy.cut.add("renew")
        spy.wait_for("renew", 4)
        spy.cut.clear()
        spy.wait_for_next("renew")
        queue.reap(force=True)
        finish.set()
        assert spy.outcome()[1].output == [True, False]


def test_an_unforeseen_error_does_not_end_the_worker(handlers, queue, spy, caplog):
    handlers.register("work", lambda job: None)
    spy.failure = ZeroDivisionError("a bug")
    spy.cut |= ALL
    with Worker(spy, handlers):
        spy.wait_for("claim", 3)
        spy.cut.clear()
        queue.enqueue(NewJob("work"))
        assert spy.outcome()[1].status == JobStatus.SUCCESSFUL
    (record,) = [r for r in caplog.records if "trying again" in r.getMessage()]
    assert record.exc_info is not None


def test_a_source_that_forgets_answers_is_asked_again(handlers, queue, caplog):
    class Forgetful(Spy):
        def settle(self, outcomes):
            first = not self.made("settle")
            return super().settle(outcomes)[: 0 if first else None]

    handlers.register("work", lambda job: "done")
    job = queue.enqueue(NewJob("work"))
    spy = Forgetful(queue)
    with Worker(spy, handlers):
        spy.wait_for("settle", 2)
    assert queue.get(Job, job.id).output == "done"


def test_a_queue_that_cannot_listen_is_polled(handlers, queue, spy):
    handlers.register("work", lambda job: None)
    spy.cut.add("listen")
    with Worker(spy, handlers, poll=0.01):
        spy.wait_for("listen", 3)
        queue.enqueue(NewJob("work"))
        spy.outcome()
        spy.cut.clear()
        until(lambda: 1 in spy.made("listen"))
    assert spy.made("listen").count(1) == 1


def test_a_worker_starts_without_a_queue_that_answers(handlers, queue, spy):
    handlers.register("work", lambda job: None)
    spy.cut |= {*ALL, "listen"}
    with Worker(spy, handlers):
        spy.wait_for("claim", 3)
        spy.cut.clear()
        queue.enqueue(NewJob("work"))
        spy.outcome()


@pytest.mark.parametrize("running", [False, True])
def test_stop_in_an_outage_returns_in_time(handlers, queue, spy, caplog, running):
    started = threading.Event()

    @handlers.handler("work")
    def work(job, ctx):
        started.set()
        if running:
            ctx.wait_for_cancel(WAIT)

    queue.enqueue(NewJob("work"))
    spy.cut |= {"settle", "release", "renew"}
    worker = Worker(spy, handlers)
    worker.start()
    assert started.wait(WAIT)
    with at_most(1.2):
        worker.stop(0.2)
    assert "1 claims could not be told about" in caplog.text
    assert not any(thread.name.startswith(OWN) for thread in threading.enumerate())


def test_claims_are_given_back_when_the_outage_ends_in_time(handlers, queue, spy):
    started = threading.Event()

    @handlers.handler("work")
    def work(job, ctx):
        started.set()
        ctx.wait_for_cancel(WAIT)

    job = queue.enqueue(NewJob("work"))
    spy.cut.add("release")
    worker = Worker(spy, handlers)
    worker.start()
    assert started.wait(WAIT)
    stopping = threading.Thread(target=worker.stop, args=(0,))
    stopping.start()
    spy.wait_for("release", 2)
    spy.cut.clear()
    stopping.join(WAIT)
    assert queue.get(Job, job.id).status == JobStatus.QUEUED


def test_an_outage_ends_when_all_that_failed_works_again(caplog):
    caplog.set_level(logging.INFO)
    outages = Outages()

    def fail():
        raise StorageUnavailable("gone")

    for what in ("claim", "renew", "claim"):
        assert outages.ask(what, fail) is None
    assert outages.ask("claim", lambda: [1]) == [1]
    assert outages.ask("renew", fail) is None
    outages.over("renew")
    assert [r.levelname for r in caplog.records] == ["WARNING", "INFO"]
    assert outages.ask("renew", fail) is None
    assert len(caplog.records) == 3


def test_pauses_grow_to_five_seconds_and_differ(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(random.SystemRandom, "random", lambda _: 0.0)
    assert [pause(n) for n in (1, 2, 3, 7, 1000)] == [0.1, 0.2, 0.4, 5.0, 5.0]
    monkeypatch.setattr(random.SystemRandom, "random", lambda _: 1.0)
    assert [pause(n) for n in (1, 7)] == [0.05, 2.5]
