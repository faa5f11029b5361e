"""Jobs that are run: how handlers are called, and what their ends mean."""

import asyncio
import contextvars
import itertools
import logging
import signal
import subprocess
import sys
import threading
import time
import traceback
from datetime import timedelta
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from gnj.queue.errors import CancelRequested, InvalidInput, LeaseLost, Snooze
from gnj.queue.model import Job, JobAttempt, NewJob
from gnj.queue.retry import Fixed
from gnj.queue.service import Queue
from gnj.queue.states import JobStatus
from gnj.worker import Handlers, Worker
from gnj.worker.source import QueueSource, Source
from tests.worker.spy import WAIT, Spy, at_most, see, until

ROOT = Path(__file__).resolve().parents[2]


def test_every_kind_of_handler(handlers, working, add, spy):
    @handlers.handler("a")
    def plain(job):
        return {"got": job.input}

    @handlers.handler("b")
    def full(job, ctx):
        return [ctx.attempt, ctx.job.id == job.id]

    @handlers.handler("c")
    async def plain_async(job):
        await asyncio.sleep(0)
        return job.type

    @handlers.handler("d")
    async def full_async(job, ctx):
        ctx.progress({"percent": 50})
        return (ctx.attempt, 2)

    working()
    for type in "abcd":
        add(type, 7)
    done = {outcome.claim.type: job for outcome, job in spy.outcomes(4)}
    assert {type: job.output for type, job in done.items()} == {
        "a": {"got": 7},
        "b": [1, True],
        "c": "c",
        "d": [1, 2],
    }
    assert {job.status for job in done.values()} == {JobStatus.SUCCESSFUL}
    assert done["d"].progress == {"percent": 50}


def test_sync_handlers_run_on_daemon_threads_and_async_ones_on_one(handlers, working, add, spy):
    seen: SimpleQueue[Any] = SimpleQueue()

    @handlers.handler("sync")
    def sync(job):
        seen.put(("sync", threading.current_thread()))

    @handlers.handler("async")
    async def coroutine(job):
        seen.put(("async", threading.current_thread()))

    working()
    for type in ("sync", "async") * 3:
        add(type)
    spy.outcomes(6)
    ran = [seen.get() for _ in range(6)]
    assert all(thread.daemon for _, thread in ran)
    assert len({thread for kind, thread in ran if kind == "async"}) == 1


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    "error, output",
    [
        (lambda: ValueError("no"), "ValueError: no"),
        (ValueError, "ValueError"),
        (lambda: ValueError("a\0b\ud800"), "ValueError: a\ufffdb?"),
        (lambda: SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt, "KeyboardInterrupt"),
        (lambda: asyncio.CancelledError("of its own"), "CancelledError: of its own"),
        (lambda: LeaseLost("another job's"), "LeaseLost: another job's"),
    ],
)
def test_an_exception_fails_the_job(handlers, working, add, spy, attempts, error, output, is_async):
    def raising(job):
        raise error()

    async def raising_async(job):
        raise error()

    handlers.register("work", raising_async if is_async else raising)
    working()
    add()
    _, job = spy.outcome()
    assert (job.status, job.output, job.failures) == (JobStatus.FAILED, {"error": output}, 1)
    (attempt,) = attempts(job)
    assert attempt.error.startswith("Traceback (most recent call last):\n")
    assert "in raising" in attempt.error
    assert "gnj/worker" not in attempt.error
    add()  # and the worker lives
    spy.outcome()


def test_an_exception_that_cannot_be_shown_fails_the_job(handlers, working, add, spy):
    class Broken(Exception):
        def __str__(self):
            raise RuntimeError

    @handlers.handler("work")
    def work(job):
        raise Broken

    working()
    add()
    assert spy.outcome()[1].output == {"error": "Broken"}


def test_a_traceback_that_cannot_be_made_is_left_out(handlers, working, add, spy, attempts, monkeypatch):
    def broken(*args):
        raise RecursionError

    @handlers.handler("work")
    def work(job):
        monkeypatch.setattr(traceback, "format_exception", broken)
        raise ValueError("no")

    working()
    add()
    _, job = spy.outcome()
    monkeypatch.undo()
    assert [attempt.error for attempt in attempts(job)] == ["ValueError: no"]


