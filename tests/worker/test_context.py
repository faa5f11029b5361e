import logging
import threading
import time
from functools import partial
from queue import SimpleQueue
from typing import Any

import pytest

from gnj.queue.errors import CancelPending, CancelRequested, Conflict, InvalidInput, LeaseLost, StorageUnavailable
from gnj.queue.model import Job, NewJob
from gnj.worker.context import Context, Flags
from gnj.worker.coroutines import Coroutines, hop
from gnj.worker.threads import Threads


@pytest.fixture
def threads():
    threads = Threads("test")
    yield threads
    threads.close(time.monotonic() + 1)


@pytest.fixture
def claim(queue):
    """Call it for a claimed job."""

    def claim(**options):
        options = {"recoverable": True, **options}
        queue.enqueue(NewJob("work", **options))
        return queue.acquire(["work"])

    return claim


@pytest.fixture
def context(spy, threads):
    """Call it for the context of a claimed job."""
    return lambda job: Context(job, spy, Flags(), partial(hop, threads))


@pytest.fixture
def run(threads):
    """Call it to run a coroutine on an event loop."""
    loop = Coroutines("test-async")

    def run(start):
        answers: SimpleQueue[Any] = SimpleQueue()

        async def guard():
            try:
                return (await start(), None)
            except Exception as error:
                return (None, error)

        loop.run(guard, answers.put)
        value, error = answers.get(timeout=5)
        if error is not None:
            raise error
        return value

    yield run
    loop.close(time.monotonic() + 1)


def test_progress_is_merged(queue, claim, context, now):
    job = claim()
    ctx = context(job)
    assert ctx.step("a", lambda: 1) == 1
    ctx.progress({"percent": 10, "note": "x"})
    ctx.progress({"percent": 20, "steps": {"b": {"status": "done"}}})
    progress = now(job).progress
    assert {"percent": 20, "note": "x"}.items() <= progress.items()
    assert progress["steps"]["a"]["result"] == 1
    assert progress["steps"]["b"].keys() == {"status", "doneAt", "elapsedTime"}
    assert ctx.job.progress == progress


def test_progress_that_is_no_json_is_refused(claim, context):
    with pytest.raises(InvalidInput, match="progress must be JSON, without values of the type set"):
        context(claim()).progress({1, 2})


def test_a_step_is_stamped_by_the_rules_of_progress(claim, context, now):
    job = claim()
    context(job).step("upload", lambda: {"url": "u"})
    step = now(job).progress["steps"]["upload"]
    assert (step["status"], step["result"]) == ("done", {"url": "u"})
    assert step["elapsedTime"] >= 0
    assert step["doneAt"].endswith("Z")


def test_a_step_gives_the_json_round_trip_both_times(claim, context):
    ctx = context(claim())
    first = ctx.step("a", lambda: {"pair": (1, 2)})
    assert first == {"pair": [1, 2]}
    first["pair"].append(3)
    assert ctx.step("a", lambda: pytest.fail("it ran twice")) == {"pair": [1, 2]}


def test_a_step_may_give_nothing(claim, context):
    ctx = context(claim())
    assert ctx.step("a", lambda: None) is None
    assert ctx.step("a", lambda: pytest.fail("it ran twice")) is None


def fail(queue, job):
    queue.fail(job, error="x")
    queue.recover(job.id)


def give_back(queue, job):
    queue.release([job])


def retry_in_place(queue, job):
    assert queue.fail(job, error="x").status == "queued"


@pytest.mark.parametrize("again", [fail, give_back, retry_in_place])
def test_a_later_try_gets_what_was_saved(queue, claim, context, again):
    job = claim(max_attempts=1 if again is fail else 2)
    context(job).step("a", lambda: [1])
    again(queue, job)
    later = queue.acquire(["work"])
    assert (later.id, later.attempt) == (job.id, 2)
    assert context(later).step("a", lambda: pytest.fail("it ran twice")) == [1]


def test_a_new_job_in_the_place_of_an_old_one_runs_its_steps(queue, claim, context):
    job = claim()
    context(job).step("a", lambda: 1)
    queue.fail(job, error="x")
    queue.retry(job.id)
    assert context(queue.acquire(["work"])).step("a", lambda: 2) == 2


def test_a_failing_step_is_saved_and_raises(queue, claim, context, now):
    job = claim()
    ctx = context(job)
    with pytest.raises(ZeroDivisionError):
        ctx.step("a", lambda: 1 / 0)
    step = now(job).progress["steps"]["a"]
    assert (step["status"], step["error"]) == ("error", "ZeroDivisionError: division by zero")
    assert ctx.step("a", lambda: 5) == 5
    step = now(job).progress["steps"]["a"]
    assert (step["status"], step["error"], step["result"]) == ("done", None, 5)


@pytest.mark.parametrize("name", ["", None, "a\0"])
def test_a_step_needs_a_name(claim, context, name):
    with pytest.raises(InvalidInput, match="the name of a step"):
        context(claim()).step(name, lambda: 1)


def test_a_step_that_is_no_json_has_failed(claim, context, now):
    job = claim()
    with pytest.raises(InvalidInput, match="the result of step 'a' must be JSON, without values of the type object"):
        context(job).step("a", object)
    assert now(job).progress["steps"]["a"]["status"] == "error"


