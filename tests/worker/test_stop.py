"""How a worker ends: in time, with nothing lost, and nothing left behind."""

import asyncio
import threading
import time
from functools import partial

import pytest

from gnj.queue.errors import CancelRequested
from gnj.queue.model import Job, NewJob
from gnj.queue.states import JobStatus
from gnj.worker import Worker, loop
from tests.worker.spy import OWN, WAIT, Spy, at_most, see, until


@pytest.fixture
def let_go():
    """Lets a handler that never returns go, after the test."""
    event = threading.Event()
    yield event
    event.set()


def test_stop_lets_running_handlers_finish(handlers, spy, queue, now):
    started, go, flags = threading.Semaphore(0), threading.Event(), []

    @handlers.handler("sync")
    def sync(job, ctx):
        started.release()
        go.wait(WAIT)
        flags.append((ctx.cancel_requested, ctx.lease_lost))
        return "done"

    @handlers.handler("async")
    async def coroutine(job, ctx):
        started.release()
        await see(go)
        flags.append((ctx.cancel_requested, ctx.lease_lost))
        return "done"

    jobs = [queue.enqueue(NewJob(type)) for type in ("sync", "async")]
    worker = Worker(spy, handlers, concurrency=4)
    worker.start()
    for _ in jobs:
        assert started.acquire(timeout=WAIT)
    stopping = threading.Thread(target=worker.stop)
    stopping.start()
    until(lambda: not any(thread.name == "gnj-claim" for thread in threading.enumerate()))
    queue.enqueue(NewJob("sync"))  # nobody claims it any more
    go.set()
    stopping.join(WAIT)
    assert [now(job).output for job in jobs] == ["done", "done"]
    assert flags == [(False, False)] * 2
    assert queue.count(Job, status="queued") == 1


def test_a_cancellation_is_still_seen_in_the_grace_time(handlers, queue, now):
    spy = Spy(queue, lease=0.3)
    started = threading.Event()

    @handlers.handler("work")
    def work(job, ctx):
        started.set()
        if ctx.wait_for_cancel(WAIT):
            raise CancelRequested

    job = queue.enqueue(NewJob("work"))
    worker = Worker(spy, handlers)
    worker.start()
    assert started.wait(WAIT)
    stopping = threading.Thread(target=worker.stop)
    stopping.start()
    queue.cancel(job.id)
    stopping.join(WAIT)
    assert now(job).status == JobStatus.CANCELLED


def test_stop_gives_back_what_does_not_finish(handlers, spy, queue, now, let_go, attempts):
    started, late = threading.Semaphore(0), threading.Event()
    cancelled = []

    @handlers.handler("sync")
    def sync(job, ctx):
        started.release()
        assert ctx.wait_for_cancel(WAIT)  # the grace time is over: it may as well stop
        assert ctx.lease_lost
        late.set()
        let_go.wait(WAIT)
        return "late"

    @handlers.handler("async")
    async def coroutine(job):
        started.release()
        try:
            await asyncio.sleep(WAIT)
        except asyncio.CancelledError:
            cancelled.append(job.id)
            raise

    jobs = [queue.enqueue(NewJob(type)) for type in ("sync", "async")]
    worker = Worker(spy, handlers, concurrency=4)
    worker.start()
    for _ in jobs:
        assert started.acquire(timeout=WAIT)
    with at_most(1.2):
        worker.stop(0.2)
    for job in map(now, jobs):
        assert (job.status, job.attempt, job.failures, job.stalled_count) == (JobStatus.QUEUED, 1, 0, 0)
        assert job.lease_expires_at is None
        assert attempts(job) == []
    assert cancelled == [jobs[1].id]
    assert late.wait(WAIT)
    assert spy.made("settle") == []


@pytest.mark.parametrize(
    "answer, status",
    [("value", "successful"), ("error", "queued"), ("cancel", "cancelled"), ("swallow", "queued")],
)
def test_what_an_async_handler_makes_of_the_end(handlers, spy, queue, now, answer, status, let_go, monkeypatch):
    monkeypatch.setattr(loop, "_LIMIT", WAIT)  # how soon it ends is what others look at
    started = threading.Event()

    @handlers.handler("work")
    async def work(job):
        started.set()
        try:
            await asyncio.sleep(WAIT)
        except asyncio.CancelledError:
            if answer == "error":
                raise ConnectionError("cut off") from None
            if answer == "cancel":
                raise CancelRequested from None
            while answer == "swallow" and not let_go.is_set():
                with pytest.raises((asyncio.CancelledError, TimeoutError)):
                    await asyncio.wait_for(asyncio.Event().wait(), 0.3)
                if time.monotonic() - begun > 0.6:
                    break
        return "value"

    job = queue.enqueue(NewJob("work"))
    worker = Worker(spy, handlers)
    worker.start()
    assert started.wait(WAIT)
    begun = time.monotonic()
    worker.stop(0)
    assert (now(job).status, now(job).failures) == (status, 0)


@pytest.mark.parametrize("grace", [0, 0.3])
def test_stop_does_not_wait_for_a_handler_that_never_returns(handlers, spy, queue, now, let_go, grace):
    started = threading.Event()

    @handlers.handler("work")
    def work(job):
        started.set()
        let_go.wait()

    job = queue.enqueue(NewJob("work"))
    worker = Worker(spy, handlers)
    worker.start()
    assert started.wait(WAIT)
    with at_most(grace + 1):
        worker.stop(grace)
    assert now(job).status == JobStatus.QUEUED
    left = [thread for thread in threading.enumerate() if thread.name.startswith(OWN)]
    assert [(thread.name[:7], thread.daemon) for thread in left] == [("gnj-job", True)]