def test_a_long_traceback_is_cut(handlers, working, add, spy, attempts):
    @handlers.handler("work")
    def work(job):
        raise ValueError("x" * 50_000)

    working()
    add()
    _, job = spy.outcome()
    assert len(attempts(job)[0].error) <= 10_000
    assert len(job.output["error"]) <= 10_000


@pytest.mark.parametrize(
    "output, says",
    [
        ({1, 2}, "InvalidInput: output must be JSON, without values of the type set"),
        (float("nan"), "InvalidInput: output must not hold NaN or infinite numbers"),
        ({1: 2}, "InvalidInput: output must have strings as keys, not 1"),
    ],
)
def test_an_output_that_is_no_json_fails_the_job(handlers, working, add, spy, attempts, output, says):
    handlers.register("work", lambda job: output)
    working()
    add()
    _, job = spy.outcome()
    assert (job.status, job.output) == (JobStatus.FAILED, {"error": says})
    assert [attempt.error for attempt in attempts(job)] == [says]


def test_a_coroutine_for_an_output_fails_the_job(handlers, working, add, spy):
    async def later():
        pass

    handlers.register("work", lambda job: later())
    working()
    add()
    assert "make it an async def" in spy.outcome()[1].output["error"]


@pytest.mark.parametrize("is_async", [False, True])
def test_cancel_requested_cancels_the_job(handlers, working, add, spy, is_async):
    def stop(job):
        raise CancelRequested("half way")

    async def stop_async(job):
        raise CancelRequested("half way")

    handlers.register("work", stop_async if is_async else stop)
    working()
    add()
    _, job = spy.outcome()
    assert (job.status, job.output) == (JobStatus.CANCELLED, {"cancelMessage": "half way"})
    assert job.failures == 0


def test_a_failed_try_is_tried_again_after_its_backoff(handlers, working, spy, queue):
    @handlers.handler("work", max_attempts=3, backoff=Fixed(0.05))
    def work(job):
        if job.attempt < 3:
            raise ValueError(job.attempt)
        return "at last"

    working(poll=0.02)
    queue.enqueue(NewJob("work"))
    ends = [job for _, job in spy.outcomes(3)]
    assert [job.status for job in ends] == [JobStatus.QUEUED, JobStatus.QUEUED, JobStatus.SUCCESSFUL]
    assert ends[-1].output == "at last"
    waits = [later.started_at - earlier.updated_at for earlier, later in itertools.pairwise(ends)]
    assert min(waits) >= timedelta(seconds=0.05)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_snoozed_job_comes_back_uncounted(handlers, working, add, spy, queue, is_async):
    """Nothing is counted but the claim, the progress stays, and it comes no sooner than it said."""
    tries = []

    def snooze(job, ctx):
        tries.append(job.attempt)
        if len(tries) < 3:
            raise Snooze(0.05 if len(tries) == 1 else timedelta(seconds=0.05))
        return {"tries": len(tries)}

    async def snooze_async(job, ctx):
        return snooze(job, ctx)

    handlers.register("work", snooze_async if is_async else snooze, max_attempts=1)
    add()
    working(poll=0.02)
    done = [job for _, job in spy.outcomes(3)][-1]
    assert (done.status, done.output, tries) == ("successful", {"tries": 3}, [1, 2, 3])
    assert (done.failures, done.stalled_count, done.attempt) == (0, 0, 3)
    assert queue.list(JobAttempt) == []


@pytest.mark.parametrize("delay", [-1, float("nan"), "soon", None])
def test_a_snooze_without_sense_fails_the_job(handlers, working, add, spy, delay):
    @handlers.handler("work")
    def work(job):
        raise Snooze(delay)

    add()
    working()
    _, job = spy.outcome()
    assert "the delay of Snooze must be" in job.output["error"]