def test_a_step_that_stops_has_not_failed(claim, context, now):
    job = claim()

    def stop():
        raise CancelRequested("enough")

    with pytest.raises(CancelRequested):
        context(job).step("a", stop)
    assert now(job).progress is None


def test_a_sync_step_tells_of_its_async_twin(claim, context):
    async def fetch():
        pass

    with pytest.raises(InvalidInput, match="await ctx"):
        context(claim()).step("a", fetch)


def test_async_steps(queue, claim, context, run, now):
    job = claim()
    ctx = context(job)
    loop_thread = run(_ident)
    stored_by: list[int] = []
    ctx._source.progress = _noting(ctx._source.progress, stored_by)

    async def fetch():
        return (1, 2)

    async def broken():
        raise ValueError("no")

    assert run(lambda: ctx.step_async("a", fetch)) == [1, 2]
    assert run(lambda: ctx.step_async("a", lambda: pytest.fail("it ran twice"))) == [1, 2]
    assert run(lambda: ctx.step_async("b", lambda: 3)) == 3
    with pytest.raises(ValueError, match="no"):
        run(lambda: ctx.step_async("c", broken))
    steps = now(job).progress["steps"]
    assert [steps[name]["status"] for name in "abc"] == ["done", "done", "error"]
    assert loop_thread not in stored_by
    queue.release([job])
    with pytest.raises(LeaseLost):
        run(lambda: ctx.step_async("d", fetch))


async def _ident():
    return threading.get_ident()


def _noting(call, notes):
    def noted(*args):
        notes.append(threading.get_ident())
        return call(*args)

    return noted


def test_a_cancellation_is_learnt_from_the_answers(queue, claim, context, now):
    job = claim()
    ctx = context(job)
    assert not ctx.cancel_requested
    assert not ctx.wait_for_cancel(0)
    queue.cancel(job.id)
    ctx.progress({"a": 1})
    assert ctx.cancel_requested
    assert ctx.wait_for_cancel(0)
    ctx.progress({"b": 1})
    assert now(job).progress == {"a": 1, "b": 1}
    assert not ctx.lease_lost


def test_a_refused_update_tells_of_the_cancellation(queue, claim, context):
    job = claim()
    ctx = context(job)

    def refuse(*_):  # as jobUpdate does from the second call on, which is what a source far away calls
        raise CancelPending

    ctx._source.progress = refuse
    ctx.progress({"b": 1})
    assert ctx.cancel_requested
    assert ctx.step("s", lambda: 1) == 1
    assert ctx.step("s", lambda: pytest.fail("it ran twice")) == 1


def test_progress_of_a_lost_claim_raises(queue, claim, context):
    job = claim()
    ctx = context(job)
    queue.release([job])
    with pytest.raises(LeaseLost):
        ctx.progress({"a": 1})
    assert ctx.lease_lost
    assert ctx.cancel_requested
    with pytest.raises(LeaseLost):
        ctx.progress({"a": 1})


def test_a_failing_step_of_a_lost_claim_raises_its_own_error(queue, claim, context, caplog):
    job = claim()
    queue.release([job])
    with pytest.raises(ZeroDivisionError):
        context(job).step("a", lambda: 1 / 0)
    assert "the error of step 'a' was not saved" in caplog.text


@pytest.mark.parametrize("failure", [StorageUnavailable("gone"), Conflict("in the way")])
def test_progress_waits_for_a_queue_that_does_not_answer(spy, claim, context, now, failure):
    job = claim()
    spy.failure = failure
    spy.cut.add("progress")
    done = threading.Event()

    def tell():
        context(job).progress({"a": 1})
        done.set()

    thread = threading.Thread(target=tell)
    thread.start()
    spy.wait_for("progress", 2)
    assert not done.is_set()
    spy.cut.clear()
    assert done.wait(5)
    thread.join()
    assert now(job).progress == {"a": 1}


def test_progress_does_not_wait_longer_than_the_lease(queue, spy, context):
    queue.enqueue(NewJob("work"))
    job = queue.acquire(["work"], lease=0.05)
    spy.cut.add("progress")
    with pytest.raises(StorageUnavailable):
        context(job).progress({"a": 1})


def test_progress_does_not_outlive_the_claim(spy, claim, threads):
    job, flags = claim(), Flags()
    spy.cut.add("progress")
    ctx = Context(job, spy, flags, partial(hop, threads))
    raised = threading.Event()

    def tell():
        with pytest.raises(LeaseLost):
            ctx.progress({"a": 1})
        raised.set()

    thread = threading.Thread(target=tell)
    thread.start()
    spy.wait_for("progress")
    flags.end()
    assert raised.wait(5)
    thread.join()


def test_the_log_carries_the_job(claim, context, caplog):
    job = claim()
    caplog.set_level(logging.INFO)
    context(job).log.info("resizing %s", "a.png", extra={"size": 3})
    (record,) = caplog.records
    assert record.name == "gnj.job"
    assert record.getMessage() == "resizing a.png"
    assert (record.job_id, record.job_type, record.attempt, record.size) == (job.id, "work", 1, 3)


def test_the_context_knows_its_try(queue, claim, context):
    job = claim()
    ctx = context(job)
    assert (ctx.job, ctx.attempt) == (job, 1)
    assert isinstance(ctx.job, Job)