def test_stop_does_not_wait_for_a_timed_out_handler(handlers, spy, queue, now, let_go):
    handlers.register("work", lambda job: let_go.wait(), timeout=0.02)
    job = queue.enqueue(NewJob("work"))
    worker = Worker(spy, handlers)
    worker.start()
    spy.outcome()
    with at_most(1.0):
        worker.stop()
    assert now(job).status == JobStatus.FAILED


@pytest.mark.parametrize("is_async", [False, True])
def test_stop_under_load_loses_nothing_and_counts_nothing(handlers, queue, is_async):
    ran = []

    def work(job):
        ran.append(job.id)
        return job.id

    async def work_async(job):
        await asyncio.sleep(0)
        return work(job)

    handlers.register("work", work_async if is_async else work)
    total = 600

    def enough(goal):
        return len(ran) >= min(goal, total)

    queue.enqueue_many([NewJob("work") for _ in range(total)])
    stops = 0
    while queue.count(Job, status="successful") < total:
        worker = Worker(queue, handlers, concurrency=8)
        goal = len(ran) + 20
        worker.start()
        until(partial(enough, goal))
        with at_most(2.0):
            worker.stop(1)
        stops += 1
        assert queue.count(Job, status="processing") == 0
    assert stops >= 2
    done = queue.list(Job)
    assert {(job.status, job.failures, job.stalled_count) for job in done} == {("successful", 0, 0)}
    assert all(job.output == job.id for job in done)
    assert len(ran) == len(set(ran)) == total


def test_a_claim_that_comes_after_stop_is_given_back(handlers, queue, now):
    asked, answer = threading.Event(), threading.Event()

    class Slow(Spy):
        def claim(self, types, limit, slots=None):
            asked.set()
            assert answer.wait(WAIT)
            return super().claim(types, limit, slots)

    handlers.register("work", lambda job: pytest.fail("it ran"))
    job = queue.enqueue(NewJob("work"))
    spy = Slow(queue)
    worker = Worker(spy, handlers)
    worker.start()
    assert asked.wait(WAIT)
    stopping = threading.Thread(target=worker.stop)
    stopping.start()
    until(lambda: worker._loop is None or worker._loop._deadline < time.monotonic() + WAIT * 10)
    answer.set()
    stopping.join(WAIT)
    assert (now(job).status, now(job).attempt, now(job).failures) == (JobStatus.QUEUED, 1, 0)
    assert spy.made("release") == [1]


@pytest.mark.parametrize("call", ["claim", "settle", "renew", "release"])
def test_stop_returns_in_time_while_the_queue_hangs(handlers, queue, call, let_go):
    hanging = threading.Event()

    class Hanging(Spy):
        def _call(self, name, ask, about):
            if name == call:
                hanging.set()
                let_go.wait(WAIT)
            return super()._call(name, ask, about)

    @handlers.handler("work")
    def work(job, ctx):
        if call != "settle":
            ctx.wait_for_cancel(WAIT)

    queue.enqueue(NewJob("work"))
    spy = Hanging(queue, lease=0.3)
    worker = Worker(spy, handlers)
    worker.start()
    if call != "release":
        assert hanging.wait(WAIT)
    with at_most(1.2):
        worker.stop(0.2)


def test_stop_does_not_wait_for_the_poll(handlers, spy):
    handlers.register("work", lambda job: None)
    worker = Worker(spy, handlers, poll=WAIT)
    worker.start()
    spy.wait_for("claim")
    with at_most(1.0):
        worker.stop()


def test_a_shorter_grace_time_shortens_a_longer_one(handlers, spy, queue, let_go):
    started = threading.Event()

    @handlers.handler("work")
    def work(job):
        started.set()
        let_go.wait()

    queue.enqueue(NewJob("work"))
    worker = Worker(spy, handlers)
    worker.start()
    assert started.wait(WAIT)
    first = threading.Thread(target=worker.stop, args=(WAIT,))
    first.start()
    with at_most(1.0):
        worker.stop(0)
    with at_most(1.0):
        first.join(WAIT)


def test_a_handler_may_stop_its_worker(handlers, spy, queue, now):
    stopped = threading.Event()

    @handlers.handler("work")
    def work(job):
        worker.stop(0)
        stopped.set()

    job = queue.enqueue(NewJob("work"))
    worker = Worker(spy, handlers)
    worker.start()
    assert stopped.wait(WAIT)
    assert now(job).status == JobStatus.QUEUED


def test_an_async_handler_may_stop_its_worker(handlers, spy, queue):
    stopped = threading.Event()

    @handlers.handler("work")
    async def work(job):
        worker.stop(0)
        stopped.set()

    queue.enqueue(NewJob("work"))
    worker = Worker(spy, handlers)
    worker.start()
    assert stopped.wait(WAIT)


def test_run_on_another_thread_ends_with_stop(handlers, spy, queue):
    handlers.register("work", lambda job: None)
    worker = Worker(spy, handlers)
    thread = threading.Thread(target=worker.run)
    thread.start()
    spy.wait_for("claim")
    queue.enqueue(NewJob("work"))
    spy.outcome()
    worker.stop()
    thread.join(WAIT)
    assert not thread.is_alive()


def test_a_block_stops_the_worker(handlers, spy):
    handlers.register("work", lambda job: None)
    with pytest.raises(ZeroDivisionError), Worker(spy, handlers):
        raise ZeroDivisionError
    assert not any(thread.name.startswith(OWN) for thread in threading.enumerate())