def test_a_step_is_not_run_again_by_the_next_try(handlers, working, add, spy):
    ran = []

    def upload(job):
        ran.append(job.attempt)
        return "url"

    @handlers.handler("work", max_attempts=2)
    def work(job, ctx):
        url = ctx.step("upload", lambda: upload(job))
        if job.attempt == 1:
            raise ValueError
        return url

    working(poll=0.02)
    add()
    assert [job.status for _, job in spy.outcomes(2)] == [JobStatus.QUEUED, JobStatus.SUCCESSFUL]
    assert ran == [1]


def test_a_recovered_job_gets_its_steps(handlers, working, add, spy, queue):
    ran = []

    def upload(job):
        ran.append(job.attempt)
        return "url"

    @handlers.handler("work")
    async def work(job, ctx):
        url = await ctx.step_async("upload", lambda: upload(job))
        if job.attempt == 1:
            raise ValueError
        return url

    working()
    job = add(recoverable=True)
    spy.outcome()
    queue.recover(job.id)
    assert spy.outcome()[1].output == "url"
    assert ran == [1]


def test_a_cancellation_is_seen_within_two_seconds(handlers, working, add, spy, queue):
    started = threading.Event()

    @handlers.handler("work")
    def work(job, ctx):
        started.set()
        assert ctx.wait_for_cancel(WAIT)
        assert ctx.cancel_requested
        raise CancelRequested("stopped")

    working(lease=None)
    job = add()
    assert started.wait(WAIT)
    with at_most(2.0):
        queue.cancel(job.id)
        _, ended = spy.outcome()
    assert ended.status == JobStatus.CANCELLED


def test_heartbeats_keep_a_long_job_alive(handlers, working, add, queue, now):
    spy = Spy(queue, lease=0.3)
    finish, renewed = threading.Event(), []

    @handlers.handler("work", on_lost="fail")
    def work(job, ctx):
        finish.wait(WAIT)
        return ctx.lease_lost

    working(spy)
    jobs = [add() for _ in range(3)]
    until(lambda: [now(job).status for job in jobs] == ["processing"] * 3)
    begun = time.monotonic()
    while time.monotonic() - begun < 0.9:
        spy.wait_for_next("renew")
        queue.reap(force=True)
        renewed.append(spy.made("renew")[-1])
    finish.set()
    assert [job.output for _, job in spy.outcomes(3)] == [False] * 3
    assert [now(job).stalled_count for job in jobs] == [0] * 3
    assert set(renewed) == {3}  # one call for all


def test_a_lost_lease_is_told_and_the_late_result_refused(handlers, working, add, spy, queue, now, caplog):
    started, lost, finish = threading.Event(), threading.Event(), threading.Event()

    @handlers.handler("work")
    def work(job, ctx):
        started.set()
        ctx.wait_for_cancel(WAIT)
        if ctx.lease_lost:
            lost.set()
        finish.wait(WAIT)
        return "late"

    worker = working()
    job = add()
    assert started.wait(WAIT)
    queue.hold("work")
    queue.release([now(job)])
    assert lost.wait(WAIT)
    finish.set()
    _, result = spy.outcome()
    assert isinstance(result, LeaseLost)
    worker.stop()
    assert (now(job).status, now(job).output) == (JobStatus.QUEUED, None)
    messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [f"job {job.id} (work), claim 1 lost its lease" in m for m in messages] == [True, False]
    assert "ended after its lease was lost" in messages[1]
    assert spy.made("renew") == [1]  # it was not asked for again


def test_a_sync_timeout_fails_the_job_and_keeps_the_slot(handlers, working, add, spy, now, attempts):
    finish, told = threading.Event(), threading.Event()

    @handlers.handler("work", timeout=0.05)
    def work(job, ctx):
        ctx.wait_for_cancel(WAIT)
        told.set()
        finish.wait(WAIT)
        return "late"

    handlers.register("next", lambda job: "next")
    working(concurrency=1, poll=0.01)
    job = add()
    _, failed = spy.outcome()
    assert (failed.status, failed.output) == (JobStatus.FAILED, {"error": "timed out after 0.05 s"})
    assert [attempt.error for attempt in attempts(job)] == ["timed out after 0.05 s"]
    assert told.wait(WAIT)
    add("next")
    claims = spy.made("claim")
    assert claims.index((1, 1)) == len(claims) - 1  # no slot, no claim
    finish.set()
    outcome, after = spy.outcome()
    assert (outcome.claim.type, after.output) == ("next", "next")
    assert now(job).output == {"error": "timed out after 0.05 s"}


@pytest.mark.parametrize("late", ["raises", "returns"])
def test_an_async_timeout_cancels_the_handler(handlers, working, add, spy, now, late):
    cancelled = threading.Event()

    @handlers.handler("work", timeout=0.05)
    async def work(job, ctx):
        try:
            await asyncio.sleep(WAIT)
        except asyncio.CancelledError:
            cancelled.set()
            if late == "raises":
                raise
        return "late"

    handlers.register("next", lambda job: None)
    working(concurrency=1)
    job = add()
    assert spy.outcome()[1].output == {"error": "timed out after 0.05 s"}
    assert cancelled.wait(WAIT)
    add("next")
    assert spy.outcome()[1].status == JobStatus.SUCCESSFUL
    assert now(job).status == JobStatus.FAILED


def test_a_timed_out_try_is_tried_again(handlers, working, add, spy):
    @handlers.handler("work", timeout=0.05, max_attempts=2)
    async def work(job):
        if job.attempt == 1:
            await asyncio.sleep(WAIT)
        return job.attempt

    working()
    add()
    assert [job.status for _, job in spy.outcomes(2)] == [JobStatus.QUEUED, JobStatus.SUCCESSFUL]


@pytest.mark.parametrize("is_async", [False, True])
def test_no_more_jobs_run_than_there_are_slots(handlers, working, queue, spy, is_async):
    running, most, lock = set(), [0], threading.Lock()
    all_in, go = threading.Event(), threading.Event()

    def enter(job):
        with lock:
            running.add(job.id)
            most[0] = max(most[0], len(running))
            if len(running) == 3:
                all_in.set()

    def leave(job):
        with lock:
            running.discard(job.id)

    def work(job):
        enter(job)
        go.wait(WAIT)
        leave(job)

    async def work_async(job):
        enter(job)
        await see(go)
        leave(job)

    handlers.register("work", work_async if is_async else work)
    queue.enqueue_many([NewJob("work") for _ in range(20)])
    working(concurrency=3, poll=0.01)
    assert all_in.wait(WAIT)
    assert spy.made("claim") == [(3, 3)]
    go.set()
    spy.outcomes(20)
    assert most == [3]
    assert all(got <= limit for limit, got in spy.made("claim"))


def test_jobs_that_end_together_are_told_together(handlers, working, queue):
    telling, answer, go = threading.Event(), threading.Event(), threading.Event()

    class Slow(Spy):
        def settle(self, outcomes):
            telling.set()
            assert answer.wait(WAIT)
            return super().settle(outcomes)

    @handlers.handler("work")
    def work(job):
        if job.input != "first":
            go.wait(WAIT)

    spy = Slow(queue)
    queue.enqueue_many([NewJob("work", "first"), *[NewJob("work")] * 5])
    worker = working(spy, concurrency=6)
    assert telling.wait(WAIT)
    go.set()
    until(lambda: len(worker._loop._hands.todo) == 5)
    answer.set()
    spy.outcomes(6)
    assert spy.made("settle") == [1, 5]


def test_an_idle_worker_tells_at_once(handlers, working, add, spy):
    handlers.register("work", lambda job: None)
    working(poll=WAIT)
    spy.wait_for("claim")
    with at_most(1.0):
        add()
        spy.outcome()


def test_a_delayed_job_starts_within_the_poll(handlers, working, add, spy):
    handlers.register("work", lambda job: None)
    working(poll=0.05)
    with at_most(2.0):
        add(start_after=timedelta(seconds=0.1))
        assert spy.outcome()[1].status == JobStatus.SUCCESSFUL


def test_two_workers_share_a_queue(handlers, working, queue):
    both = threading.Barrier(2)
    meet = threading.Event()

    @handlers.handler("work")
    def work(job):
        if not meet.is_set():
            both.wait(WAIT)
            meet.set()
        return job.attempt

    spies = [Spy(queue, worker_id=name) for name in ("one", "two")]
    queue.enqueue_many([NewJob("work") for _ in range(300)])
    for spy in spies:
        working(spy, concurrency=1)
    until(lambda: queue.count(Job, status="successful") == 300)
    assert all(sum(got for _, got in spy.made("claim")) for spy in spies)
    done = queue.list(Job)
    assert {(job.attempt, job.output) for job in done} == {(1, 1)}
    assert {job.worker_id for job in done} == {"one", "two"}


def test_a_worker_takes_its_types_and_tenants_only(handlers, queue, add):
    for type in "ab":
        handlers.register(type, lambda job: None)
    mine = add("a", tenant="t1")
    add("b", tenant="t1")
    add("a", tenant="t2")
    with Worker(queue, handlers, ["a"], tenants=["t1"], worker_id="w"):
        until(lambda: queue.count(Job, status="successful"))
    (job,) = queue.list(Job, status="successful")
    assert (job.id, job.worker_id) == (mine.id, "w")


def test_handlers_registered_later_are_served(handlers, working, add, spy):
    working(poll=0.02)
    add()
    handlers.register("work", lambda job: None)
    assert spy.outcome()[1].status == JobStatus.SUCCESSFUL


def test_a_claim_nobody_handles_is_given_back(handlers, queue, add, now, caplog):
    class Wrong(Spy):
        def claim(self, types, limit, slots=None):
            return super().claim(["other"] if not self.made("claim") else types, limit, slots)

    handlers.register("work", lambda job: None)
    job = add("other")
    spy = Wrong(queue)
    with Worker(spy, handlers):
        spy.wait_for("release")
    assert (now(job).status, now(job).failures, now(job).stalled_count) == (JobStatus.QUEUED, 0, 0)
    assert "claimed without a handler" in caplog.text


def test_a_refused_outcome_becomes_a_failure(handlers, queue, add):
    class Strict(Spy):
        def settle(self, outcomes):
            good = super().settle([o for o in outcomes if o.output != "too much"])
            for outcome in outcomes:
                if outcome.output == "too much":
                    return [InvalidInput("output is too long")]
            return good

    handlers.register("work", lambda job: "too much")
    add()
    spy = Strict(queue)
    with Worker(spy, handlers):
        _, job = spy.outcome()
    assert (job.status, job.output) == (JobStatus.FAILED, {"error": "InvalidInput: output is too long"})


def test_a_refused_failure_is_logged_and_dropped(handlers, queue, add, caplog):
    class Refusing(Spy):
        def settle(self, outcomes):
            self._note("settle", len(outcomes))
            return [InvalidInput("no")] * len(outcomes)

    @handlers.handler("work")
    def work(job):
        raise ValueError

    add()
    spy = Refusing(queue)
    with Worker(spy, handlers):
        spy.wait_for("settle")
    assert "does not take its failure: no" in caplog.text


def test_jobs_do_not_see_each_others_context_variables(handlers, working, add, spy):
    variable = contextvars.ContextVar("variable", default="nothing")

    @handlers.handler("work")
    def work(job):
        before = variable.get()
        variable.set(job.id)
        return before

    working(concurrency=1)
    add()
    add()
    assert [job.output for _, job in spy.outcomes(2)] == ["nothing", "nothing"]


def test_threads_are_reused(handlers, working, add, spy):
    used = set()
    handlers.register("work", lambda job: used.add(threading.current_thread()))
    working(concurrency=2)
    for _ in range(30):
        add()
        spy.outcome()
    assert len(used) <= 2


def test_a_machine_without_threads_gives_jobs_back(handlers, working, add, spy, now, monkeypatch, caplog):
    handlers.register("work", lambda job: None)
    worker = working(poll=0.01)
    spy.wait_for("claim")
    real = threading.Thread.start

    def start(thread):
        if thread.name.startswith("gnj-job"):
            raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    job = add()
    spy.wait_for("release")
    monkeypatch.undo()
    assert spy.outcome()[1].status == JobStatus.SUCCESSFUL
    assert now(job).failures == 0
    assert "could not be started" in caplog.text
    worker.stop()


def test_a_task_that_ends_the_event_loop_does_not_end_the_worker(handlers, working, add, spy, caplog):
    @handlers.handler("bad")
    async def bad(job):
        async def leave():
            raise SystemExit

        task = asyncio.get_running_loop().create_task(leave())
        await asyncio.wait([task])
        assert isinstance(task.exception(), SystemExit)

    @handlers.handler("work")
    async def work(job):
        return "fine"

    working()
    add("bad")
    spy.outcome()
    add()
    assert spy.outcome()[1].output == "fine"
    assert "tried to end the event loop" in caplog.text


@pytest.mark.parametrize(
    "options, says",
    [
        ({"concurrency": 0}, "concurrency must be from 1"),
        ({"concurrency": 2.5}, "concurrency must be an integer"),
        ({"lease": 0}, "lease must be from"),
        ({"poll": 0}, "poll must be from"),
        ({"types": "work"}, "types must be a list"),
        ({"types": 3}, "types must be a list"),
        ({"tenants": [3]}, "a tenant must be a string"),
    ],
)
def test_wrong_arguments_are_refused(queue, handlers, options, says):
    with pytest.raises(InvalidInput, match=says):
        Worker(queue, handlers, **options)


@pytest.mark.parametrize("options", [{"lease": 3}, {"tenants": []}, {"worker_id": "w"}])
def test_a_source_has_its_own_lease_tenants_and_name(spy, handlers, options):
    with pytest.raises(InvalidInput, match="of its own"):
        Worker(spy, handlers, **options)


def test_types_without_a_handler_are_refused_at_the_start(queue):
    worker = Worker(queue, Handlers(), ["work"])
    with pytest.raises(InvalidInput, match="no handler is registered for 'work'"):
        worker.start()
    with pytest.raises(InvalidInput):
        worker.run()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_worker_works_once_at_a_time_and_again_later(queue, handlers, add):
    handlers.register("work", lambda job: None)
    worker = Worker(queue, handlers)
    worker.stop()  # nothing to stop
    with worker, pytest.raises(RuntimeError, match="working already"):
        worker.start()
    add()
    with worker:
        until(lambda: queue.count(Job, status="successful"))


def test_a_queue_source_is_a_source(queue):
    source = QueueSource(queue, "w", "cpu", 5, ["t"])
    assert isinstance(source, Source)
    assert (source.lease, source.tenants) == (5.0, ["t"])
    assert source.claim(["work"], 5000) == []
    assert Worker(queue, Handlers()).source.lease == 30.0
    assert QueueSource(queue).worker_id != QueueSource(queue).worker_id


def test_asyncio_is_loaded_with_the_first_async_job_only():
    code = "import gnj.worker, sys; print('asyncio' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


def test_many_claims_are_renewed_in_parts(queue, handlers):
    source = QueueSource(queue)
    queue.enqueue_many([NewJob("work") for _ in range(1500)])
    claims = source.claim(["work"], 5000)
    assert len(claims) == 1000
    claims += source.claim(["work"], 5000)
    assert [job and job.id for job in source.renew(claims)] == [job.id for job in claims]


def test_a_job_names_its_worker(queue, handlers, add):
    handlers.register("work", lambda job: None)
    with Worker(QueueSource(queue, "w", "cpu"), handlers):
        add()
        until(lambda: queue.count(Job, status="successful"))
    (job,) = queue.list(Job)
    assert (job.worker_id, job.worker_type, job.lease) == ("w", "cpu", 30.0)


def test_a_queue_is_enough(handlers):
    from gnj.storage.memory import MemoryStorage

    queue = Queue(MemoryStorage())
    handlers.register("work", lambda job: "done")
    job = queue.enqueue(NewJob("work"))
    with Worker(queue, handlers):
        until(lambda: queue.count(Job, id=job.id, output="done"))


def test_more_types_than_one_claim_takes_are_refused_at_the_start(queue):
    handlers = Handlers()
    for number in range(201):
        handlers.register(f"t{number}", lambda job: None)
    with pytest.raises(InvalidInput, match="at most 200 types, not 201"):
        Worker(queue, handlers).start()
